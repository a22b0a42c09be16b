//! What outlives the process: the RDB format, and on it the log, the snapshots and the backups.

pub mod rdb;
pub mod snapshot;
