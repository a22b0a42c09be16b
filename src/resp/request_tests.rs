use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { bulk_len_max: 512 * 1024 * 1024, authenticated: true };
const UNAUTHENTICATED: Limits = Limits { authenticated: false, ..LIMITS };

type Request = Vec<Vec<u8>>;

/// What a connection makes of a stream: the requests in it, then the error that ends it, if any.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    requests: Vec<Request>,
    error: Option<ProtocolError>,
    /// Bytes of the request at the end that is not complete.
    unconsumed: usize,
}

/// Feeds `stream` in pieces of the given lengths, over and over, and keeps the unconsumed input as a connection
/// does, in a buffer that moves each time.
fn feed(stream: &[u8], piece_lens: &[usize], limits: &Limits) -> Outcome {
    let mut parser = RequestParser::new();
    let mut outcome = Outcome { requests: Vec::new(), error: None, unconsumed: 0 };
    let mut pending: Vec<u8> = Vec::new();
    let mut rest = stream;
    let mut piece_lens = piece_lens.iter().cycle();
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(rest.len().min(*piece_lens.next().unwrap()));
        rest = later;
        pending = [&pending[..], piece].concat();
        let mut start = 0;
        loop {
            match parser.parse(&pending[start..], limits) {
                Ok(Progress::Complete { len }) => {
                    let source = parser.unquoted().unwrap_or(&pending[start..start + len]);
                    let args = parser.args().iter().map(|arg| arg.of(source).to_vec()).collect();
                    outcome.requests.push(args);
                    start += len;
                }
                Ok(Progress::Incomplete { total_hint }) => {
                    assert!(total_hint == 0 || total_hint > pending.len() - start);
                    break;
                }
                Err(error) => {
                    return Outcome { error: Some(error), unconsumed: 0, ..outcome };
                }
            }
        }
        pending.drain(..start);
        outcome.unconsumed = pending.len();
    }
    outcome
}

fn whole(stream: &[u8], limits: &Limits) -> Outcome {
    feed(stream, &[stream.len().max(1)], limits)
}

fn requests(stream: &[u8]) -> Vec<Request> {
    let outcome = whole(stream, &LIMITS);
    assert_eq!((outcome.error, outcome.unconsumed), (None, 0), "{}", stream.escape_ascii());
    outcome.requests
}

/// The error's text, the same when the stream arrives whole and in pieces: byte by byte, unless it is long.
fn error_of(stream: &[u8], limits: &Limits) -> Option<Text> {
    let outcome = whole(stream, limits);
    let piece_lens: &[usize] = if stream.len() < 1000 { &[1] } else { &[997, 1] };
    assert_eq!(outcome, feed(stream, piece_lens, limits), "{}", stream.escape_ascii());
    outcome.error.map(|error| error.text())
}

fn expect_error(stream: &[u8], text: &str) {
    assert_eq!(error_of(stream, &LIMITS), Some(Text::from(text.to_owned())), "{}", stream.escape_ascii());
}

fn expect_waiting(stream: &[u8]) {
    let outcome = whole(stream, &LIMITS);
    assert_eq!((outcome.error, outcome.unconsumed), (None, stream.len()), "{}", stream.escape_ascii());
}

fn encode(args: &[Vec<u8>]) -> Vec<u8> {
    let mut encoded = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        encoded.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        encoded.extend_from_slice(arg);
        encoded.extend_from_slice(b"\r\n");
    }
    encoded
}

#[test]
fn arguments_are_found_in_place() {
    let input = b"*2\r\n$3\r\nGET\r\n$5\r\na\r\nbc\r\nnext";
    let mut parser = RequestParser::new();
    assert_eq!(parser.parse(input, &LIMITS), Ok(Progress::Complete { len: 24 }));
    assert_eq!(parser.args(), [ArgRange { start: 8, len: 3 }, ArgRange { start: 17, len: 5 }]);
    assert_eq!(parser.args()[1].of(input), b"a\r\nbc");
    assert_eq!(parser.unquoted(), None);
}

