//! The settings of a `cjson` library, and its functions that read and change them.

use std::cell::Cell;
use std::rc::Rc;

use mlua::{IntoLua, Lua, Table, Value};

use super::super::arguments::{up_to_nul, Arguments};
use super::super::raise::{function_that_may_fail, Failure};

/// What becomes of NaN and the infinities in `encode`: an index into the names of `encode_invalid_numbers`.
pub const INVALID_NUMBERS_FAIL: i32 = 0;
pub const INVALID_NUMBERS_AS_THEY_ARE: i32 = 1;

pub struct Config {
    /// Whether a table of too many holes becomes an object; it is an error otherwise.
    pub encode_sparse_convert: Cell<i32>,
    /// How many times more elements than it has an array may seem to have; any number for 0.
    pub encode_sparse_ratio: Cell<i32>,
    /// What the ratio does not hold for: arrays of so many elements.
    pub encode_sparse_safe: Cell<i32>,
    pub encode_max_depth: Cell<i32>,
    pub encode_invalid_numbers: Cell<i32>,
    /// Significant digits.
    pub encode_number_precision: Cell<i32>,
    /// To be read and set only: a buffer that is kept is not faster here.
    pub encode_keep_buffer: Cell<i32>,
    pub decode_invalid_numbers: Cell<i32>,
    pub decode_max_depth: Cell<i32>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            encode_sparse_convert: Cell::new(0),
            encode_sparse_ratio: Cell::new(2),
            encode_sparse_safe: Cell::new(10),
            encode_max_depth: Cell::new(1000),
            encode_invalid_numbers: Cell::new(INVALID_NUMBERS_FAIL),
            encode_number_precision: Cell::new(14),
            encode_keep_buffer: Cell::new(1),
            decode_invalid_numbers: Cell::new(1),
            decode_max_depth: Cell::new(1000),
        }
    }
}

type Setter<R> = fn(&Lua, &Config, &Arguments) -> Result<R, Failure>;

pub fn set_functions(lua: &Lua, library: &Table, config: &Rc<Config>) -> mlua::Result<()> {
    let set = |name: &str, setter: Setter<Value>| {
        let config = Rc::clone(config);
        let function = function_that_may_fail(lua, move |lua, arguments: Arguments| {
            at_most(&arguments, 1)?;
            setter(lua, &config, &arguments)
        })?;
        library.set(name, function)
    };
    set("encode_max_depth", |lua, config, arguments| {
        integer(lua, arguments, 1, &config.encode_max_depth, 1, i32::MAX)
    })?;
    set("decode_max_depth", |lua, config, arguments| {
        integer(lua, arguments, 1, &config.decode_max_depth, 1, i32::MAX)
    })?;
    set("encode_number_precision", |lua, config, arguments| {
        integer(lua, arguments, 1, &config.encode_number_precision, 1, 14)
    })?;
    set("encode_keep_buffer", |lua, config, arguments| {
        choice(lua, arguments, &config.encode_keep_buffer, &["off", "on"])
    })?;
    set("encode_invalid_numbers", |lua, config, arguments| {
        choice(lua, arguments, &config.encode_invalid_numbers, &["off", "on", "null"])
    })?;
    set("decode_invalid_numbers", |lua, config, arguments| {
        choice(lua, arguments, &config.decode_invalid_numbers, &["off", "on"])
    })?;
    let config = Rc::clone(config);
    let encode_sparse_array = function_that_may_fail(lua, move |lua, arguments: Arguments| {
        at_most(&arguments, 3)?;
        let convert = choice(lua, &arguments, &config.encode_sparse_convert, &["off", "on"])?;
        let ratio = integer(lua, &arguments, 2, &config.encode_sparse_ratio, 0, i32::MAX)?;
        let safe = integer(lua, &arguments, 3, &config.encode_sparse_safe, 0, i32::MAX)?;
        Ok((convert, ratio, safe))
    })?;
    library.set("encode_sparse_array", encode_sparse_array)
}

fn at_most(arguments: &Arguments, count: usize) -> Result<(), Failure> {
    if arguments.count() > count {
        return Err(Failure::argument(count + 1, "found too many arguments"));
    }
    Ok(())
}

/// Sets an integer, if there is an argument for it, and returns it.
fn integer(
    lua: &Lua,
    arguments: &Arguments,
    number: usize,
    setting: &Cell<i32>,
    min: i32,
    max: i32,
) -> Result<Value, Failure> {
    if !arguments.is_nil_or_none(number) {
        // The original takes the low bits of any integer.
        let value = arguments.integer(lua, number)? as i32;
        if !(min..=max).contains(&value) {
            return Err(Failure::argument(1, format!("expected integer between {min} and {max}")));
        }
        setting.set(value);
    }
    Ok(Value::Integer(setting.get().into()))
}

/// Sets one of several named values, if the first argument names one or is a boolean, and returns it: the first two as
/// booleans.
fn choice(lua: &Lua, arguments: &Arguments, setting: &Cell<i32>, names: &[&str]) -> Result<Value, Failure> {
    match arguments.get(1) {
        None | Some(Value::Nil) => {}
        Some(Value::Boolean(is_on)) => setting.set((*is_on).into()),
        Some(_) => {
            let name = arguments.string(lua, 1)?;
            let name = name.as_bytes();
            let name = up_to_nul(&name);
            let Some(index) = names.iter().position(|other| other.as_bytes() == name) else {
                return Err(Failure::argument(1, [b"invalid option '", name, b"'"].concat()));
            };
            setting.set(index as i32);
        }
    }
    match setting.get() {
        value @ (0 | 1) => Ok(Value::Boolean(value == 1)),
        value => Ok(names.get(value as usize).copied().into_lua(lua)?),
    }
}
