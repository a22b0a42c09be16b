//! The append-only files as files: which there are, what is in them, where they end, and what is written to them.
//!
//! Everything here is plain file work, with no shard and no server in sight, so that the server, its tool `gyre-check-aof`
//! and the tests do the same. `manifest` says which files count, `folder` puts that on the disk. `../persistence.md` has the contract.

pub mod folder;
pub mod manifest;

pub use folder::{Folder, FolderError, Opened, Removed};
pub use manifest::{BaseFormat, Chain, Entry, Layout, Manifest, ManifestError};

#[cfg(test)]
mod testing;
pub mod write;
