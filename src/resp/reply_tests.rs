use proptest::prelude::*;

use super::*;

fn joined(reply: &Reply) -> Vec<u8> {
    let bytes: Vec<u8> = reply.segments().flatten().copied().collect();
    assert_eq!(bytes.len(), reply.len());
    bytes
}

/// As the socket does it.
fn rejoined((plain, shared): (Vec<u8>, Vec<(usize, Bytes)>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut sent = 0;
    for (offset, value) in shared {
        bytes.extend_from_slice(&plain[sent..offset]);
        bytes.extend_from_slice(&value);
        sent = offset;
    }
    bytes.extend_from_slice(&plain[sent..]);
    bytes
}

fn written(protocol: Protocol, write: impl FnOnce(&mut Reply)) -> String {
    let mut reply = Reply::new(protocol);
    write(&mut reply);
    let bytes = joined(&reply);
    assert_eq!(rejoined(reply.take_parts()), bytes);
    assert!(reply.is_empty());
    String::from_utf8(bytes).unwrap()
}

#[track_caller]
fn expect(write: impl Fn(&mut Reply), resp2: &str, resp3: &str) {
    assert_eq!(written(Protocol::Resp2, &write), resp2);
    assert_eq!(written(Protocol::Resp3, &write), resp3);
}

#[test]
fn every_kind_is_written_in_the_protocol_of_the_client() {
    let both = |write: fn(&mut Reply), text: &str| expect(write, text, text);
    both(|r| r.ok(), "+OK\r\n");
    both(|r| r.simple("QUEUED"), "+QUEUED\r\n");
    both(|r| r.error("ERR no"), "-ERR no\r\n");
    both(|r| r.bulk(b""), "$0\r\n\r\n");
    both(|r| r.bulk(b"a\r\nb"), "$4\r\na\r\nb\r\n");
    both(|r| r.bulk_integer(-12), "$3\r\n-12\r\n");
    both(|r| r.array(0), "*0\r\n");
    both(|r| r.array(1_000_000), "*1000000\r\n");
    both(|r| r.raw(b":1\r\n"), ":1\r\n");
    expect(|r| r.null(), "$-1\r\n", "_\r\n");
    expect(|r| r.null_array(), "*-1\r\n", "_\r\n");
    expect(|r| r.map(5), "*10\r\n", "%5\r\n");
    expect(|r| r.set(3), "*3\r\n", "~3\r\n");
    expect(|r| r.push(3), "*3\r\n", ">3\r\n");
    expect(|r| r.double(0.5), "$3\r\n0.5\r\n", ",0.5\r\n");
    expect(|r| r.double(f64::INFINITY), "$3\r\ninf\r\n", ",inf\r\n");
    expect(|r| r.double(-1e300), "$7\r\n-1e+300\r\n", ",-1e+300\r\n");
    expect(|r| r.double_text(b"3.0"), "$3\r\n3.0\r\n", ",3.0\r\n");
    expect(|r| r.big_number("123"), "$3\r\n123\r\n", "(123\r\n");
    expect(|r| r.boolean(true), ":1\r\n", "#t\r\n");
    expect(|r| r.boolean(false), ":0\r\n", "#f\r\n");
    expect(|r| r.verbatim("txt", b"hi\n"), "$3\r\nhi\n\r\n", "=7\r\ntxt:hi\n\r\n");
    expect(|r| assert_eq!(r.attribute(1), r.protocol() == Protocol::Resp3), "", "|1\r\n");
}

#[test]
fn integers_are_written_whatever_their_length() {
    for exponent in 0..19 {
        for value in [10i64.pow(exponent) - 1, 10i64.pow(exponent), 5 * 10i64.pow(exponent.min(18)) / 3] {
            for value in [value, -value] {
                assert_eq!(written(Protocol::Resp2, |r| r.integer(value)), format!(":{value}\r\n"));
            }
        }
    }
    assert_eq!(written(Protocol::Resp2, |r| r.integer(i64::MIN)), format!(":{}\r\n", i64::MIN));
    assert_eq!(written(Protocol::Resp2, |r| r.integer(i64::MAX)), format!(":{}\r\n", i64::MAX));
}

#[test]
fn an_error_is_one_line() {
    let error = |text: &str| written(Protocol::Resp2, |r| r.error(text));
    assert_eq!(error("ERR a\r\nb\nc"), "-ERR a  b c\r\n");
    assert_eq!(error("ERR a\r\n"), "-ERR a\r\n");
    assert_eq!(error("\r\nERR a"), "-  ERR a\r\n");
    assert_eq!(error("\n"), "-\r\n");
    let mut reply = Reply::default();
    reply.bulk(b"\r\n");
    reply.error(b"ERR \xff\r?");
    assert_eq!(joined(&reply), b"$2\r\n\r\n\r\n-ERR \xff ?\r\n");
}

#[test]
fn a_protocol_error_shows_the_byte_it_found() {
    let mut reply = Reply::default();
    for found in [b'x', b'\r', 0xe9] {
        reply.protocol_error(&ProtocolError::ExpectedDollar(found));
    }
    reply.protocol_error(&ProtocolError::UnbalancedQuotes);
    let expected: &[&[u8]] = &[
        b"-ERR Protocol error: expected '$', got 'x'\r\n",
        b"-ERR Protocol error: expected '$', got ' '\r\n",
        b"-ERR Protocol error: expected '$', got '\xe9'\r\n",
        b"-ERR Protocol error: unbalanced quotes in request\r\n",
    ];
    assert_eq!(joined(&reply), expected.concat());
}

#[test]
fn large_values_are_shared_and_keep_their_place() {
    let small = Bytes::from(vec![b's'; SHARED_BYTES_MIN - 1]);
    let large = Bytes::from(vec![b'l'; SHARED_BYTES_MIN]);
    let mut reply = Reply::default();
    reply.array(3);
    reply.shared_bulk(&small);
    assert!(reply.as_bytes_if_plain().is_some());
    reply.shared_bulk(&large);
    reply.shared_bulk(&large);
    assert_eq!(reply.as_bytes_if_plain(), None);
    let mut copied = Reply::default();
    copied.array(3);
    for value in [&small, &large, &large] {
        copied.bulk(value);
    }
    assert_eq!(joined(&reply), joined(&copied));
    let (plain, shared) = reply.take_parts();
    assert!(shared.iter().all(|(_, value)| value.as_ptr() == large.as_ptr()));
    assert_eq!(rejoined((plain, shared)), joined(&copied));
}

#[test]
fn deferred_places_nest() {
    expect(
        |r| {
            let outer = r.defer_map();
            r.bulk(b"a");
            let inner = r.defer_array();
            let innermost = r.defer_set();
            r.integer(1);
            r.finish(innermost, 1);
            r.finish(inner, 1);
            r.bulk(b"b");
            let empty = r.defer_array();
            r.finish(empty, 0);
            r.finish(outer, 2);
            r.ok();
        },
        "*4\r\n$1\r\na\r\n*1\r\n*1\r\n:1\r\n$1\r\nb\r\n*0\r\n+OK\r\n",
        "%2\r\n$1\r\na\r\n*1\r\n~1\r\n:1\r\n$1\r\nb\r\n*0\r\n+OK\r\n",
    );
}

#[test]
fn a_mark_goes_back_to_before_shared_values_and_headers() {
    let large = Bytes::from(vec![b'l'; SHARED_BYTES_MIN]);
    let mut reply = Reply::default();
    reply.shared_bulk(&large);
    let before = joined(&reply);
    let mark = reply.mark();

    reply.shared_bulk(&large);
    reply.truncate(mark);
    assert_eq!(joined(&reply), before);

    // A header that becomes a segment right at the mark.
    let place = reply.defer_array();
    reply.bulk(&vec![b'x'; MOVED_BYTES_MAX]);
    reply.finish(place, 1);
    assert!(reply.len() > before.len() + MOVED_BYTES_MAX);
    reply.truncate(mark);
    assert_eq!(joined(&reply), before);

    // A command that fails between two places that stay open.
    let outer = reply.defer_array();
    let mark = reply.mark();
    let abandoned = reply.defer_array();
    reply.integer(1);
    drop(abandoned);
    reply.truncate(mark);
    reply.error("ERR x");
    reply.finish(outer, 1);
    assert_eq!(joined(&reply), [&before[..], b"*1\r\n-ERR x\r\n"].concat());
}

#[test]
fn appending_moves_everything() {
    let large = Bytes::from(vec![b'l'; SHARED_BYTES_MIN]);
    let part = || {
        let mut part = Reply::default();
        part.shared_bulk(&large);
        part.ok();
        part
    };
    let mut all = Reply::default();
    for count in 1..4 {
        let mut more = part();
        all.append(&mut more);
        assert!(more.is_empty());
        assert_eq!(more.len(), 0);
        assert_eq!(joined(&all), joined(&part()).repeat(count));
    }
}

#[test]
fn a_cleared_reply_keeps_a_bounded_buffer() {
    let mut reply = Reply::default();
    reply.bulk(&[0; 1000]);
    reply.clear();
    assert!(reply.is_empty() && reply.buf.capacity() >= 1000);
    reply.bulk(&vec![0; BUF_KEPT_MAX]);
    reply.clear();
    assert_eq!(reply.buf.capacity(), 0);
}

/// A reply as a tree, to be written and read back.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Double(f64),
    Boolean(bool),
    BigNumber(String),
    Verbatim(Vec<u8>),
    Array(Vec<Node>),
    Set(Vec<Node>),
    Push(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

fn any_node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        "[a-zA-Z ]{0,9}".prop_map(Node::Simple),
        "ERR [a-z ]{0,9}x".prop_map(Node::Error),
        any::<i64>().prop_map(Node::Integer),
        (0..300i64).prop_map(Node::Integer),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Node::Bulk),
        (SHARED_BYTES_MIN - 2..SHARED_BYTES_MIN + 2).prop_map(|len| Node::Bulk(vec![b'v'; len])),
        Just(Node::Null),
        any::<f64>().prop_filter("compared by value", |value| !value.is_nan()).prop_map(Node::Double),
        any::<bool>().prop_map(Node::Boolean),
        "-?[1-9][0-9]{0,30}".prop_map(Node::BigNumber),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(Node::Verbatim),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let list = || prop::collection::vec(inner.clone(), 0..6);
        prop_oneof![
            list().prop_map(Node::Array),
            list().prop_map(Node::Set),
            list().prop_map(Node::Push),
            prop::collection::vec((inner.clone(), inner.clone()), 0..4).prop_map(Node::Map),
        ]
    })
}

