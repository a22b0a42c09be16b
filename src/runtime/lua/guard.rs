//! What keeps scripts within bounds: somebody who looks after them while anything of Lua's runs, and a bound for the memory of all
//! interpreters of this process together.
//!
//! An interpreter takes memory from the common allowance in large pieces, so that this costs nothing otherwise. What it cannot have
//! is an error for its script, "not enough memory".

use std::ffi::{c_int, c_void, CStr};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gyre_lua::{lua_granted, lua_usedbytes};
use mlua::ffi::{self, lua_State};
use mlua::Lua;

use crate::runtime::sys;

/// What an interpreter takes at once, bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// Bytes that all interpreters have taken.
static TAKEN: AtomicUsize = AtomicUsize::new(0);
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

/// What the interpreters of this process have for themselves, bytes.
pub fn memory_taken() -> usize {
    TAKEN.load(Ordering::Relaxed)
}

/// Looks after the scripts of an interpreter.
pub trait Warden: 'static {
    /// A script has done some work. May let it stand still. True: it is to be killed.
    fn look(&self) -> bool;
    /// It is being killed, here.
    fn killed_at(&self, place: Place);
}

/// A place in the code of a script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub source: Vec<u8>,
    pub line: i64,
}

/// Functions that the interpreter has must not outlive this.
pub struct Guard<W: Warden> {
    lua: Lua,
    warden: Rc<W>,
}

impl<W: Warden> Guard<W> {
    /// From now on `warden` looks after this interpreter, and it takes its memory from the common allowance.
    pub fn new(lua: &Lua, warden: Rc<W>) -> mlua::Result<Guard<W>> {
        let context: *const W = &*warden;
        let context: *mut c_void = context.cast_mut().cast();
        // SAFETY: the functions are of the types that Lua wants, and the context lives until they are taken away (`drop`).
        unsafe {
            lua.exec_raw::<()>((), |state| {
                let taken = lua_usedbytes(state).next_multiple_of(PIECE_BYTES);
                TAKEN.fetch_add(taken, Ordering::Relaxed);
                gyre_lua::lua_setgrant(state, Some(grant), std::ptr::null_mut(), taken, memory_limit());
                gyre_lua::lua_setinterrupt(state, Some(interrupt::<W>), context);
            })?;
        }
        Ok(Guard { lua: lua.clone(), warden })
    }

    /// Gives back what the interpreter has taken and does not use, and has it know the limit as it is now.
    pub fn settle(&self) {
        // SAFETY: these functions may be called at any time.
        let settled = unsafe {
            self.lua.exec_raw::<()>((), |state| {
                let taken = lua_granted(state);
                let needed = lua_usedbytes(state).next_multiple_of(PIECE_BYTES).min(taken);
                gyre_lua::lua_setgrant(state, Some(grant), std::ptr::null_mut(), needed, memory_limit());
                TAKEN.fetch_sub(taken - needed, Ordering::Relaxed);
            })
        };
        debug_assert!(settled.is_ok(), "it needs no memory");
    }

    pub fn warden(&self) -> &Rc<W> {
        &self.warden
    }
}

impl<W: Warden> Drop for Guard<W> {
    fn drop(&mut self) {
        // SAFETY: as above. The interpreter may be used on, and is then without bounds; but it is closed, or never used again.
        let _ = unsafe {
            self.lua.exec_raw::<()>((), |state| {
                TAKEN.fetch_sub(lua_granted(state), Ordering::Relaxed);
                gyre_lua::lua_setgrant(state, None, std::ptr::null_mut(), usize::MAX, usize::MAX);
                gyre_lua::lua_setinterrupt(state, None, std::ptr::null_mut());
            })
        };
    }
}

/// # Safety
///
/// Lua calls it; see `gyre_lua::Grant`.
unsafe extern "C-unwind" fn grant(_: *mut c_void, granted: usize, wanted: usize) -> usize {
    let limit = memory_limit();
    let whole = wanted.checked_next_multiple_of(PIECE_BYTES).unwrap_or(wanted);
    for wanted in [whole, wanted] {
        let more = wanted.saturating_sub(granted);
        let take = |taken: usize| taken.checked_add(more).filter(|taken| *taken <= limit);
        if TAKEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            return wanted;
        }
    }
    granted
}

/// # Safety
///
/// Lua calls it, with the warden of a `Guard` that lives.
unsafe extern "C-unwind" fn interrupt<W: Warden>(
    context: *mut c_void,
    state: *mut lua_State,
    may_throw: c_int,
) -> c_int {
    // SAFETY: by the contract.
    let warden = unsafe { &*context.cast::<W>() };
    let is_killed = warden.look();
    if is_killed && may_throw != 0 {
        // SAFETY: Lua runs here, and this is its state.
        warden.killed_at(unsafe { place(state) });
    }
    is_killed.into()
}

/// Where Lua runs: in the innermost function, or in its caller if that one is written in C.
///
/// # Safety
///
/// Lua runs in this state.
unsafe fn place(state: *mut lua_State) -> Place {
    // SAFETY: `lua_getinfo` fills in what is asked for, of a level that is there. The name of the source is a C string.
    unsafe {
        for level in 0..2 {
            let mut record: ffi::lua_Debug = std::mem::zeroed();
            if ffi::lua_getstack(state, level, &mut record) == 0
                || ffi::lua_getinfo(state, c"Sl".as_ptr(), &mut record) == 0
            {
                break;
            }
            if level == 1 || CStr::from_ptr(record.what) != c"C" {
                let source = CStr::from_ptr(record.source).to_bytes().to_vec();
                return Place { source, line: record.currentline.into() };
            }
        }
    }
    Place::default()
}

/// Accounts for work that a function of this program's does for a script, so that others get their turn. `Err`: the script has been
/// killed; the function has to end.
pub fn work(lua: &Lua, units: usize) -> mlua::Result<()> {
    // SAFETY: an error leaves by a jump over the closure only, which owns nothing.
    unsafe { lua.exec_raw((), |state| gyre_lua::lua_work(state, units)) }
}
