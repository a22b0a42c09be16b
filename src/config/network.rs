//! Directives about listening, connections, clients and what they may hold.

use super::clients::{ClientMemoryLimit, OutputBufferLimits};
use super::lists::BindAddresses;
use std::path::PathBuf;

const MIB: usize = 1024 * 1024;

super::directive::section! {
    /// Where the server listens, and the limits of a connection.
    Network in network {
        port: u16 = 6379, "port", 0, int(0, 65535);
        bind: BindAddresses = BindAddresses::default(), "bind", MULTI, Rule::Any;
        bind_source_addr: Option<Vec<u8>> = None, "bind-source-addr", 0, Rule::Any;
        unixsocket: Option<PathBuf> = None, "unixsocket", IMMUTABLE, Rule::Any;
        unixsocketperm: u32 = 0, "unixsocketperm", IMMUTABLE, octal(0, 0o777);
        tcp_backlog: u32 = 511, "tcp-backlog", IMMUTABLE, int(0, INT_MAX);
        tcp_keepalive: u32 = 300, "tcp-keepalive", 0, int(0, INT_MAX);
        socket_mark_id: u32 = 0, "socket-mark-id", IMMUTABLE, int(0, UINT_MAX);
        timeout: u32 = 0, "timeout", 0, int(0, INT_MAX);
        maxclients: u32 = 10000, "maxclients", 0, int(1, UINT_MAX);
        protected_mode: bool = true, "protected-mode", 0, Rule::Any;
        proto_max_bulk_len: usize = 512 * MIB, "proto-max-bulk-len", 0, memory(1024 * 1024, LONG_MAX);
        client_query_buffer_limit: usize = 1024 * MIB, "client-query-buffer-limit", 0, memory(1024 * 1024, LONG_MAX);
        client_output_buffer_limit: OutputBufferLimits = OutputBufferLimits::default(), "client-output-buffer-limit", MULTI, Rule::Any;
        maxmemory_clients: ClientMemoryLimit = ClientMemoryLimit::Bytes(0), "maxmemory-clients", 0, Rule::Any;
        tracking_table_max_keys: usize = 1_000_000, "tracking-table-max-keys", 0, int(0, LONG_MAX);
        io_threads: u32 = 1, "io-threads", IMMUTABLE | NO_EFFECT, int(1, 128);
        io_threads_do_reads: bool = false, "io-threads-do-reads", IMMUTABLE | NO_EFFECT, Rule::Any;
    }
}
