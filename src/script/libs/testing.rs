//! What the tests of the libraries share.

use mlua::{Lua, LuaString};

/// Each Lua expression list must give these values, as `tostring` shows them; or with `! ` in front, this error.
/// One list's settings do not last to the next.
pub fn check(cases: &[(&str, &str)]) {
    for (expressions, expected) in cases {
        assert_eq!(&evaluate(expressions), expected, "{expressions}");
    }
}

pub fn evaluate(expressions: &str) -> String {
    let lua = lua();
    let code = format!(
        "local r = {{pcall(function() return {expressions} end)}}
        for i = 1, #r do r[i] = tostring(r[i]) end
        return (r[1] == 'true' and '' or '! ') .. table.concat(r, ' ', 2)"
    );
    let text: LuaString = lua.load(code).set_name("@user_script").eval().unwrap();
    String::from_utf8_lossy(&text.as_bytes()).into_owned()
}

pub fn lua() -> Lua {
    let lua = crate::runtime::lua::interpreter().unwrap();
    super::install(&lua).unwrap();
    lua
}