impl Node {
    /// Writes it; aggregates that can be deferred are, every second one when `defer` says so.
    fn write(&self, reply: &mut Reply, defer: bool) {
        let write_all =
            |reply: &mut Reply, nodes: &[Node]| nodes.iter().for_each(|node| node.write(reply, !defer));
        match self {
            Node::Simple(text) => reply.simple(text),
            Node::Error(text) => reply.error(text),
            Node::Integer(value) => reply.integer(*value),
            Node::Bulk(value) if defer => reply.bulk(value),
            Node::Bulk(value) => reply.shared_bulk(&Bytes::copy_from_slice(value)),
            Node::Null => reply.null(),
            Node::Double(value) => reply.double(*value),
            Node::Boolean(value) => reply.boolean(*value),
            Node::BigNumber(digits) => reply.big_number(digits),
            Node::Verbatim(text) => reply.verbatim("txt", text),
            Node::Push(nodes) => {
                reply.push(nodes.len());
                write_all(reply, nodes);
            }
            Node::Array(nodes) | Node::Set(nodes) => {
                let is_set = matches!(self, Node::Set(_));
                let place = match (defer, is_set) {
                    (true, true) => Some(reply.defer_set()),
                    (true, false) => Some(reply.defer_array()),
                    (false, true) => {
                        reply.set(nodes.len());
                        None
                    }
                    (false, false) => {
                        reply.array(nodes.len());
                        None
                    }
                };
                write_all(reply, nodes);
                if let Some(place) = place {
                    reply.finish(place, nodes.len());
                }
            }
            Node::Map(pairs) => {
                let place = defer.then(|| reply.defer_map());
                if place.is_none() {
                    reply.map(pairs.len());
                }
                for (key, value) in pairs {
                    key.write(reply, !defer);
                    value.write(reply, !defer);
                }
                if let Some(place) = place {
                    reply.finish(place, pairs.len());
                }
            }
        }
    }

