//! What scripts need of Lua and safe code cannot do: an interpreter with `debug`, raising an error that is any value, and calls
//! whose arguments and results go past mlua, which wants a microsecond for a few.

use std::any::Any;
use std::ffi::c_int;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::rc::Rc;

use mlua::ffi::{self, lua_State};
use mlua::{FromLuaMulti, Function, Lua, LuaOptions, StdLib};

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

/// An argument of a call.
#[derive(Clone, Copy, Debug)]
pub enum Argument<'a> {
    Text(&'a [u8]),
    Number(f64),
    Other,
}

/// What a call has come to, encoded in some way.
pub struct Encoded {
    pub bytes: Vec<u8>,
    /// It is to be raised, by a function that raises.
    pub is_error: bool,
}

/// What is behind a function of `calling`. It may be called again while it puts values: Lua then runs what scripts have left for
/// the end of a value.
pub trait Callee {
    /// A call begins.
    fn begin(&self);
    /// Its next argument.
    fn argument(&self, argument: Argument);
    /// All arguments are there.
    fn call(&self) -> Encoded;
    /// Puts one value, which `encoded` stands for. It must own nothing meanwhile: when Lua has no memory, it jumps over its frames.
    fn put(&self, encoded: &[u8], values: &Values);
}

/// Functions that an interpreter has, which it keeps until it is closed.
#[derive(Default)]
struct Callees(Vec<Rc<dyn Any>>);

/// A function that has `callee` do what its arguments say. With `raises` it raises what is an error, as it is.
pub fn calling<C: Callee + 'static>(lua: &Lua, callee: Rc<C>, raises: bool) -> mlua::Result<Function> {
    let pointer: *const C = &*callee;
    if lua.app_data_ref::<Callees>().is_none() {
        lua.set_app_data(Callees::default());
    }
    let Some(mut callees) = lua.app_data_mut::<Callees>() else {
        return Err(mlua::Error::runtime("functions are being made"));
    };
    callees.0.push(callee);
    drop(callees);
    // SAFETY: as in `raising`. The pointer is to what the interpreter keeps for as long as it is there, and nobody takes away.
    unsafe {
        lua.exec_raw(raises, |state| {
            ffi::lua_pushlightuserdata(state, pointer.cast_mut().cast());
            ffi::lua_insert(state, 1);
            ffi::lua_pushcclosure(state, call_callee::<C>, 2);
        })
    }
}

/// # Safety
///
/// Lua calls it, with the upvalues that `calling` gives it.
unsafe extern "C-unwind" fn call_callee<C: Callee>(state: *mut lua_State) -> c_int {
    // SAFETY: the first upvalue is what `calling` has put there, which lives as long as the interpreter. Indexes are those of
    // arguments, which Lua has put there. The text of a string is there as long as the string is on the stack. Errors leave by a
    // jump over this frame, which owns nothing then: the bytes are forgotten.
    unsafe {
        let callee = &*ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)).cast::<C>();
        let raises = ffi::lua_toboolean(state, ffi::lua_upvalueindex(2)) != 0;
        callee.begin();
        for index in 1..=ffi::lua_gettop(state) {
            callee.argument(match ffi::lua_type(state, index) {
                ffi::LUA_TSTRING => {
                    let mut len = 0;
                    let text = ffi::lua_tolstring(state, index, &mut len);
                    Argument::Text(std::slice::from_raw_parts(text.cast(), len))
                }
                ffi::LUA_TNUMBER => Argument::Number(ffi::lua_tonumber(state, index)),
                _ => Argument::Other,
            });
        }
        let Encoded { bytes, is_error } = callee.call();
        let mut bytes = ManuallyDrop::new(bytes);
        ffi::lua_settop(state, 0);
        callee.put(&bytes, &Values { state, interpreter: PhantomData });
        ManuallyDrop::drop(&mut bytes);
        if is_error && raises {
            ffi::lua_error(state)
        }
        1
    }
}

/// Puts values onto Lua's stack. Any of it may end in a jump, see `Callee::put`.
pub struct Values<'a> {
    state: *mut lua_State,
    interpreter: PhantomData<&'a Lua>,
}

// SAFETY of all of these: the state is that of the interpreter that has called, and there is room for a few values in
// every C function; `table` makes some for what goes into it. What takes values from the stack relies on their having been put, and
// a caller who has not would only see wrong values: Lua's stack always has a value below, the function itself or an argument.
impl Values<'_> {
    pub fn nil(&self) {
        unsafe { ffi::lua_pushnil(self.state) }
    }

    pub fn boolean(&self, value: bool) {
        unsafe { ffi::lua_pushboolean(self.state, value.into()) }
    }

    pub fn number(&self, value: f64) {
        unsafe { ffi::lua_pushnumber(self.state, value) }
    }

    pub fn text(&self, text: &[u8]) {
        unsafe { ffi::lua_pushlstring(self.state, text.as_ptr().cast(), text.len()) };
    }

    /// The last two texts become one.
    pub fn join(&self) {
        unsafe { ffi::lua_concat(self.state, 2) }
    }

    /// A table, with room for so many elements and fields.
    pub fn table(&self, elements: usize, fields: usize) {
        let room = |count: usize| c_int::try_from(count).unwrap_or(c_int::MAX);
        unsafe {
            ffi::luaL_checkstack(self.state, 8, c"values nest too deep".as_ptr());
            ffi::lua_createtable(self.state, room(elements), room(fields));
        }
    }

    /// The last value becomes this element of the table before it, from 1 on.
    pub fn element(&self, index: usize) {
        unsafe { ffi::lua_rawseti(self.state, -2, index as ffi::lua_Integer) }
    }

    /// The last two values become a field of the table before them, its name (not nil) and its value.
    pub fn field(&self) {
        unsafe { ffi::lua_rawset(self.state, -3) }
    }

    /// Forgets the last value.
    pub fn forget(&self) {
        unsafe { ffi::lua_settop(self.state, -2) }
    }
}

/// Calls `function` with `code`, a table of the first `split` of `texts`, a table of the others, and `flag`.
pub fn call_with_texts<R: FromLuaMulti>(
    lua: &Lua,
    function: &Function,
    code: &Function,
    texts: &[&[u8]],
    split: usize,
    flag: bool,
) -> mlua::Result<R> {
    let (first, second) = texts.split_at(split.min(texts.len()));
    // SAFETY: the closure finds the two functions on the stack and puts three values behind them, which Lua has room for; both
    // functions and these are then taken by the call. It owns nothing that would be lost if Lua jumps out of it.
    unsafe {
        lua.exec_raw((function, code), |state| {
            let values = Values { state, interpreter: PhantomData };
            for list in [first, second] {
                values.table(list.len(), 0);
                for (index, text) in list.iter().enumerate() {
                    values.text(text);
                    values.element(index + 1);
                }
            }
            values.boolean(flag);
            ffi::lua_call(state, 4, ffi::LUA_MULTRET);
        })
    }
}
