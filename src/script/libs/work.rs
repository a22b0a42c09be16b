//! The work that a library does for a script: others get their turn meanwhile, the script can be killed, and what is made of it is not
//! larger than what a script may have.

use mlua::Lua;

use super::raise::Failure;
use crate::runtime::lua::guard;

/// Values between two looks.
const VALUES_PER_LOOK: usize = 1024;
/// The most that is made where the memory of scripts has no limit.
const BYTES_MAX: usize = 4 << 30;

pub struct Work<'a> {
    lua: &'a Lua,
    done: usize,
}

impl<'a> Work<'a> {
    pub fn new(lua: &'a Lua) -> Work<'a> {
        Work { lua, done: 0 }
    }

    /// One more value has been looked at, and so many bytes have been made. `Err`: there has to be an end.
    pub fn step(&mut self, bytes: usize) -> Result<(), Failure> {
        if bytes > guard::memory_limit().min(BYTES_MAX) {
            return Err(mlua::Error::MemoryError("not enough memory".into()).into());
        }
        self.done += 1;
        if self.done.is_multiple_of(VALUES_PER_LOOK) {
            guard::work(self.lua, VALUES_PER_LOOK)?;
        }
        Ok(())
    }
}
