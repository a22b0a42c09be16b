//! Lua 5.1.5 with repairs, for scripts that come from strangers: the C code in `c/` (see the README for what was repaired), and the
//! declarations of what it has besides Lua's own functions. Those are declared by mlua-sys, which leaves it to this crate to link
//! them.

use std::ffi::{c_int, c_void};

pub use mlua_sys::lua_State;

/// Called now and then while anything of Lua's runs. May look at the stack by `lua_getstack` and `lua_getinfo` with `Sl`, nothing
/// else. Other than zero: the script is killed; an error leaves it as soon as `may_throw` is set, and nothing catches it.
pub type Interrupt =
    unsafe extern "C-unwind" fn(context: *mut c_void, state: *mut lua_State, may_throw: c_int) -> c_int;

/// More than `granted` bytes are wanted: returns how many may be used. Fewer than `wanted` are an error for the script.
pub type Grant = unsafe extern "C-unwind" fn(context: *mut c_void, granted: usize, wanted: usize) -> usize;

unsafe extern "C-unwind" {
    pub fn lua_setinterrupt(state: *mut lua_State, interrupt: Option<Interrupt>, context: *mut c_void);
    /// `limit`: more is never granted. The collector takes its pace by it.
    pub fn lua_setgrant(
        state: *mut lua_State,
        grant: Option<Grant>,
        context: *mut c_void,
        granted: usize,
        limit: usize,
    );
    /// After an error has been caught: collects garbage if memory was refused.
    pub fn lua_recover(state: *mut lua_State);
    pub fn lua_granted(state: *mut lua_State) -> usize;
    pub fn lua_usedbytes(state: *mut lua_State) -> usize;
    /// Accounts for work; may call the interrupt function, and may raise the error of a killed script.
    pub fn lua_work(state: *mut lua_State, units: usize);
    pub fn lua_iskilled(state: *mut lua_State) -> c_int;
    /// The end of a killed script whose error has been caught.
    pub fn lua_rethrow(state: *mut lua_State) -> c_int;
    /// Another script begins.
    pub fn lua_revive(state: *mut lua_State);
    pub fn lua_setreadonly(state: *mut lua_State, index: c_int, is_readonly: c_int);
    pub fn lua_isreadonly(state: *mut lua_State, index: c_int) -> c_int;

    /// Makes `{err=, source=, line=}` of what a script has raised.
    pub fn gyre_errorhandler(state: *mut lua_State) -> c_int;
    /// `__index` of tables of global variables: raises an error.
    pub fn gyre_missing(state: *mut lua_State) -> c_int;
    pub fn gyre_statusreply(state: *mut lua_State) -> c_int;
    pub fn gyre_true(state: *mut lua_State) -> c_int;
    pub fn gyre_false(state: *mut lua_State) -> c_int;
    pub fn gyre_nothing(state: *mut lua_State) -> c_int;
}
