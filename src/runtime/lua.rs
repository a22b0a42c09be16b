//! What scripts need of Lua and safe code cannot do: an interpreter with `debug`, raising an error that is any value, and calls
//! whose arguments and results go past mlua, which wants a microsecond for a few.

use std::any::Any;
use std::ffi::{c_int, CStr};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::rc::Rc;

use mlua::ffi::{self, lua_State};
use mlua::{Function, Lua, LuaOptions, StdLib, Value};

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

/// Compiles `code`: a function, or a text that says what is wrong. (mlua gives that as a `String`, which cannot hold every byte.)
pub fn compile(lua: &Lua, code: &[u8], name: &CStr) -> mlua::Result<Value> {
    // SAFETY: the code and its name outlive the call; the mode keeps compiled code out. It leaves one value, a function or a text. The
    // closure owns nothing that would be lost if Lua has no memory and jumps out of it.
    unsafe {
        lua.exec_raw((), |state| {
            ffi::luaL_loadbufferx(state, code.as_ptr().cast(), code.len(), name.as_ptr(), c"t".as_ptr());
        })
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
    /// Puts one value, which `encoded` stands for.
    fn put(&self, encoded: &[u8], values: &mut Values);
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
        callee.put(&bytes, &mut Values { state, interpreter: PhantomData });
        ManuallyDrop::drop(&mut bytes);
        if is_error && raises {
            ffi::lua_error(state)
        }
        1
    }
}

