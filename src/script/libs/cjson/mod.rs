//! `cjson`: JSON, as lua-cjson 2.1.0 reads and writes it.
//!
//! JSON's null is a light userdata of NULL, `cjson.null`. Strings are bytes: nothing asks whether they are UTF-8.
//! A table is an array if all its keys are integers from 1 on, without too many holes; an empty one is an object.

mod config;
mod decode;
mod encode;
mod number;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use mlua::{Lua, LuaString, Table, Value};

use super::arguments::Arguments;
use super::raise::{function_that_may_fail, Failure};
use super::walk::Next;
use config::Config;

/// Values that a C function may have on Lua's stack. The original keeps what it is in the middle of there, so that its
/// nesting ends at this even where the configured limits are higher.
const STACK_VALUES_MAX: usize = 8_000;

pub fn library(lua: &Lua) -> mlua::Result<Table> {
    with_own_settings(lua, Next::new(lua)?)
}

fn with_own_settings(lua: &Lua, next: Next) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    let config = Rc::new(Config::default());
    let its_next = next.clone();
    config::set_functions(lua, &library, &config)?;
    let its_config = Rc::clone(&config);
    let encode = function_that_may_fail(lua, move |lua, arguments: Arguments| {
        let value = only_argument(&arguments)?;
        Ok(lua.create_string(encode::encode(lua, &its_config, &its_next, value)?)?)
    })?;
    library.set("encode", encode)?;
    let decode = function_that_may_fail(lua, move |lua, arguments: Arguments| {
        only_argument(&arguments)?;
        let text: LuaString = arguments.string(lua, 1)?;
        let text = text.as_bytes();
        decode::decode(lua, &config, &text)
    })?;
    library.set("decode", decode)?;
    let new = move |lua: &Lua, _: Arguments| with_own_settings(lua, next.clone()).map_err(Failure::from);
    library.set("new", function_that_may_fail(lua, new)?)?;
    library.set("null", Value::NULL)?;
    library.set("_NAME", "cjson")?;
    library.set("_VERSION", "2.1.0")?;
    Ok(library)
}

fn only_argument(arguments: &Arguments) -> Result<&Value, Failure> {
    arguments
        .get(1)
        .filter(|_| arguments.count() == 1)
        .ok_or_else(|| Failure::argument(1, "expected 1 argument"))
}
