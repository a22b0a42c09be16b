//! Commands as bytes of a replication stream: plain RESP arrays of bulk strings.

/// Appends one command to `out`.
pub fn put_command(out: &mut Vec<u8>, args: &[&[u8]]) {
    let mut digits = itoa::Buffer::new();
    out.push(b'*');
    out.extend_from_slice(digits.format(args.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    for arg in args {
        out.push(b'$');
        out.extend_from_slice(digits.format(arg.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

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
