//! Commands as a client sends them: arrays of bulk strings.

/// What most arguments need beside themselves.
const ARG_OVERHEAD_BYTES: usize = 8;

/// Appends a command, as a client would send it.
pub fn put_command(out: &mut Vec<u8>, args: &[&[u8]]) {
    let mut digits = itoa::Buffer::new();
    let bytes: usize = args.iter().map(|arg| arg.len() + ARG_OVERHEAD_BYTES).sum();
    out.reserve(ARG_OVERHEAD_BYTES + bytes);
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