    /// What a RESP2 client sees of it.
    fn in_resp2(&self) -> Node {
        let all = |nodes: &[Node]| Node::Array(nodes.iter().map(Node::in_resp2).collect());
        match self {
            Node::Double(value) => Node::Bulk(format_double(*value).as_bytes().to_vec()),
            Node::Boolean(value) => Node::Integer(i64::from(*value)),
            Node::BigNumber(digits) => Node::Bulk(digits.clone().into_bytes()),
            Node::Verbatim(text) => Node::Bulk(text.clone()),
            Node::Array(nodes) | Node::Set(nodes) | Node::Push(nodes) => all(nodes),
            Node::Map(pairs) => Node::Array(
                pairs.iter().flat_map(|(key, value)| [key.in_resp2(), value.in_resp2()]).collect(),
            ),
            leaf => leaf.clone(),
        }
    }
}

/// Reads one reply off the front of `input`.
fn decode(input: &mut &[u8]) -> Node {
    let line_len = input.iter().position(|&byte| byte == b'\r').unwrap();
    let (line, rest) = input.split_at(line_len);
    *input = rest.strip_prefix(b"\r\n").unwrap();
    let text = String::from_utf8(line[1..].to_vec()).unwrap();
    let mut value = |len: usize| {
        let (value, rest) = input.split_at(len);
        *input = rest.strip_prefix(b"\r\n").unwrap();
        value.to_vec()
    };
    match line[0] {
        b'+' => Node::Simple(text),
        b'-' => Node::Error(text),
        b':' => Node::Integer(text.parse().unwrap()),
        b'_' => Node::Null,
        b',' => Node::Double(text.parse().unwrap()),
        b'#' => Node::Boolean(text == "t"),
        b'(' => Node::BigNumber(text),
        b'$' if text == "-1" => Node::Null,
        b'$' => Node::Bulk(value(text.parse().unwrap())),
        b'=' => Node::Verbatim(value(text.parse().unwrap()).strip_prefix(b"txt:").unwrap().to_vec()),
        kind => {
            let len: usize = text.parse().unwrap();
            if kind == b'%' {
                return Node::Map((0..len).map(|_| (decode(input), decode(input))).collect());
            }
            let nodes = (0..len).map(|_| decode(input)).collect();
            match kind {
                b'*' => Node::Array(nodes),
                b'~' => Node::Set(nodes),
                b'>' => Node::Push(nodes),
                other => panic!("type byte {other}"),
            }
        }
    }
}

