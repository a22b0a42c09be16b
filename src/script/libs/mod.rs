//! The libraries that scripts find besides Lua's own: `cjson`, `cmsgpack`, `struct` and `bit`.
//!
//! They behave as those that Redis 7.2 brings along do, to the texts of their errors: scripts depend on them. What is
//! said of one here and not explained is so because it is so there.
//!
//! They run inside a server, with whatever data clients have, and on small stacks. So none of them recurses: what is
//! nested is followed with a stack on the heap. And none runs Lua code of the script's.

mod arguments;
mod bit;
mod cjson;
mod cmsgpack;
pub(crate) mod raise;
mod structs;
#[cfg(test)]
mod testing;
mod walk;
mod work;

use mlua::{Lua, Table};

/// Sets the globals of all libraries.
pub fn install(lua: &Lua) -> mlua::Result<()> {
    let globals = lua.globals();
    globals.set("cjson", cjson::library(lua)?)?;
    globals.set("cmsgpack", cmsgpack::library(lua)?)?;
    globals.set("bit", bit::library(lua)?)?;
    globals.set("struct", structs::library(lua)?)
}

/// Another `cjson`, with settings of its own.
pub fn cjson(lua: &Lua) -> mlua::Result<Table> {
    cjson::library(lua)
}