#[test]
fn requests_of_both_kinds_may_follow_each_other() {
    let stream = b"*1\r\n$4\r\nPING\r\nPING\r\nGET 'a b'\n*1\r\n$0\r\n\r\nQUIT\n";
    let expected: [&[&[u8]]; 5] = [&[b"PING"], &[b"PING"], &[b"GET", b"a b"], &[b""], &[b"QUIT"]];
    assert_eq!(
        requests(stream),
        expected.map(|args| args.iter().map(|arg| arg.to_vec()).collect::<Request>())
    );
}

#[test]
fn empty_requests_have_no_arguments() {
    for stream in
        [&b"*0\r\n"[..], b"*-1\r\n", b"*-9223372036854775808\r\n", b"\r\n", b"\n", b"  \t \r\n", b"\r\r\n"]
    {
        assert_eq!(requests(stream), [Request::new()], "{}", stream.escape_ascii());
    }
}

#[test]
fn arguments_of_an_earlier_request_do_not_linger() {
    let mut parser = RequestParser::new();
    for stream in [&b"GET 'a' \"b\"\n"[..], b"*0\r\n"] {
        assert_eq!(parser.parse(stream, &LIMITS), Ok(Progress::Complete { len: stream.len() }));
    }
    assert_eq!((parser.args(), parser.unquoted()), (&[][..], None));
    assert_eq!(parser.parse(b"x \"y\" 'z\n", &LIMITS), Err(ProtocolError::UnbalancedQuotes));
    assert_eq!(parser.parse(b"\"q\"\n", &LIMITS), Ok(Progress::Complete { len: 4 }));
    assert_eq!(parser.unquoted(), Some(&b"q"[..]));
}

#[test]
fn line_ends_are_as_lenient_as_those_of_redis() {
    assert_eq!(requests(b"*1\rx$1\ryAzz"), [[b"A"]]);
}

#[test]
fn bad_counts_are_refused() {
    for count in
        ["", "x", "1x", "+1", "01", "-0", "-", "--1", " 1", "1 ", "2147483648", "9223372036854775808"]
    {
        expect_error(format!("*{count}\r\n").as_bytes(), "invalid multibulk length");
    }
    expect_error(format!("*{}\r\n", "1".repeat(100)).as_bytes(), "invalid multibulk length");
    expect_waiting(b"*2147483647\r\n");
}

#[test]
fn bad_lengths_are_refused() {
    for len in
        ["", "x", "1x", "+1", "01", "-0", "-1", "--1", "536870913", "9999999999", "9223372036854775808"]
    {
        expect_error(format!("*1\r\n${len}\r\n").as_bytes(), "invalid bulk length");
    }
    expect_waiting(b"*1\r\n$536870912\r\n");
    let limits = Limits { bulk_len_max: usize::MAX, ..LIMITS };
    let mut parser = RequestParser::new();
    let progress = parser.parse(b"*1\r\n$9223372036854775807\r\n", &limits);
    assert_eq!(progress, Ok(Progress::Incomplete { total_hint: 26 + i64::MAX as usize + 2 }));
}

#[test]
fn a_value_must_begin_with_a_dollar() {
    expect_error(b"*1\r\n:5\r\n", "expected '$', got ':'");
    expect_error(b"*2\r\n$1\r\na\r\n*1\r\n", "expected '$', got '*'");
    expect_error(b"*1\r\n\r\n", "expected '$', got '\r'");
    expect_error(b"*1\r\n\n\r\n", "expected '$', got '\n'");
    // Not before the line has ended.
    expect_waiting(b"*1\r\nfoo\n");
    expect_waiting(b"*1\r\nfoo\r");
}

#[test]
fn unbalanced_quotes_are_refused() {
    expect_error(b"GET \"a\r\n", "unbalanced quotes in request");
    expect_error(b"GET 'a'b\n", "unbalanced quotes in request");
}

