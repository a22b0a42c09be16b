//! The arguments of a library function, with the checks and the texts of Lua's auxiliary library.

use mlua::{FromLuaMulti, Lua, LuaString, MultiValue, Value};

use super::raise::Failure;

/// What a script passed. Arguments are counted from 1, as the errors count them.
pub struct Arguments(MultiValue);

impl FromLuaMulti for Arguments {
    fn from_lua_multi(values: MultiValue, _lua: &Lua) -> mlua::Result<Self> {
        Ok(Self(values))
    }
}

impl Arguments {
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// `None` is no argument at all, which to Lua is not the same as nil.
    pub fn get(&self, number: usize) -> Option<&Value> {
        self.0.get(number.checked_sub(1)?)
    }

    pub fn is_nil_or_none(&self, number: usize) -> bool {
        self.get(number).is_none_or(Value::is_nil)
    }

    /// A number, or a string that reads as one.
    pub fn number(&self, lua: &Lua, number: usize) -> Result<f64, Failure> {
        let value = match self.get(number) {
            Some(Value::Integer(integer)) => Some(*integer as f64),
            Some(Value::Number(float)) => Some(*float),
            Some(text @ Value::String(_)) => lua.coerce_number(text.clone())?,
            _ => None,
        };
        value.ok_or_else(|| self.wrong_type(number, "number"))
    }

    /// The number without its fraction.
    pub fn integer(&self, lua: &Lua, number: usize) -> Result<i64, Failure> {
        Ok(to_i64(self.number(lua, number)?))
    }

    pub fn integer_or(&self, lua: &Lua, number: usize, default: i64) -> Result<i64, Failure> {
        if self.is_nil_or_none(number) {
            return Ok(default);
        }
        self.integer(lua, number)
    }

    /// A string, or the text of a number.
    pub fn string(&self, lua: &Lua, number: usize) -> Result<LuaString, Failure> {
        let value = match self.get(number) {
            Some(value @ (Value::String(_) | Value::Integer(_) | Value::Number(_))) => {
                lua.coerce_string(value.clone())?
            }
            _ => None,
        };
        value.ok_or_else(|| self.wrong_type(number, "string"))
    }

    fn wrong_type(&self, number: usize, expected: &str) -> Failure {
        let found = self.get(number).map_or("no value", type_name);
        Failure::argument(number, format!("{expected} expected, got {found}"))
    }
}

/// The value's type as Lua 5.1 calls it.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}

/// A double as x86's C makes an integer of it: what does not fit is the smallest one.
pub fn to_i64(number: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&number) {
        number as i64
    } else {
        i64::MIN
    }
}

/// As `to_i64`, in 32 bits.
pub fn to_i32(number: f64) -> i32 {
    if number > f64::from(i32::MIN) - 1.0 && number < f64::from(i32::MAX) + 1.0 {
        number as i32
    } else {
        i32::MIN
    }
}

/// A double as x86's C makes an unsigned integer of it: negative ones wrap around, and 0 is what is too large.
pub fn to_u64(number: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    if number >= HALF {
        to_i64(number - HALF) as u64 ^ 1 << 63
    } else {
        to_i64(number) as u64
    }
}

/// The bytes in front of the first NUL: what is left of a string in a function that takes it for C's.
pub fn up_to_nul(text: &[u8]) -> &[u8] {
    memchr::memchr(0, text).map_or(text, |end| &text[..end])
}
