//! From MessagePack to Lua values.

use mlua::{Lua, MultiValue, Table, Value};

use super::super::arguments::Arguments;
use super::super::raise::Failure;
use super::super::work::Work;
use super::STACK_VALUES_MAX;

/// What there is for results and for what they are in: a few values are left to the way out.
const STACK_VALUES_LEFT: usize = STACK_VALUES_MAX - 100;

/// A table that more elements belong to.
enum Open {
    Array { table: Table, index: usize, left: usize },
    Map { table: Table, key: Option<Value>, left: usize },
}

impl Open {
    /// What the original has of it on its stack while it reads an element.
    fn stack_values(&self) -> usize {
        match self {
            Open::Map { key: None, .. } => 1,
            _ => 2,
        }
    }
}

/// The values from an offset on, not more than a limit, and the offset behind them in front (-1 at the end). With
/// neither offset nor limit all values, and no offset.
pub fn unpack(lua: &Lua, arguments: &Arguments, limit: i64, offset: i64) -> Result<MultiValue, Failure> {
    let input = arguments.string(lua, 1)?;
    let input = input.as_bytes();
    let length = input.len();
    if offset < 0 || limit < 0 {
        // It is the length that the original shows there.
        let (offset, length) = (offset as i32, length as i32);
        let text = format!("Invalid request to unpack with offset of {offset} and limit of {length}.");
        return Err(Failure::message(text));
    }
    let Some(rest) = input.get(offset as usize..) else {
        let (offset, length) = (offset as i32, length as i32);
        return Err(Failure::message(format!("Start offset {offset} greater than input length {length}.")));
    };
    let is_all = limit == 0 && offset == 0;
    let limit = if is_all { i32::MAX as usize } else { limit as usize };
    let mut reader = Reader { rest, work: Work::new(lua) };
    let mut results = MultiValue::new();
    while !reader.rest.is_empty() && results.len() < limit {
        let value = reader.value(lua, 1 + results.len())?;
        results.push_back(value);
    }
    if !is_all {
        let behind = if reader.rest.is_empty() { -1 } else { (length - reader.rest.len()) as i64 };
        results.push_front(Value::Integer(behind));
    }
    Ok(results)
}

struct Reader<'a> {
    rest: &'a [u8],
    work: Work<'a>,
}

/// What stands at the front of the input.
enum Item {
    Value(Value),
    Array(usize),
    Map(usize),
}