#[test]
fn before_authentication_requests_must_be_small() {
    let error = |stream: &[u8]| error_of(stream, &UNAUTHENTICATED);
    assert_eq!(error(b"*10\r\n$16384\r\n"), None);
    assert_eq!(error(b"*11\r\n").unwrap(), "unauthenticated multibulk length");
    assert_eq!(error(b"*1\r\n$16385\r\n").unwrap(), "unauthenticated bulk length");
    assert_eq!(error(b"*2147483648\r\n").unwrap(), "invalid multibulk length");
    assert_eq!(error(b"*1\r\n$536870913\r\n").unwrap(), "invalid bulk length");
}

#[test]
fn a_line_may_have_64_kib_and_no_more() {
    let cases = [
        ("", "\n", "too big inline request"),
        ("*", "\r\n", "too big mbulk count string"),
        ("*1\r\n", "\r\n", "too big bulk count string"),
        ("*2\r\n$1\r\na\r\n$", "\r\n", "too big bulk count string"),
    ];
    for (before, end, too_big) in cases {
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let filled = |len: usize| format!("{before}{}", "a".repeat(len - (before.len() - line_start)));
        let longest = filled(LINE_LEN_MAX);
        expect_waiting(longest.as_bytes());
        let ended = error_of(format!("{longest}{end}").as_bytes(), &LIMITS);
        assert_ne!(ended, Some(Text::from(too_big)));
        expect_error(filled(LINE_LEN_MAX + 1).as_bytes(), too_big);
        expect_error(format!("{}{end}", filled(LINE_LEN_MAX + 1)).as_bytes(), too_big);
    }
}

#[test]
fn a_nul_hides_the_line_end_behind_it() {
    for (start, too_big) in [
        ("\0", "too big inline request"),
        ("PING\0", "too big inline request"),
        ("*\0", "too big mbulk count string"),
        ("*1\0", "too big mbulk count string"),
        ("*1\r\n$\0", "too big bulk count string"),
    ] {
        let stream = format!("{start}{}", "A\r\n".repeat(1000));
        expect_waiting(stream.as_bytes());
        expect_error(format!("{start}{}", "A\r\n".repeat(30_000)).as_bytes(), too_big);
    }
}

#[test]
fn the_hint_covers_the_value_that_is_arriving() {
    let mut parser = RequestParser::new();
    let mut parse = |input: &[u8]| parser.parse(input, &LIMITS);
    assert_eq!(parse(b"*2\r\n"), Ok(Progress::Incomplete { total_hint: 0 }));
    assert_eq!(parse(b"*2\r\n$3\r\nSET\r\n$100"), Ok(Progress::Incomplete { total_hint: 0 }));
    assert_eq!(
        parse(b"*2\r\n$3\r\nSET\r\n$1000\r\nab"),
        Ok(Progress::Incomplete { total_hint: 20 + 1000 + 2 })
    );
}

/// What makes the time linear: nothing before `next` is read again, and no byte of a line is searched twice.
#[test]
fn a_request_in_many_pieces_is_not_read_again() {
    let args: Vec<Vec<u8>> = (0..100_000).map(|number: u32| number.to_string().into_bytes()).collect();
    let stream = encode(&args);
    let mut parser = RequestParser::new();
    let mut received = Vec::new();
    for piece in stream.chunks(16 * 1024) {
        received.extend_from_slice(piece);
        if let Progress::Complete { len } = parser.parse(&received, &LIMITS).unwrap() {
            assert_eq!(len, stream.len());
        }
        assert!(received.len() - parser.next <= 16, "only the last, cut, argument is left");
        received[..parser.next].fill(b'?');
    }
    assert!(!parser.is_mid_request());
    assert_eq!(parser.args().len(), args.len());
    assert!(parser.args().iter().zip(&args).all(|(range, arg)| range.of(&stream) == arg));

    for start in ["*", "*1\r\n$", "x"] {
        let mut parser = RequestParser::new();
        let mut received = start.as_bytes().to_vec();
        for _ in 0..100 {
            received.extend_from_slice(b"1111111111");
            assert_eq!(parser.parse(&received, &LIMITS), Ok(Progress::Incomplete { total_hint: 0 }));
            assert_eq!(parser.searched, received.len());
        }
    }
}

