//! What outlives the process: the RDB format, and on it the log, the snapshots and the backups.

pub mod aof;
pub(crate) mod backup;
pub mod check_aof;
pub mod check_rdb;
pub mod snapshot;
pub(crate) mod status;
