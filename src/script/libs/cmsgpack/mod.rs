//! `cmsgpack`: MessagePack, as lua-cmsgpack 0.4.0 reads and writes it.
//!
//! It knows the format's types as they were before binaries, extensions and times; all strings are "raw".

mod pack;
#[cfg(test)]
mod tests;
mod unpack;

use mlua::{Lua, MultiValue, Table};

use super::arguments::Arguments;
use super::raise::{function_that_may_fail, Failure};
use super::walk::Next;

/// Values that a C function may have on Lua's stack.
const STACK_VALUES_MAX: usize = 8_000;

pub fn library(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    let next = Next::new(lua)?;
    let pack = function_that_may_fail(lua, move |lua, arguments: Arguments| {
        Ok(lua.create_string(pack::pack(lua, &next, &arguments)?)?)
    })?;
    library.set("pack", pack)?;
    library.set("unpack", function_that_may_fail(lua, unpack)?)?;
    library.set("unpack_one", function_that_may_fail(lua, unpack_one)?)?;
    library.set("unpack_limit", function_that_may_fail(lua, unpack_limit)?)?;
    library.set("_NAME", "cmsgpack")?;
    library.set("_VERSION", "lua-cmsgpack 0.4.0")?;
    library.set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    library.set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    Ok(library)
}

/// All values of a text.
fn unpack(lua: &Lua, arguments: Arguments) -> Result<MultiValue, Failure> {
    unpack::unpack(lua, &arguments, 0, 0)
}

/// Where to go on, and the value at an offset.
fn unpack_one(lua: &Lua, arguments: Arguments) -> Result<MultiValue, Failure> {
    let offset = arguments.integer_or(lua, 2, 0)?;
    unpack::unpack(lua, &arguments, 1, offset)
}

/// Where to go on, and so many values from an offset.
fn unpack_limit(lua: &Lua, arguments: Arguments) -> Result<MultiValue, Failure> {
    let limit = arguments.integer(lua, 2)?;
    let offset = arguments.integer_or(lua, 3, 0)?;
    unpack::unpack(lua, &arguments, limit, offset)
}
