//! From Lua values to MessagePack.

use mlua::{Lua, Table, Value};

use super::super::arguments::{to_i32, to_i64, Arguments};
use super::super::raise::Failure;
use super::super::walk::{for_each, Next, Walk};
use super::super::work::Work;
use super::STACK_VALUES_MAX;

/// Tables that are deeper inside of others than this become nil, so that there is an end to those that contain
/// themselves.
const NESTING_MAX: usize = 16;

const NIL: u8 = 0xc0;
const FALSE: u8 = 0xc2;
const TRUE: u8 = 0xc3;

/// What is left to be written of a table.
enum Open {
    Array { table: Table, written: usize, length: usize },
    Map { walk: Walk, value: Option<Value> },
}

/// All arguments, one behind the other.
pub fn pack(lua: &Lua, next: &Next, arguments: &Arguments) -> Result<Vec<u8>, Failure> {
    let count = arguments.count();
    if count == 0 {
        return Err(Failure::argument(0, "MessagePack pack needs input."));
    }
    if 2 * count > STACK_VALUES_MAX {
        return Err(Failure::argument(0, "Too many arguments for MessagePack pack."));
    }
    let mut packer = Packer { packed: Vec::new(), open: Vec::new(), work: Work::new(lua) };
    for value in (1..=count).filter_map(|number| arguments.get(number)) {
        packer.value(value)?;
        while let Some(mut innermost) = packer.open.pop() {
            if let Some(value) = packer.proceed(&mut innermost, next)? {
                packer.open.push(innermost);
                packer.value(&value)?;
            }
        }
    }
    Ok(packer.packed)
}

struct Packer<'a> {
    packed: Vec<u8>,
    /// The tables that the next value is in.
    open: Vec<Open>,
    work: Work<'a>,
}

impl Packer<'_> {
    /// Writes a value, or the beginning of a table, which is then open.
    fn value(&mut self, value: &Value) -> Result<(), Failure> {
        match value {
            Value::Table(table) if self.open.len() < NESTING_MAX => self.begin(table.clone()),
            value => self.scalar(value),
        }
    }

    fn begin(&mut self, table: Table) -> Result<(), Failure> {
        // A few tables that are each other's elements many times over say more than fits anywhere.
        self.work.step(self.packed.len())?;
        if let Some(length) = array_length(&table, &mut self.work)? {
            self.head(length, 0x90, 15, None, 0xdc);
            self.open.push(Open::Array { table, written: 0, length });
            return Ok(());
        }
        let mut length = 0;
        for_each(&table, |_key, _value: bool| {
            length += 1;
            self.work.step(0)?;
            Ok(true)
        })?;
        self.head(length, 0x80, 15, None, 0xde);
        self.open.push(Open::Map { walk: Walk::new(table), value: None });
        Ok(())
    }

    /// Writes elements up to a table, which is to be written before the others, or to the end.
    fn proceed(&mut self, open: &mut Open, next: &Next) -> Result<Option<Value>, Failure> {
        match open {
            Open::Array { table, written, length } => {
                while *written < *length {
                    *written += 1;
                    match table.raw_get(*written)? {
                        table @ Value::Table(_) => return Ok(Some(table)),
                        value => self.scalar(&value)?,
                    }
                }
                Ok(None)
            }
            Open::Map { walk, value: behind_key } => {
                if let Some(value) = behind_key.take() {
                    return Ok(Some(value));
                }
                walk.advance(next, |key, value| {
                    if key.is_table() {
                        *behind_key = Some(value.clone());
                        return Ok(Some(key.clone()));
                    }
                    self.scalar(key)?;
                    if value.is_table() {
                        return Ok(Some(value.clone()));
                    }
                    self.scalar(value)?;
                    Ok(None)
                })
            }
        }
    }

    /// Writes anything but a table; nil for all that MessagePack does not know.
    fn scalar(&mut self, value: &Value) -> Result<(), Failure> {
        self.work.step(self.packed.len())?;
        match value {
            Value::Boolean(boolean) => self.packed.push(if *boolean { TRUE } else { FALSE }),
            Value::Integer(integer) => self.number(*integer as f64),
            Value::Number(number) => self.number(*number),
            Value::String(string) => {
                let bytes = string.as_bytes();
                self.head(bytes.len(), 0xa0, 31, Some(0xd9), 0xda);
                self.packed.extend_from_slice(&bytes);
            }
            _ => self.packed.push(NIL),
        }
        Ok(())
    }

    fn number(&mut self, number: f64) {
        let integer = to_i64(number);
        if integer as f64 == number {
            return self.integer(integer);
        }
        let float = number as f32;
        if f64::from(float) == number {
            self.tagged(0xca, float.to_be_bytes());
        } else {
            self.tagged(0xcb, number.to_be_bytes());
        }
    }

    /// In as few bytes as hold it.
    fn integer(&mut self, integer: i64) {
        match integer {
            -32..=127 => self.packed.push(integer as u8),
            128..=0xff => self.tagged(0xcc, [integer as u8]),
            0x100..=0xffff => self.tagged(0xcd, (integer as u16).to_be_bytes()),
            0x10000..=0xffff_ffff => self.tagged(0xce, (integer as u32).to_be_bytes()),
            0x1_0000_0000.. => self.tagged(0xcf, integer.to_be_bytes()),
            -0x80..=-33 => self.tagged(0xd0, (integer as i8).to_be_bytes()),
            -0x8000..=-0x81 => self.tagged(0xd1, (integer as i16).to_be_bytes()),
            -0x8000_0000..=-0x8001 => self.tagged(0xd2, (integer as i32).to_be_bytes()),
            _ => self.tagged(0xd3, integer.to_be_bytes()),
        }
    }

    /// The head of something with a length: in the tag itself if it is small, or in 8 bits if there is a tag for that,
    /// or in 16 with a tag, or in 32 with the tag behind that.
    fn head(&mut self, length: usize, small: u8, small_max: usize, tag8: Option<u8>, tag16: u8) {
        match (length, tag8) {
            (length, _) if length <= small_max => self.packed.push(small | length as u8),
            (0..=0xff, Some(tag8)) => self.tagged(tag8, [length as u8]),
            (0..=0xffff, _) => self.tagged(tag16, (length as u16).to_be_bytes()),
            _ => self.tagged(tag16 + 1, (length as u32).to_be_bytes()),
        }
    }

    fn tagged<const N: usize>(&mut self, tag: u8, bytes: [u8; N]) {
        self.packed.push(tag);
        self.packed.extend_from_slice(&bytes);
    }
}

/// The number of elements of a table that has the keys from 1 on, without a hole, and no other.
fn array_length(table: &Table, work: &mut Work) -> Result<Option<usize>, Failure> {
    let (mut highest, mut count, mut is_array) = (0.0f64, 0usize, true);
    for_each(table, |key, _value: bool| {
        work.step(0)?;
        let key = match key {
            Value::Integer(key) => key as f64,
            Value::Number(key) => key,
            _ => 0.0,
        };
        is_array = key > 0.0 && f64::from(to_i32(key)) == key;
        highest = highest.max(key);
        count += 1;
        Ok(is_array)
    })?;
    Ok((is_array && highest == count as f64).then_some(count))
}
