//! What scripts need of Lua and safe code cannot do: tables that cannot be changed, raising an error that is any value, and calls
//! whose arguments and results go past mlua, which wants a microsecond for a few. `guard` has what keeps scripts within bounds.

pub mod guard;

use mlua::ffi::{self, lua_State};
use mlua::{Function, Lua, LuaOptions, StdLib, Table, Value};
use std::any::Any;
use std::ffi::{c_int, CStr};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::rc::Rc;

/// Values of Lua's that this program may hold at a time without a need for memory: more than what is held before a script's values
/// come. Beyond them a function fails when there is no memory for one more.
const VALUES_HELD: usize = 250;

/// An interpreter with what scripts may have of Lua's libraries.
pub fn interpreter() -> mlua::Result<Lua> {
    let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH;
    // Otherwise mlua puts functions of its own in the place of `pcall` and `xpcall`, which catch the end of a killed script.
    let lua = Lua::new_with(libraries, LuaOptions::new().catch_rust_panics(true))?;
    // mlua keeps what it hands out on a stack of Lua's. A few of its functions, such as `Lua::globals` and `Table::metatable`, cannot
    // report that there is no memory for that to grow, and panic; they are called before scripts run only.
    drop((0..VALUES_HELD).map(|_| lua.create_table()).collect::<mlua::Result<Vec<_>>>()?);
    // With a limit, whatever it is, mlua expects that Lua may have no memory at any time. The real limit is `guard`'s.
    lua.set_memory_limit(isize::MAX as usize)?;
    Ok(lua)
}

/// Functions in C that are simpler there.
#[derive(Clone, Copy, Debug)]
pub enum Native {
    /// Makes `{err=, source=, line=}` of what a script has raised.
    ErrorHandler,
    /// `__index` of tables of global variables: raises an error.
    Missing,
    StatusReply,
    True,
    False,
    Nothing,
}

pub fn native(lua: &Lua, native: Native) -> mlua::Result<Function> {
    let function: ffi::lua_CFunction = match native {
        Native::ErrorHandler => gyre_lua::gyre_errorhandler,
        Native::Missing => gyre_lua::gyre_missing,
        Native::StatusReply => gyre_lua::gyre_statusreply,
        Native::True => gyre_lua::gyre_true,
        Native::False => gyre_lua::gyre_false,
        Native::Nothing => gyre_lua::gyre_nothing,
    };
    // SAFETY: these are functions as Lua wants them.
    unsafe { lua.create_c_function(function) }
}

/// From now on nothing changes this table, its metatable, and all tables that they refer to.
pub fn make_readonly(lua: &Lua, table: &Table) -> mlua::Result<()> {
    // SAFETY: the closure finds the table on the stack and leaves nothing there. It owns nothing.
    unsafe { lua.exec_raw(table, |state| make_readonly_at_top(state)) }
}

/// # Safety
///
/// A table is on top of the stack, which has room.
unsafe fn make_readonly_at_top(state: *mut lua_State) {
    // SAFETY: as the names of the values in the comments say. Nested tables: four slots each, which are asked for.
    unsafe {
        ffi::luaL_checkstack(state, 5, c"tables nest too deep".as_ptr());
        if gyre_lua::lua_isreadonly(state, -1) != 0 {
            return ffi::lua_settop(state, -2);
        }
        gyre_lua::lua_setreadonly(state, -1, 1);
        if ffi::lua_getmetatable(state, -1) != 0 {
            make_readonly_at_top(state);
        }
        ffi::lua_pushnil(state);
        // table, name -> table, name, value
        while ffi::lua_next(state, -2) != 0 {
            if ffi::lua_type(state, -1) == ffi::LUA_TTABLE {
                make_readonly_at_top(state);
            } else {
                ffi::lua_settop(state, -2);
            }
        }
        ffi::lua_settop(state, -2);
    }
}

/// Changes a field of a table that nothing else can change.
pub fn set_in_readonly(lua: &Lua, table: &Table, name: &str, value: &Table) -> mlua::Result<()> {
    let name = lua.create_string(name)?;
    // SAFETY: the closure finds three values on the stack and leaves none there. It owns nothing. If Lua has no memory the table stays
    // open to changes, so it is opened for a name that is there only, which needs none.
    unsafe {
        lua.exec_raw((table, name, value), |state| {
            gyre_lua::lua_setreadonly(state, 1, 0);
            ffi::lua_rawset(state, 1);
            gyre_lua::lua_setreadonly(state, 1, 1);
            ffi::lua_settop(state, 0);
        })
    }
}