impl<'a> Reader<'a> {
    /// One value with all that is in it. `stack_values` is what the original has on its stack before.
    fn value(&mut self, lua: &Lua, mut stack_values: usize) -> Result<Value, Failure> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            if stack_values + 1 > STACK_VALUES_LEFT {
                return Err(overflow(
                    "too many return values at once; use unpack_one or unpack_limit instead.",
                ));
            }
            self.work.step(0)?;
            let mut value = match self.item(lua)? {
                Item::Value(value) => value,
                Item::Array(left) => {
                    if stack_values + 2 > STACK_VALUES_LEFT {
                        return Err(overflow("in function mp_decode_to_lua_array"));
                    }
                    let table = lua.create_table()?;
                    if left > 0 {
                        open.push(Open::Array { table, index: 1, left });
                        stack_values += 2;
                        continue;
                    }
                    Value::Table(table)
                }
                Item::Map(left) => {
                    let table = lua.create_table()?;
                    if left > 0 {
                        open.push(Open::Map { table, key: None, left });
                        stack_values += 1;
                        continue;
                    }
                    Value::Table(table)
                }
            };
            // The value may be the last of what it is in, and that of what it is in itself.
            loop {
                let Some(innermost) = open.last_mut() else { return Ok(value) };
                let before = innermost.stack_values();
                let finished = innermost.add(value)?;
                stack_values = stack_values + innermost.stack_values() - before;
                let Some(table) = finished else { break };
                stack_values -= open.pop().map_or(0, |closed| closed.stack_values());
                value = Value::Table(table);
            }
        }
    }

    fn item(&mut self, lua: &Lua) -> Result<Item, Failure> {
        let [tag] = self.array()?;
        let value = match tag {
            0x00..=0x7f => Value::Integer(tag.into()),
            0x80..=0x8f => return Ok(Item::Map((tag & 0x0f).into())),
            0x90..=0x9f => return Ok(Item::Array((tag & 0x0f).into())),
            0xa0..=0xbf => self.string(lua, (tag & 0x1f).into())?,
            0xc0 => Value::Nil,
            0xc2 => Value::Boolean(false),
            0xc3 => Value::Boolean(true),
            0xca => Value::Number(f32::from_be_bytes(self.array()?).into()),
            0xcb => Value::Number(f64::from_be_bytes(self.array()?)),
            0xcc => Value::Integer(u8::from_be_bytes(self.array()?).into()),
            0xcd => Value::Integer(u16::from_be_bytes(self.array()?).into()),
            0xce => Value::Integer(u32::from_be_bytes(self.array()?).into()),
            // An unsigned one, which the original takes for a signed one too.
            0xcf | 0xd3 => Value::Integer(i64::from_be_bytes(self.array()?)),
            0xd0 => Value::Integer(i8::from_be_bytes(self.array()?).into()),
            0xd1 => Value::Integer(i16::from_be_bytes(self.array()?).into()),
            0xd2 => Value::Integer(i32::from_be_bytes(self.array()?).into()),
            0xd9 => {
                let length = u8::from_be_bytes(self.array()?);
                self.string(lua, length.into())?
            }
            0xda => {
                let length = u16::from_be_bytes(self.array()?);
                self.string(lua, length.into())?
            }
            0xdb => {
                let length = u32::from_be_bytes(self.array()?);
                self.string(lua, length as usize)?
            }
            0xdc => return Ok(Item::Array(u16::from_be_bytes(self.array()?).into())),
            0xdd => return Ok(Item::Array(u32::from_be_bytes(self.array()?) as usize)),
            0xde => return Ok(Item::Map(u16::from_be_bytes(self.array()?).into())),
            0xdf => return Ok(Item::Map(u32::from_be_bytes(self.array()?) as usize)),
            0xc1 | 0xc4..=0xc9 | 0xd4..=0xd8 => return Err(Failure::message("Bad data format in input.")),
            0xe0..=0xff => Value::Integer((tag as i8).into()),
        };
        Ok(Item::Value(value))
    }

    fn string(&mut self, lua: &Lua, length: usize) -> Result<Value, Failure> {
        Ok(Value::String(lua.create_string(self.bytes(length)?)?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Failure> {
        let Some((bytes, rest)) = self.rest.split_at_checked(length) else {
            return Err(Failure::message("Missing bytes in input."));
        };
        self.rest = rest;
        Ok(bytes)
    }
}

impl Open {
    /// Takes a key or an element, and gives the table if that was the last.
    fn add(&mut self, value: Value) -> Result<Option<Table>, Failure> {
        let (table, left) = match self {
            Open::Array { table, index, left } => {
                table.raw_set(*index, value)?;
                *index += 1;
                (table, left)
            }
            Open::Map { table, key, left } => {
                let Some(key) = key.take() else {
                    *key = Some(value);
                    return Ok(None);
                };
                // Lua would say so too, but not so that only this is said.
                if key.is_nil() {
                    return Err(mlua::Error::runtime("table index is nil").into());
                }
                if matches!(key, Value::Number(number) if number.is_nan()) {
                    return Err(mlua::Error::runtime("table index is NaN").into());
                }
                table.raw_set(key, value)?;
                (table, left)
            }
        };
        *left -= 1;
        Ok((*left == 0).then(|| table.clone()))
    }
}

fn overflow(what: &str) -> Failure {
    Failure::message(format!("stack overflow ({what})"))
}
