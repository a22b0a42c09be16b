//! Directives about cluster mode.

use super::validate;
use super::values::choices;
use std::path::PathBuf;

choices! {
    /// Which name of a node redirections and CLUSTER SLOTS show.
    EndpointType {
        Ip = "ip",
        Hostname = "hostname",
        Unknown = "unknown-endpoint",
    }
}

super::directive::section! {
    /// Cluster mode.
    Cluster in cluster {
        cluster_enabled: bool = false, "cluster-enabled", IMMUTABLE, Rule::Any;
        cluster_config_file: PathBuf = "nodes.conf".into(), "cluster-config-file", IMMUTABLE, Rule::Any;
        cluster_port: u16 = 0, "cluster-port", IMMUTABLE, int(0, 65535);
        cluster_node_timeout: u64 = 15000, "cluster-node-timeout", 0, int(0, LONG_MAX);
        cluster_ping_interval: u64 = 0, "cluster-ping-interval", HIDDEN, int(0, LONG_MAX);
        cluster_announce_ip: Option<Vec<u8>> = None, "cluster-announce-ip", 0, Rule::Any;
        cluster_announce_hostname: Option<Vec<u8>> = None, "cluster-announce-hostname", 0, Rule::Check(validate::hostname);
        cluster_announce_human_nodename: Option<Vec<u8>> = None, "cluster-announce-human-nodename", 0, Rule::Check(validate::nodename);
        cluster_announce_port: u16 = 0, "cluster-announce-port", 0, int(0, 65535);
        cluster_announce_tls_port: u16 = 0, "cluster-announce-tls-port", 0, int(0, 65535);
        cluster_announce_bus_port: u16 = 0, "cluster-announce-bus-port", 0, int(0, 65535);
        cluster_preferred_endpoint_type: EndpointType = EndpointType::Ip, "cluster-preferred-endpoint-type", 0, Rule::Any;
        cluster_require_full_coverage: bool = true, "cluster-require-full-coverage", 0, Rule::Any;
        cluster_allow_reads_when_down: bool = false, "cluster-allow-reads-when-down", 0, Rule::Any;
        cluster_allow_pubsubshard_when_down: bool = true, "cluster-allow-pubsubshard-when-down", 0, Rule::Any;
        cluster_allow_replica_migration: bool = true, "cluster-allow-replica-migration", 0, Rule::Any;
        cluster_migration_barrier: u32 = 1, "cluster-migration-barrier", 0, int(0, INT_MAX);
        cluster_replica_validity_factor: u32 = 10, "cluster-replica-validity-factor" / "cluster-slave-validity-factor", 0, int(0, INT_MAX);
        cluster_replica_no_failover: bool = false, "cluster-replica-no-failover" / "cluster-slave-no-failover", 0, Rule::Any;
        cluster_link_sendbuf_limit: u64 = 0, "cluster-link-sendbuf-limit", 0, memory(0, ULONG_MAX);
    }
}