#[test]
fn memory_is_kept_between_small_requests_and_given_back_after_giant_ones() {
    let small = encode(&vec![b"x".to_vec(); 10]);
    let giant = encode(&vec![b"x".to_vec(); 100_000]);
    let mut parser = RequestParser::new();
    let parse = |parser: &mut RequestParser, input: &[u8]| {
        assert_eq!(parser.parse(input, &LIMITS), Ok(Progress::Complete { len: input.len() }));
        parser.memory_bytes()
    };
    let after_small = parse(&mut parser, &small);
    assert_eq!(parse(&mut parser, &small), after_small);
    assert!(parse(&mut parser, &giant) >= 1_600_000);
    assert!(parse(&mut parser, &small) <= after_small);
    parse(&mut parser, &giant);
    parser.release_memory();
    assert_eq!(parser.memory_bytes(), 0);
    parse(&mut parser, format!("\"{}\"\n", "y".repeat(60_000)).as_bytes());
    assert!(parser.memory_bytes() >= 60_000);
    parser.release_memory();
    assert!(parser.memory_bytes() < 1000 && parser.unquoted().is_none());
    // An announced count alone costs little.
    parser.parse(b"*2147483647\r\n", &LIMITS).unwrap();
    assert!(parser.memory_bytes() <= 16 * 1024);
}

/// Streams that come near the protocol, so that every branch is reached.
fn near_protocol() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        4 => Just(b"\r\n".to_vec()),
        2 => (-1..12i64).prop_map(|count| format!("*{count}\r\n").into_bytes()),
        4 => (-1..12i64).prop_map(|len| format!("${len}\r\n").into_bytes()),
        4 => prop::collection::vec(any::<u8>(), 0..12)
            .prop_map(|value| [format!("${}\r\n", value.len()).as_bytes(), &value[..], b"\r\n"].concat()),
        2 => prop::sample::select(&b"*$\r\n\0\"'\\x0123456789- a"[..]).prop_map(|byte| vec![byte]),
        1 => prop::collection::vec(any::<u8>(), 0..8),
        1 => Just(b"SET \"a\\x41\" 'b'\r\n".to_vec()),
    ];
    prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![3 => near_protocol(), 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn pieces_give_the_same_as_the_whole(
        stream in any_stream(),
        piece_lens in prop::collection::vec(1usize..20, 1..10),
        authenticated: bool,
    ) {
        let limits = Limits { bulk_len_max: 10, authenticated };
        let expected = whole(&stream, &limits);
        prop_assert_eq!(&feed(&stream, &[1], &limits), &expected);
        prop_assert_eq!(&feed(&stream, &piece_lens, &limits), &expected);
    }

    #[test]
    fn what_was_encoded_is_found_again(
        expected in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..120), 1..4),
        piece_lens in prop::collection::vec(1usize..400, 1..10),
    ) {
        let stream: Vec<u8> = expected.iter().flat_map(|args| encode(args)).collect();
        let outcome = feed(&stream, &piece_lens, &LIMITS);
        prop_assert_eq!(outcome, Outcome { requests: expected, error: None, unconsumed: 0 });
    }

    #[test]
    fn the_usual_length_agrees_with_the_careful_one(line in "[*$][-0-9a]{0,12}[\r]?[\n0]?") {
        if let Some((value, next)) = usual_length(line.as_bytes(), 0) {
            let end = line.find('\r').unwrap();
            prop_assert_eq!(decimal(&line.as_bytes()[1..end]), Some(value as i64));
            prop_assert_eq!(next, end + 2);
            prop_assert!(next <= line.len());
        }
    }
}
