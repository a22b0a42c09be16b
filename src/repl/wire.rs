//! Commands as bytes of a replication stream: plain RESP arrays of bulk strings.

pub use crate::resp::put_command;

/// One command.
pub fn command(args: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    put_command(&mut out, args);
    out
}

/// Text for a log line: what a peer sent, shortened, with everything that is no printable ASCII escaped.
pub fn shown(bytes: &[u8]) -> String {
    const LEN_MAX: usize = 200;
    bytes[..bytes.len().min(LEN_MAX)].escape_ascii().to_string()
}