/// The values of a call on Lua's stack, of which the last one is at hand. Anything that puts or looks up a value may end in a
/// jump when Lua has no memory: whoever uses this owns nothing meanwhile that has to be dropped.
pub struct Values<'a> {
    state: *mut lua_State,
    interpreter: PhantomData<&'a Lua>,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind<'a> {
    Nil,
    Boolean(bool),
    Number(f64),
    Text(&'a [u8]),
    Table,
    Other,
}

// Why all of these are safe: the state is that of the interpreter that has called. What is put has room (`room`), what is taken is
// there (`has`), and what is used as a table is one (`is_table`). A text stays where it is while its value is on the stack, from
// which nothing is taken as long as it is borrowed.
impl Values<'_> {
    fn room(&mut self) {
        // SAFETY: see above.
        unsafe { ffi::luaL_checkstack(self.state, 1, c"values nest too deep".as_ptr()) }
    }

    fn has(&self, count: c_int) -> bool {
        // SAFETY: see above.
        unsafe { ffi::lua_gettop(self.state) >= count }
    }

    fn is_table(&self, index: c_int) -> bool {
        // SAFETY: see above.
        self.has(-index) && unsafe { ffi::lua_type(self.state, index) == ffi::LUA_TTABLE }
    }

    pub fn nil(&mut self) {
        self.room();
        // SAFETY: see above.
        unsafe { ffi::lua_pushnil(self.state) }
    }

    pub fn boolean(&mut self, value: bool) {
        self.room();
        // SAFETY: see above.
        unsafe { ffi::lua_pushboolean(self.state, value.into()) }
    }

    pub fn number(&mut self, value: f64) {
        self.room();
        // SAFETY: see above.
        unsafe { ffi::lua_pushnumber(self.state, value) }
    }

    pub fn text(&mut self, text: &[u8]) {
        self.room();
        // SAFETY: see above.
        unsafe { ffi::lua_pushlstring(self.state, text.as_ptr().cast(), text.len()) };
    }

    /// The last two texts become one.
    pub fn join(&mut self) {
        if self.has(2) {
            // SAFETY: see above.
            unsafe { ffi::lua_concat(self.state, 2) }
        }
    }

    /// A table, with room for so many elements and fields.
    pub fn table(&mut self, elements: usize, fields: usize) {
        let count = |count: usize| c_int::try_from(count).unwrap_or(c_int::MAX);
        self.room();
        // SAFETY: see above.
        unsafe { ffi::lua_createtable(self.state, count(elements), count(fields)) }
    }

    /// The last value becomes this element of the table before it, from 1 on.
    pub fn set_element(&mut self, index: usize) {
        if self.is_table(-2) {
            // SAFETY: see above.
            unsafe { ffi::lua_rawseti(self.state, -2, index as ffi::lua_Integer) }
        }
    }

    /// The last two values become a field of the table before them, its name (not nil) and its value.
    pub fn set_field(&mut self) {
        if self.is_table(-3) {
            // SAFETY: see above.
            unsafe { ffi::lua_rawset(self.state, -3) }
        }
    }

    /// Forgets the last value.
    pub fn forget(&mut self) {
        if self.has(1) {
            // SAFETY: see above.
            unsafe { ffi::lua_settop(self.state, -2) }
        }
    }

    /// What the last value is.
    pub fn last(&self) -> Kind<'_> {
        if !self.has(1) {
            return Kind::Nil;
        }
        // SAFETY: see above.
        unsafe {
            match ffi::lua_type(self.state, -1) {
                ffi::LUA_TNIL => Kind::Nil,
                ffi::LUA_TBOOLEAN => Kind::Boolean(ffi::lua_toboolean(self.state, -1) != 0),
                ffi::LUA_TNUMBER => Kind::Number(ffi::lua_tonumber(self.state, -1)),
                ffi::LUA_TSTRING => {
                    let mut len = 0;
                    let text = ffi::lua_tolstring(self.state, -1, &mut len);
                    Kind::Text(std::slice::from_raw_parts(text.cast(), len))
                }
                ffi::LUA_TTABLE => Kind::Table,
                _ => Kind::Other,
            }
        }
    }

    /// Puts this field of the table that is last, without a look at metatables.
    pub fn field(&mut self, name: &str) {
        self.text(name.as_bytes());
        if self.is_table(-2) {
            // SAFETY: see above.
            unsafe { ffi::lua_rawget(self.state, -2) };
        }
    }

    /// Puts this element of the table that is last.
    pub fn element(&mut self, index: usize) {
        self.room();
        if self.is_table(-1) {
            // SAFETY: see above.
            unsafe { ffi::lua_rawgeti(self.state, -1, index as ffi::lua_Integer) };
        } else {
            self.nil();
        }
    }

    /// Puts the value before the last once more.
    pub fn copy_before_last(&mut self) {
        self.room();
        if self.has(2) {
            // SAFETY: see above.
            unsafe { ffi::lua_pushvalue(self.state, -2) }
        }
    }

    /// The last value is a name in the table before it, or nil at first: puts the next name and its value in its place. False: there is no
    /// other; the name is gone then.
    pub fn next_pair(&mut self) -> bool {
        self.room();
        // SAFETY: see above.
        self.is_table(-2) && unsafe { ffi::lua_next(self.state, -2) != 0 }
    }
}

/// Calls `function` with `code`, a table of the first `split` of `texts`, a table of the others, and `flag`, and has `take` look at
/// the two values that come back.
pub fn call_with_texts(
    lua: &Lua,
    function: &Function,
    code: &Function,
    (texts, split): (&[&[u8]], usize),
    flag: bool,
    take: impl FnOnce(&mut Values),
) -> mlua::Result<()> {
    let (first, second) = texts.split_at(split.min(texts.len()));
    // SAFETY: the closure finds the two functions on the stack and puts three values behind them; the call takes all five. It owns
    // nothing that would be lost if Lua jumps out of it, and leaves nothing behind.
    unsafe {
        lua.exec_raw((function, code), |state| {
            let mut values = Values { state, interpreter: PhantomData };
            for list in [first, second] {
                values.table(list.len(), 0);
                for (index, text) in list.iter().enumerate() {
                    values.text(text);
                    values.set_element(index + 1);
                }
            }
            values.boolean(flag);
            ffi::lua_call(state, 4, 2);
            take(&mut values);
            ffi::lua_settop(state, 0);
        })
    }
}
