use crate::command::testing::{Bench, START_MS};
use crate::rdb::{self, Format};
use crate::store::MaxmemoryPolicy;

/// "bar", as Redis 7.0 dumps it.
const BAR_7_0: &[u8] = b"\x00\x03bar\n\x00\xe6\xbeI`\xeef\xfd\x17";

fn payload(bench: &mut Bench, key: &[u8]) -> Vec<u8> {
    rdb::dump(&bench.store.peek(0, key).expect("it is there"), Format::default())
}

fn restore(bench: &mut Bench, key: &str, ttl: &str, payload: &[u8], options: &str) -> String {
    let mut args: Vec<&[u8]> = vec![b"RESTORE", key.as_bytes(), ttl.as_bytes(), payload];
    args.extend(options.split_whitespace().map(str::as_bytes));
    bench.run_args(&args)
}

fn bench_with_bar() -> (Bench, Vec<u8>) {
    let mut bench = Bench::new();
    bench.run("SET k bar");
    let payload = payload(&mut bench, b"k");
    (bench, payload)
}

#[test]
fn what_is_dumped_can_be_restored() {
    let (mut bench, payload) = bench_with_bar();
    assert_eq!(
        bench.run("DUMP k"),
        format!("${}\r\n{}\r\n", payload.len(), String::from_utf8_lossy(&payload))
    );
    assert_eq!(bench.run("DUMP absent"), "$-1\r\n");
    assert_eq!(restore(&mut bench, "copy", "0", &payload, ""), "+OK\r\n");
    assert_eq!(bench.run("GET copy"), "$3\r\nbar\r\n");
    assert_eq!(bench.run("TTL copy"), ":-1\r\n");
}

#[test]
fn payloads_of_redis_are_taken() {
    let mut bench = Bench::new();
    assert_eq!(restore(&mut bench, "k", "0", BAR_7_0, ""), "+OK\r\n");
    assert_eq!(bench.run("GET k"), "$3\r\nbar\r\n");
}