proptest! {
    #[test]
    fn what_was_written_can_be_read(nodes in prop::collection::vec(any_node(), 0..4), defer: bool) {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let mut all = Reply::new(protocol);
            let mut one = Reply::new(protocol);
            for node in &nodes {
                node.write(&mut one, defer);
                let mark = one.mark();
                node.write(&mut one, !defer);
                one.truncate(mark);
                all.append(&mut one);
            }
            let bytes = joined(&all);
            prop_assert_eq!(rejoined(all.take_parts()), &bytes[..]);
            let mut rest = &bytes[..];
            for node in &nodes {
                let expected = if protocol == Protocol::Resp2 { node.in_resp2() } else { node.clone() };
                prop_assert_eq!(decode(&mut rest), expected);
            }
            prop_assert!(rest.is_empty());
        }
    }
}

#[test]
fn a_sealed_reply_has_the_same_bytes_and_goes_on_behind_them() {
    let mut reply = Reply::default();
    let large = Bytes::from(vec![b'v'; SHARED_BYTES_MIN]);
    let mut wanted = Vec::new();
    for round in 0..3 {
        reply.integer(round);
        reply.shared_bulk(&large);
        reply.ok();
        wanted.extend(format!(":{round}\r\n${}\r\n", large.len()).bytes());
        wanted.extend(large.iter().copied().chain(*b"\r\n+OK\r\n"));
        reply.seal();
        let mark = reply.mark();
        reply.bulk(b"dropped");
        reply.truncate(mark);
        assert_eq!(reply.len(), wanted.len());
    }
    assert_eq!(reply.segments().flatten().copied().collect::<Vec<u8>>(), wanted);
    let mut empty = Reply::default();
    empty.seal();
    assert!(empty.is_empty());
}

#[test]
fn a_bounded_reply_stops_growing_and_can_still_be_written_to() {
    let mut reply = Reply::default();
    reply.bound(1000);
    let place = reply.defer_array();
    for _ in 0..1000 {
        reply.bulk(&[b'x'; 100]);
        reply.shared_bulk(&Bytes::from(vec![b'y'; SHARED_BYTES_MIN]));
    }
    reply.finish(place, 2000);
    assert!(reply.is_over_bound() && reply.len() < 2 * SHARED_BYTES_MIN);
    reply.clear();
    assert!(!reply.is_over_bound());
    reply.bound(0);
    reply.bulk(&[b'x'; 5000]);
    assert!(!reply.is_over_bound() && reply.len() > 5000);
}
