//! The append-only files as files: which there are, what is in them, where they end, and what is written to them.
//!
//! Everything here is plain file work, with no shard and no server in sight, so that the server, its tool `gyre-check-aof`
//! and the tests do the same. `manifest` says which files count, and `folder` puts that on the disk; `write` and `annotation` are
//! what is in them, `base` writes what begins them as commands, `scan` reads it and finds where it ends; `ahead` tells which keys
//! come next; `cut` finds where several logs must end so that they fit together, and `keep`
//! ends them there. `../persistence.md` has the contract.

pub(crate) mod annotation;
pub(crate) mod base;
pub(crate) mod cut;
pub(crate) mod cut_off;
pub(crate) mod folder;
pub(crate) mod lookahead;
pub(crate) mod manifest;
pub mod scan;
pub(crate) mod write;

pub use annotation::{Annotation, Shards};
pub use cut::{cut, Incomplete, LogEnds, LogPosition, ScannedLog};
pub use cut_off::{cut_off, Kept};
pub use folder::{Folder, FolderError, Opened, Removed};
pub use manifest::{BaseFormat, Chain, Entry, Layout, Manifest, ManifestError};
pub use scan::{Command, Fault, InUnit, Item, Mark, Scanner, Source};

#[cfg(test)]
pub(super) mod testing;
