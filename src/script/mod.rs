//! Scripts: Lua 5.1 with what Redis gives to it.
//!
//! A script runs in an interpreter (`vm`) and on a stack of its own (`execution`). When it calls a command it stands still, and whoever
//! runs it gets the command, finds the reply in whatever way, and lets it go on; likewise now and then when it takes long. So
//! nothing here knows about shards. `natives` and the prelude are what scripts find there, `convert` has the values of both worlds,
//! `source` the texts of scripts, `libs` what scripts find besides Lua's own. Functions come in libraries (`library`, `libraries`):
//! values that all shards share, of which each interpreter runs the code when it needs it (`vm/functions`).

mod convert;
mod execution;
mod libraries;
mod library;
pub(crate) mod libs;
mod natives;
mod source;
mod vm;

pub use execution::{Execution, LibraryFunction, Progress, Resume, What};
pub use libraries::{Libraries, RestorePolicy, LOAD_TIME_MAX};
pub use library::{Library, ENGINE};
pub use source::{Script, ScriptFlags, Sha};
pub use vm::{Outcome, Vm};
