//! The libraries that scripts find besides Lua's own: `cjson`, `cmsgpack`, `struct` and `bit`.

pub fn install(_: &mlua::Lua) -> mlua::Result<()> {
    Ok(())
}
