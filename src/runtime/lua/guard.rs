//! What keeps scripts within bounds: somebody who looks after them while anything of Lua's runs, and a bound for the memory of all
//! interpreters of this process together.
//!
//! An interpreter takes memory from the common allowance in large pieces, so that this costs nothing otherwise. What it cannot have
//! is an error for its script, "not enough memory".

use std::cell::Cell;
use std::ffi::{c_int, c_void, CStr};
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gyre_lua::{Grant, Interrupt};
use mlua::ffi::{self, lua_State};
use mlua::Lua;

use crate::runtime::sys;

/// What an interpreter takes at once, bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// Functions that are looked at for the place where a script is killed: some may be this program's own.
const LEVELS_MAX: c_int = 10;

/// What an interpreter uses is made known when it has changed by so much, bytes: Redis tells it in units of that, too.
const COUNTED_BYTES: usize = 1024;

/// Bytes that all interpreters have taken.
static TAKEN: AtomicUsize = AtomicUsize::new(0);
/// How many of them they use.
static USED: AtomicUsize = AtomicUsize::new(0);
/// How many they may take.
static LIMIT: AtomicUsize = AtomicUsize::new(1 << 30);

/// Bounds the memory of all interpreters of this process. 0: what the machine has.
pub fn set_memory_limit(bytes: usize) {
    let bytes = if bytes == 0 { (sys::memory_bytes() as usize).max(1 << 30) } else { bytes };
    LIMIT.store(bytes, Ordering::Relaxed);
}

/// What that is now.
pub fn memory_limit() -> usize {
    LIMIT.load(Ordering::Relaxed)
}

/// What the interpreters of this process use, bytes; while a script makes one grow, what it has taken.
pub fn memory_used() -> usize {
    USED.load(Ordering::Relaxed)
}

/// Looks after the scripts of an interpreter.
pub trait Warden: 'static {
    /// A script has done some work. May let it stand still. True: it is to be killed.
    fn look(&self) -> bool;
    /// It is being killed, here.
    fn killed_at(&self, place: CodeLine);
}

/// A place in the code of a script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeLine {
    pub source: Vec<u8>,
    pub line: i64,
}

/// What Lua's code is given: who looks after the interpreter, and what it has taken of the allowance.
struct Context<W> {
    warden: Rc<W>,
    taken: Cell<usize>,
    /// Its part of `USED`.
    counted: Cell<usize>,
    /// The limit as the interpreter knows it: what the others have not taken.
    limit: Cell<usize>,
}

impl<W> Context<W> {
    fn count(&self, used: usize) {
        if used.abs_diff(self.counted.get()) >= COUNTED_BYTES {
            // Around zero, should the difference be negative.
            USED.fetch_add(used.wrapping_sub(self.counted.replace(used)), Ordering::Relaxed);
        }
    }
}

/// An interpreter's bounds.
pub struct Guard<W: Warden> {
    lua: Lua,
    context: ManuallyDrop<Box<Context<W>>>,
    /// A script has begun and not ended: if the interpreter is given up now, it is never used again, nor closed.
    is_running: Cell<bool>,
}

impl<W: Warden> Guard<W> {
    /// From now on `warden` looks after this interpreter, and it takes its memory from the common allowance.
    pub fn new(lua: &Lua, warden: Rc<W>) -> mlua::Result<Guard<W>> {
        let used = lua.used_memory();
        let taken = used.next_multiple_of(PIECE_BYTES);
        let limit = Cell::new(memory_limit());
        let context = Context { warden, taken: Cell::new(taken), counted: Cell::new(0), limit };
        TAKEN.fetch_add(taken, Ordering::Relaxed);
        context.count(used);
        let context = ManuallyDrop::new(Box::new(context));
        let guard = Guard { lua: lua.clone(), context, is_running: Cell::new(false) };
        guard.bind(Some(interrupt::<W>), Some(grant::<W>), taken, memory_limit())?;
        Ok(guard)
    }

    fn bind(
        &self,
        interrupt: Option<Interrupt>,
        grant: Option<Grant>,
        taken: usize,
        limit: usize,
    ) -> mlua::Result<()> {
        let context: *const Context<W> = &**self.context;
        let context: *mut c_void = context.cast_mut().cast();
        // SAFETY: the functions are of the types that Lua wants, and the context lives until they are taken away, or for ever (`drop`).
        unsafe {
            self.lua.exec_raw((), |state| {
                gyre_lua::lua_setinterrupt(state, interrupt, context);
                gyre_lua::lua_setgrant(state, grant, context, taken, limit);
            })
        }
    }

