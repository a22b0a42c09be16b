//! Any input: the parser does not panic, names only bytes that are there, and finds the same requests and the
//! same error when the input arrives in pieces as when it arrives whole.
//!
//! The first byte of the data sets the piece length, the second the limits.

use gyre::resp::{Limits, Progress, ProtocolError, RequestParser};

type Requests = Vec<Vec<Vec<u8>>>;

fn feed(stream: &[u8], piece_len: usize, limits: &Limits) -> (Requests, Option<ProtocolError>) {
    let mut parser = RequestParser::new();
    let mut requests = Requests::new();
    let mut start = 0;
    let mut end = 0;
    while end < stream.len() {
        end = stream.len().min(end + piece_len);
        loop {
            let input = &stream[start..end];
            match parser.parse(input, limits) {
                Ok(Progress::Incomplete { total_hint }) => {
                    assert!(total_hint == 0 || total_hint > input.len());
                    break;
                }
                Ok(Progress::Complete { len }) => {
                    let source = parser.unquoted().unwrap_or(&input[..len]);
                    requests.push(parser.args().iter().map(|arg| arg.of(source).to_vec()).collect());
                    start += len;
                }
                Err(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

pub fn run(data: &[u8]) {
    let [piece, flags, stream @ ..] = data else {
        return;
    };
    let limits = Limits { bulk_len_max: 1 << (flags & 31), authenticated: flags & 32 == 0 };
    let whole = feed(stream, stream.len().max(1), &limits);
    let in_pieces = feed(stream, usize::from(*piece).max(1), &limits);
    assert_eq!(whole, in_pieces);
}