/// The metatable that all strings have.
pub fn string_metatable(lua: &Lua) -> mlua::Result<Table> {
    // SAFETY: the closure pushes two values; the string is under its metatable, which is what is returned.
    unsafe {
        lua.exec_raw((), |state| {
            ffi::lua_pushlstring(state, c"".as_ptr(), 0);
            ffi::lua_getmetatable(state, -1);
            ffi::lua_replace(state, 1);
        })
    }
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
        let status = ffi::lua_pcall(state, arguments, ffi::LUA_MULTRET, 0);
        if status != ffi::LUA_OK {
            return raise_caught(state);
        }
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

/// Raises what a function of mlua's has raised, in a form that scripts may see.
///
/// # Safety
///
/// As for `call_and_raise`, with that value on top of the stack.
unsafe fn raise_caught(state: *mut lua_State) -> c_int {
    // SAFETY: errors leave by a jump over this frame, which owns nothing.
    unsafe {
        if gyre_lua::lua_iskilled(state) != 0 {
            return gyre_lua::lua_rethrow(state);
        }
        if ffi::lua_type(state, -1) == ffi::LUA_TUSERDATA {
            // One of mlua's own errors. All that is foreseen has become a value of Lua's before; this is what could not be
            // reported so.
            let text = c"not enough memory";
            ffi::lua_settop(state, 0);
            ffi::lua_pushlstring(state, text.as_ptr(), text.count_bytes());
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
    /// All arguments are there. None: the script ends here, and nothing catches that.
    fn call(&self) -> Option<Encoded>;
    /// It ends here.
    fn ended_at(&self, place: guard::CodeLine);
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
        let Some(Encoded { bytes, is_error }) = callee.call() else {
            callee.ended_at(guard::place(state));
            return gyre_lua::lua_rethrow(state);
        };
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

    /// Accounts for work, as `guard::work`. What has been killed ends here, by a jump.
    pub fn work(&mut self, units: usize) {
        // SAFETY: see above; nothing here has to be dropped when it jumps.
        unsafe { gyre_lua::lua_work(self.state, units) }
    }

    /// Ends what calls this, by a jump with this error.
    pub fn raise(&mut self, text: &str) {
        self.text(text.as_bytes());
        // SAFETY: see above; the error is on the stack, and nothing here has to be dropped when it jumps.
        unsafe { ffi::lua_error(self.state) }
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

/// A script, or a function of a library, that is to be called.
pub struct Call<'a> {
    pub code: &'a Function,
    /// Its global variables.
    pub globals: &'a Table,
    /// Of `native`.
    pub error_handler: &'a Function,
    /// Keys, and arguments from index `split` on.
    pub texts: &'a [&'a [u8]],
    pub split: usize,
    /// What `texts` are for.
    pub passing: Passing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passing {
    /// The global variables KEYS and ARGV, which are there already.
    Globals,
    /// Two arguments.
    Arguments,
}

/// How a call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Returned,
    Raised,
}

/// Makes a call, and has `take` look at what it has returned or raised, which is the last value.
pub fn call(lua: &Lua, call: &Call, take: impl FnOnce(Ended, &mut Values)) -> mlua::Result<()> {
    let Call { code, globals, error_handler, texts, split, passing } = *call;
    let (keys, arguments) = texts.split_at(split.min(texts.len()));
    // SAFETY: the closure finds three values on the stack, and each index that it uses is of what it has put there. It owns nothing that
    // would be lost if Lua jumps out of it, and leaves nothing behind.
    unsafe {
        lua.exec_raw((error_handler, globals, code), |state| {
            gyre_lua::lua_revive(state);
            let mut values = Values { state, interpreter: PhantomData };
            // An earlier script may have set others, by `setfenv(0, ...)`.
            ffi::lua_pushvalue(state, 2);
            ffi::lua_replace(state, ffi::LUA_GLOBALSINDEX);
            for (name, list) in [(c"KEYS", keys), (c"ARGV", arguments)] {
                if passing == Passing::Globals {
                    ffi::lua_pushlstring(state, name.as_ptr(), name.count_bytes());
                }
                values.table(list.len(), 0);
                for (index, text) in list.iter().enumerate() {
                    values.text(text);
                    values.set_element(index + 1);
                }
            }
            let count = match passing {
                Passing::Globals => {
                    // Both names are there, so that nothing here needs memory, and can fail.
                    gyre_lua::lua_setreadonly(state, 2, 0);
                    ffi::lua_rawset(state, 2);
                    ffi::lua_rawset(state, 2);
                    gyre_lua::lua_setreadonly(state, 2, 1);
                    // An earlier run may have changed that too.
                    ffi::lua_pushvalue(state, 2);
                    ffi::lua_setfenv(state, 3);
                    0
                }
                Passing::Arguments => 2,
            };
            let status = ffi::lua_pcall(state, count, 1, 1);
            gyre_lua::lua_revive(state);
            gyre_lua::lua_recover(state);
            let ended = if status == ffi::LUA_OK { Ended::Returned } else { Ended::Raised };
            take(ended, &mut values);
            ffi::lua_settop(state, 0);
        })
    }
}

/// Calls code that gets nothing. Returns whether it has returned, and what it has returned or raised.
pub fn call_alone(
    lua: &Lua,
    code: &Function,
    globals: &Table,
    error_handler: &Function,
) -> mlua::Result<(bool, Value)> {
    // SAFETY: as in `call`; two values are left, which are returned.
    unsafe {
        lua.exec_raw((error_handler, code, globals), |state| {
            gyre_lua::lua_revive(state);
            ffi::lua_pushvalue(state, 3);
            ffi::lua_replace(state, ffi::LUA_GLOBALSINDEX);
            ffi::lua_setfenv(state, 2);
            let status = ffi::lua_pcall(state, 0, 1, 1);
            gyre_lua::lua_revive(state);
            gyre_lua::lua_recover(state);
            ffi::lua_pushboolean(state, (status == ffi::LUA_OK).into());
            ffi::lua_replace(state, 1);
        })
    }
}
