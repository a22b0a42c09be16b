//! The configuration: redis.conf and the command line, and what CONFIG GET, SET and REWRITE do.
//!
//! Every directive of Redis 7.2 is a row of one table, written next to the typed field of `Config` that it fills
//! (`directive.rs` explains how). The server reads plain fields; only this module knows their names and texts.
//! Nothing here does I/O but reading and writing the configuration file, and nothing acts on a change:
//! `change` hands the old and the new configuration to its caller, who does.

mod access;
pub mod argv;
mod clients;
mod cluster;
mod directive;
mod encodings;
mod engine;
mod general;
mod lists;
mod load;
mod memory;
mod network;
mod observing;
mod persistence;
mod replication;
mod rewrite;
mod security;
mod shard_count;
mod special;
mod title;
mod tls;
mod unsupported;
mod validate;
mod values;

#[cfg(test)]
mod tests;

pub use crate::base::ShardCount;
pub use access::{
    change, directives, find, get, is_sensitive, without_effect, ApplyError, Change, SetError, Setter,
};
pub use clients::{ClientMemoryLimit, OutputBufferLimit, OutputBufferLimits};
pub use cluster::{Cluster, EndpointType};
pub use directive::{flag, Directive};
pub use encodings::Encodings;
pub use engine::{Engine, SnapshotMethod};
pub use general::{General, OomScoreAdj, Supervised};
pub use lists::{
    percentile_text, BindAddresses, OomScoreAdjValues, Percentiles, ReplicaOf, SavePoint, SavePoints,
};
pub use load::{load, ConfigError, Loaded, Origin, RenameCommand, SentinelLine, UserLine};
pub use memory::{MaxmemoryPolicy, Memory};
pub use network::Network;
pub use observing::{LogLevel, Observing, SyslogFacility};
pub use persistence::{AppendFsync, Persistence, SanitizeDumpPayload};
pub use replication::{PropagationErrorBehavior, ReplDisklessLoad, Replication};
pub use rewrite::{rewrite, Rewrite, RewriteError};
pub use security::{AclPubsubDefault, ProtectedAction, Security};
pub use special::{ActiveDefrag, NotifyEvents, ShutdownFlags, WorkingDir};
pub use title::process_title;
pub use tls::{Tls, TlsAuthClients};
pub use unsupported::unsupported_setting;
pub use values::memory_size;

/// Every directive's value, grouped by concern. Cheap to read; cloned for a change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    pub general: General,
    pub engine: Engine,
    pub network: Network,
    pub security: Security,
    pub memory: Memory,
    pub encodings: Encodings,
    pub persistence: Persistence,
    pub replication: Replication,
    pub cluster: Cluster,
    pub tls: Tls,
    pub observing: Observing,
}

/// The limits of `hz`; values outside are accepted and moved inside, as files for old versions have them.
pub const HZ_MIN: u32 = 1;
pub const HZ_MAX: u32 = 500;

impl Config {
    /// Moves values inside limits that are not errors to overstep.
    fn settle(&mut self) {
        self.general.hz = self.general.hz.clamp(HZ_MIN, HZ_MAX);
    }
}
