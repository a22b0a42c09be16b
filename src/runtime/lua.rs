//! What scripts need of Lua and safe code cannot do: an interpreter with `debug`, and raising an error that is any value.

use std::ffi::c_int;

use mlua::ffi::{self, lua_State};
use mlua::{Function, Lua, LuaOptions, StdLib};

/// An interpreter with `debug`, by which code can do anything: whoever makes it takes that away before a script runs.
pub fn interpreter() -> Lua {
    let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::DEBUG;
    let options = LuaOptions::new().catch_rust_panics(false);
    // SAFETY: what makes this unsafe is `debug`; only the prelude, which is a part of this program, sees it (the caller's part above).
    unsafe { Lua::unsafe_new_with(libraries, options) }
}

/// How a function of `raising` gets its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arguments {
    AsTheyAre,
    /// One table of all, and their number: mlua can hold some thousand values at a time only.
    InTable,
}

/// A function that calls `inner`, which gives back `true` and results, or else three values: `false`; what to put in front of
/// the third (nothing for nil, the place of the call for false, all that Lua says of the argument with a number); and what is raised.
pub fn raising(lua: &Lua, inner: Function, arguments: Arguments) -> mlua::Result<Function> {
    let is_table = arguments == Arguments::InTable;
    // SAFETY: the closure runs with `inner` and the flag alone on the stack, and takes them as its upvalues. It owns nothing that
    // would be lost if Lua has no memory for that and jumps out of it.
    unsafe { lua.exec_raw((inner, is_table), |state| ffi::lua_pushcclosure(state, call_and_raise, 2)) }
}

/// Calls the function that is its upvalue with its own arguments; see `raising` for what comes back.
///
/// # Safety
///
/// Lua calls it, with the upvalues that `raising` gives it.
unsafe extern "C-unwind" fn call_and_raise(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives a C function room for 20 values besides its arguments, and the calls below need four at most.
    // Each index that is used exists: the upvalue by the contract above, and 1 to 3 by what the inner function returns.
    // Errors leave by a jump over this frame, which holds integers and pointers only, so nothing has to be dropped.
    unsafe {
        let mut arguments = ffi::lua_gettop(state);
        if ffi::lua_toboolean(state, ffi::lua_upvalueindex(2)) != 0 {
            ffi::lua_createtable(state, arguments, 0);
            ffi::lua_insert(state, 1);
            for index in (1..=arguments).rev() {
                ffi::lua_rawseti(state, 1, index.into());
            }
            ffi::lua_pushinteger(state, arguments.into());
            arguments = 2;
        }
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(1));
        ffi::lua_insert(state, 1);
        ffi::lua_call(state, arguments, ffi::LUA_MULTRET);
        if ffi::lua_toboolean(state, 1) != 0 {
            // Lua takes the results from the top: all but the `true`.
            return ffi::lua_gettop(state) - 1;
        }
        match ffi::lua_type(state, 2) {
            ffi::LUA_TNUMBER => {
                let number = ffi::lua_tointeger(state, 2) as c_int;
                return ffi::luaL_argerror(state, number, ffi::lua_tostring(state, 3));
            }
            ffi::LUA_TBOOLEAN => {
                ffi::luaL_where(state, 1);
                ffi::lua_insert(state, 3);
                ffi::lua_concat(state, 2);
            }
            _ => {}
        }
        ffi::lua_error(state)
    }
}
