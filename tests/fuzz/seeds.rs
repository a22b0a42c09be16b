//! Well-formed inputs of each target.

use gyre::rdb::file::put_part;
use gyre::rdb::{Encoder, Format};
use gyre::store::stream::{Stream, StreamId};
use gyre::store::{Collection, Detached, End, Hash, List, Set, Settings, SlotSet, SortedSet, Store, Ttl};

/// Small collections lie in one piece of memory, large ones do not: both shapes are written.
const SIZES: [u64; 3] = [1, 5, 600];
/// Those of files: what comes in pieces of a byte is looked at anew with each of them.
const SIZES_IN_FILES: [u64; 2] = [1, 5];

fn name(number: u64) -> Vec<u8> {
    format!("member:{number}").into_bytes()
}

fn collections(sizes: &[u64]) -> Vec<Detached> {
    let settings = Settings::default();
    let mut all = vec![Detached::from_string(b"text", None), Detached::from_string(b"-1234", None)];
    // It is written compressed.
    all.push(Detached::from_string(&b"abcd".repeat(60), None));
    for &size in sizes {
        let mut list = List::empty();
        let mut set = Set::empty();
        let mut integers = Set::empty();
        let mut hash = Hash::empty();
        let mut sorted = SortedSet::empty();
        for number in 0..size {
            list.push(End::Tail, &name(number), &settings);
            set.add(&name(number), &settings);
            integers.add((number * 70_000).to_string().as_bytes(), &settings);
            hash.set(&name(number), b"value", &settings);
            sorted.insert(&name(number), number as f64 / 3.0, &settings);
        }
        all.push(Detached::from_collection(list, None));
        all.push(Detached::from_collection(set, None));
        all.push(Detached::from_collection(integers, None));
        all.push(Detached::from_collection(hash, None));
        all.push(Detached::from_collection(sorted, None));
        all.push(Detached::from_collection(stream(size), None));
    }
    all
}

/// Entries with the same fields, and with others.
fn stream(size: u64) -> Stream {
    let settings = Settings::default();
    let mut stream = Stream::empty();
    for number in 0..size {
        let field = name(number % 2);
        let id = StreamId::new(1_700_000_000_000 + number / 3, number % 3);
        stream.log_mut().append(id, &[&field[..], b"value"], &settings).expect("an entry is small");
    }
    stream
}

/// A type's number, and the value.
pub fn values() -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(Format::default());
    let mut all: Vec<Vec<u8>> = collections(&SIZES)
        .iter()
        .map(|value| {
            let value = value.value();
            let mut bytes = vec![encoder.kind(&value) as u8];
            encoder.value(&value, &mut bytes);
            bytes
        })
        .collect();
    // Types that only older versions write: lists, sets, sorted sets with text scores, and hashes element by element; a zipmap.
    all.push(b"\x01\x02\x01a\xc0\x05".to_vec());
    all.push(b"\x02\x02\x01a\x01b".to_vec());
    all.push(b"\x03\x02\x01a\x031.5\x01b\xfe".to_vec());
    all.push(b"\x04\x01\x05field\x05value".to_vec());
    all.push(b"\x09\x0c\x01\x05field\x03\x00abc\xff".to_vec());
    // A list that is one ziplist of two strings.
    all.push(b"\x0a\x11\x11\x00\x00\x00\x0d\x00\x00\x00\x02\x00\x00\x01a\x03\x01b\xff".to_vec());
    all
}

/// Behind the signature and before the end: what a file has of its keys.
pub fn files() -> Vec<Vec<u8>> {
    let mut all = vec![vec![7], b"\x05\xfa\x09redis-ver\x057.2.6\xfe\x00\xfb\x01\x00\x00\x01k\x01v".to_vec()];
    // An expiry in seconds, one in milliseconds, and what a key's use was.
    all.push(b"\x03\xfe\x01\xfd\x00\x00\x00\x70\x00\x01a\x01v\xfc\x00\x00\x00\x00\x00\x01\x00\x00\xf9\x05\x00\x01b\x01v\xf8\x10\x00\x01c\x01v".to_vec());
    for piece in [1, 2, 200] {
        let mut store = Store::new(SlotSet::ALL, 2);
        for (number, value) in collections(&SIZES_IN_FILES).into_iter().enumerate() {
            let key = format!("key{number}");
            store.put(number % 2, key.as_bytes(), value);
        }
        store.set_string(0, b"volatile", b"value", Ttl::At(1_800_000_000_000));
        let mut bytes = vec![piece];
        put_part(&store, &mut Encoder::new(Format::default()), &mut bytes, &mut |_| true);
        all.push(bytes);
    }
    all
}

fn command(args: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Append-only files, and their manifest.
pub fn logs() -> Vec<Vec<u8>> {
    let select = command(&[b"SELECT", b"1"]);
    let set = command(&[b"SET", b"key", b"value\r\n"]);
    let transaction = [command(&[b"MULTI"]), set.clone(), select.clone(), command(&[b"EXEC"])].concat();
    vec![
        [select, set.clone(), set.clone()].concat(),
        [b"#TS:1700000000\r\n".to_vec(), transaction.clone(), set.clone()].concat(),
        [transaction.clone(), command(&[b"MULTI"]), set].concat(),
        b"file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"
            .to_vec(),
        b"file \"a b\" seq 2 type h shard 1 shards 2\n".to_vec(),
    ]
}

/// The length of the pieces, the limits, and requests.
pub fn requests() -> Vec<Vec<u8>> {
    let with = |piece: u8, stream: &[u8]| [&[piece, 20], stream].concat();
    let set = command(&[b"SET", b"key", b"value"]);
    vec![
        with(1, &set),
        with(7, &[set.clone(), b"PING\r\n".to_vec(), set.clone()].concat()),
        with(255, b"set key \"a\\x41\\n\" 'b'\n*0\r\n*1\r\n$4\r\nPING\r\n"),
        with(3, b"*-1\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n"),
        [&[2, 34], &set[..]].concat(),
    ]
}