#[test]
fn damaged_payloads_are_refused() {
    let (mut bench, payload) = bench_with_bar();
    let wrong = "-ERR DUMP payload version or checksum are wrong\r\n";
    for at in 0..payload.len() {
        let mut damaged = payload.clone();
        damaged[at] ^= 0x40;
        assert_eq!(restore(&mut bench, "copy", "0", &damaged, ""), wrong, "byte {at}");
    }
    for len in 0..payload.len() {
        assert_eq!(restore(&mut bench, "copy", "0", &payload[..len], ""), wrong);
    }
    let with_checksum = |mut bytes: Vec<u8>, version: u8| {
        bytes.extend_from_slice(&[version, 0]);
        let checksum = rdb::crc64(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    };
    assert_eq!(restore(&mut bench, "copy", "0", &with_checksum(vec![0, 0], 70), ""), wrong);
    for body in [&b""[..], b"\x00", b"\x00\x05abc", b"\x63abc", b"\x07\x01", b"\x02\x00"] {
        let payload = with_checksum(body.to_vec(), 11);
        assert_eq!(restore(&mut bench, "copy", "0", &payload, ""), "-ERR Bad data format\r\n", "{body:?}");
    }
    assert_eq!(bench.run("EXISTS copy"), ":0\r\n");
}

#[test]
fn a_key_that_is_there_is_only_replaced_when_asked() {
    let (mut bench, payload) = bench_with_bar();
    bench.run("SET other 1 EX 100");
    let busy = "-BUSYKEY Target key name already exists.\r\n";
    assert_eq!(restore(&mut bench, "other", "0", &payload, ""), busy);
    assert_eq!(restore(&mut bench, "other", "x", b"...", ""), busy, "looked at before the rest");
    assert_eq!(restore(&mut bench, "other", "0", b"...", "REPLACE").len(), 49);
    assert_eq!(bench.run("GET other"), "$1\r\n1\r\n", "nothing is lost to a bad payload");
    bench.listen("KEA");
    assert_eq!(restore(&mut bench, "other", "0", &payload, "replace"), "+OK\r\n");
    assert_eq!(bench.events(), ["0:restore other"]);
    assert_eq!(bench.run("TTL other"), ":-1\r\n");
}

#[test]
fn options_and_times_are_checked() {
    let (mut bench, payload) = bench_with_bar();
    for (ttl, options, error) in [
        ("0", "nonsense", "syntax error"),
        ("0", "idletime", "syntax error"),
        ("0", "freq", "syntax error"),
        ("0", "freq 1 idletime 1", "syntax error"),
        ("0", "idletime 1 freq 1", "syntax error"),
        ("0", "idletime -1", "Invalid IDLETIME value, must be >= 0"),
        ("0", "idletime x", "value is not an integer or out of range"),
        ("0", "freq 256", "Invalid FREQ value, must be >= 0 and <= 255"),
        ("0", "freq -1", "Invalid FREQ value, must be >= 0 and <= 255"),
        ("-1", "", "Invalid TTL value, must be >= 0"),
        ("x", "", "value is not an integer or out of range"),
    ] {
        let answer = restore(&mut bench, "copy", ttl, &payload, options);
        assert_eq!(answer, format!("-ERR {error}\r\n"), "{ttl} {options}");
    }
}

#[test]
fn a_time_to_live_is_logged_as_the_time_at_which_it_ends() {
    let (mut bench, payload) = bench_with_bar();
    let logged = String::from_utf8_lossy(&payload).into_owned();
    restore(&mut bench, "a", "5000", &payload, "idletime 7");
    assert_eq!(bench.logged(), [format!("RESTORE a {} {logged} idletime 7 ABSTTL", START_MS + 5000)]);
    assert_eq!(bench.run("PTTL a"), ":5000\r\n");
    let at = (START_MS + 100).to_string();
    restore(&mut bench, "b", &at, &payload, "absttl");
    assert_eq!(bench.logged(), [format!("RESTORE b {at} {logged} absttl")]);
    assert_eq!(bench.run("PTTL b"), ":100\r\n");
    restore(&mut bench, "c", "0", &payload, "");
    assert_eq!(bench.logged(), [format!("RESTORE c 0 {logged}")]);
    assert_eq!(restore(&mut bench, "d", "9223372036854775807", &payload, ""), "+OK\r\n");
}

#[test]
fn what_has_expired_already_is_not_stored_and_deletes_what_it_replaces() {
    let (mut bench, payload) = bench_with_bar();
    let past = (START_MS - 1).to_string();
    assert_eq!(restore(&mut bench, "copy", &past, &payload, "absttl"), "+OK\r\n");
    assert!(bench.logged().is_empty());
    assert_eq!(bench.run("EXISTS copy"), ":0\r\n");
    for (lazily, logged) in [(false, "DEL k"), (true, "UNLINK k")] {
        bench.store.settings.lazyfree_lazy_server_del = lazily;
        bench.run("SET k 1");
        bench.listen("KEA");
        assert_eq!(restore(&mut bench, "k", &past, &payload, "absttl replace"), "+OK\r\n");
        assert_eq!(bench.logged(), [logged]);
        assert_eq!(bench.events(), ["0:del k"]);
        assert_eq!(bench.run("EXISTS k"), ":0\r\n");
    }
    bench.caller.replaying = true;
    restore(&mut bench, "k", &past, &payload, "absttl");
    assert_eq!(bench.store.len(0), 1, "while replaying, the expiry that follows deletes it");
}

#[test]
fn idle_time_and_frequency_count_under_the_policies_that_know_them() {
    let (mut bench, payload) = bench_with_bar();
    restore(&mut bench, "a", "0", &payload, "idletime 1000");
    assert_eq!(bench.run("OBJECT IDLETIME a"), ":1000\r\n");
    restore(&mut bench, "b", "0", &payload, "freq 100");
    assert_eq!(bench.run("OBJECT IDLETIME b"), ":0\r\n");
    bench.store.settings.maxmemory_policy = MaxmemoryPolicy::AllKeysLfu;
    restore(&mut bench, "c", "0", &payload, "freq 100");
    assert_eq!(bench.run("OBJECT FREQ c"), ":100\r\n");
    restore(&mut bench, "d", "0", &payload, "idletime 1000");
    assert_eq!(bench.run("OBJECT FREQ d"), ":5\r\n");
}