    /// A script begins to run. The collector takes its pace by what there is for this interpreter beside the others.
    pub fn begin(&self) {
        self.is_running.set(true);
        let (limit, taken) = (self.limit_here(), self.context.taken.get());
        if !self.knows(limit) && self.bind(Some(interrupt::<W>), Some(grant::<W>), taken, limit).is_ok() {
            self.context.limit.set(limit);
        }
    }

    /// What this interpreter may take, with what the others have now.
    fn limit_here(&self) -> usize {
        let others = TAKEN.load(Ordering::Relaxed).saturating_sub(self.context.taken.get());
        memory_limit().saturating_sub(others)
    }

    /// Whether the interpreter knows this limit, near enough.
    fn knows(&self, limit: usize) -> bool {
        self.context.limit.get().abs_diff(limit) < PIECE_BYTES
    }

    /// It has ended. Gives back what the interpreter has taken and does not use, and has it know the limit as it is now.
    pub fn settle(&self) {
        self.is_running.set(false);
        let used = self.lua.used_memory();
        self.context.count(used);
        let (limit, taken) = (self.limit_here(), self.context.taken.get());
        let needed = used.next_multiple_of(PIECE_BYTES).min(taken);
        // One piece is left to it, so that it does not come and go with each script.
        if needed + PIECE_BYTES >= taken && self.knows(limit) {
            return;
        }
        if self.bind(Some(interrupt::<W>), Some(grant::<W>), needed, limit).is_ok() {
            self.context.limit.set(limit);
            // Binding it may have taken a piece more.
            let taken = self.context.taken.replace(needed);
            TAKEN.fetch_sub(taken - needed, Ordering::Relaxed);
        }
    }

    pub fn warden(&self) -> &Rc<W> {
        &self.context.warden
    }
}

impl<W: Warden> Drop for Guard<W> {
    fn drop(&mut self) {
        TAKEN.fetch_sub(self.context.taken.get(), Ordering::Relaxed);
        USED.fetch_sub(self.context.counted.get(), Ordering::Relaxed);
        if !self.is_running.get() && self.bind(None, None, usize::MAX, usize::MAX).is_ok() {
            // SAFETY: it is not used any more, and Lua does not know it.
            unsafe { ManuallyDrop::drop(&mut self.context) }
        }
    }
}

/// # Safety
///
/// Lua calls it, with the context of a `Guard`.
unsafe extern "C-unwind" fn grant<W: Warden>(context: *mut c_void, granted: usize, wanted: usize) -> usize {
    // SAFETY: by the contract.
    let context = unsafe { &*context.cast::<Context<W>>() };
    let limit = memory_limit();
    let whole = wanted.checked_next_multiple_of(PIECE_BYTES).unwrap_or(wanted);
    for wanted in [whole, wanted] {
        let more = wanted.saturating_sub(granted);
        let take = |taken: usize| taken.checked_add(more).filter(|taken| *taken <= limit);
        if TAKEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            context.taken.set(wanted);
            context.count(wanted);
            return wanted;
        }
    }
    granted
}

/// # Safety
///
/// Lua calls it, with the context of a `Guard`.
unsafe extern "C-unwind" fn interrupt<W: Warden>(
    context: *mut c_void,
    state: *mut lua_State,
    may_throw: c_int,
) -> c_int {
    // SAFETY: by the contract.
    let warden = unsafe { &*context.cast::<Context<W>>() }.warden.as_ref();
    let is_killed = warden.look();
    if is_killed && may_throw != 0 {
        // SAFETY: Lua runs here, and this is its state.
        warden.killed_at(unsafe { place(state) });
    }
    is_killed.into()
}

/// Where Lua runs: in the innermost function that is not written in C.
///
/// # Safety
///
/// Lua runs in this state.
pub(super) unsafe fn place(state: *mut lua_State) -> CodeLine {
    // SAFETY: `lua_getinfo` fills in what is asked for, of a level that is there. The name of the source is a C string.
    unsafe {
        for level in 0..LEVELS_MAX {
            let mut record: ffi::lua_Debug = std::mem::zeroed();
            if ffi::lua_getstack(state, level, &mut record) == 0
                || ffi::lua_getinfo(state, c"Sl".as_ptr(), &mut record) == 0
            {
                break;
            }
            if record.currentline > 0 {
                let source = CStr::from_ptr(record.source).to_bytes().to_vec();
                return CodeLine { source, line: record.currentline.into() };
            }
        }
    }
    CodeLine::default()
}

/// Accounts for work that a function of this program's does for a script, so that others get their turn. `Err`: the script has been
/// killed; the function has to end.
pub fn work(lua: &Lua, units: usize) -> mlua::Result<()> {
    // SAFETY: an error leaves by a jump over the closure only, which owns nothing.
    unsafe { lua.exec_raw((), |state| gyre_lua::lua_work(state, units)) }
}
