//! A master's side of replication, with one, two and three shards: what its replicas get is what it has, whatever they do.
//!
//! The replicas here are a few lines each (`little`), so nothing has to be installed.

mod little;
#[path = "../support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use little::Little;
use support::{info, within, Client, Server};

const SHARDS: [&str; 3] = ["1", "2", "3"];
const SOON: Duration = Duration::from_secs(20);
const EOF: [&str; 4] = ["capa", "eof", "capa", "psync2"];

fn start(shards: &str, options: &[&str]) -> Server {
    let all = ["--shards", shards, "--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"];
    Server::start(&[&all, options].concat())
}

fn text(client: &mut Client, section: &str, name: &str) -> String {
    let text = client.call(&["INFO", section]).text();
    let prefix = format!("{name}:");
    text.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default().to_owned()
}

fn run(client: &mut Client, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let reply = client.call(&words);
    assert!(!reply.is_error(), "{line}: {}", reply.text());
}

#[test]
fn a_replica_has_what_its_master_has_after_load_from_several_clients() {
    for (shards, options) in SHARDS.into_iter().zip([&EOF[..], &[], &EOF]) {
        let server = start(shards, &[]);
        let address = server.address();
        let load = |seed: u64, rounds: u64| {
            let address = address.clone();
            thread::spawn(move || {
                let mut client = Client::connect(&address);
                for round in 0..rounds {
                    let (n, m) = ((seed * 31 + round * 7) % 40, (seed * 17 + round * 13) % 40);
                    let lines = [
                        format!("SET s{n} {round}"),
                        format!("MSET s{n} a s{m} b t{n} c"),
                        format!("RPUSH l{n} {round} {seed}"),
                        format!("LMOVE l{n} l{m} LEFT RIGHT"),
                        format!("SADD e{n} {round} {seed}"),
                        format!("SUNIONSTORE e{m} e{n} e{m}"),
                        format!("ZADD z{n} {round} m{seed}"),
                        format!("HSET h{n} f{round} {seed}"),
                        format!("XADD x{n} * f {round}"),
                        format!("INCRBYFLOAT f{n} 0.5"),
                        format!("RENAME s{n} s{m}"),
                        format!("EXPIRE h{n} 10000"),
                        format!("SELECT {}", round % 3),
                        format!("DEL s{n} s{m} l{n}"),
                    ];
                    run(&mut client, &format!("SET s{n} {seed}"));
                    if round % 5 == 0 {
                        run(&mut client, "MULTI");
                        run(&mut client, &format!("INCR c{n}"));
                        run(&mut client, &format!("LPUSH l{m} {round}"));
                        run(&mut client, "EXEC");
                    }
                    let script = "redis.call('incr', KEYS[1]) return redis.call('sadd', KEYS[2], ARGV[1])";
                    let (a, b) = (format!("k{n}"), format!("e{m}"));
                    client.call(&["EVAL", script, "2", &a, &b, "from a script"]);
                    lines.iter().for_each(|line| drop(client.call(&line.split(' ').collect::<Vec<_>>())));
                }
            })
        };
        let before = load(1, 30);
        before.join().unwrap();
        let during: Vec<_> = (2..5).map(|seed| load(seed, 60)).collect();
        let mut replica = Little::full(&server, options);
        during.into_iter().for_each(|thread| thread.join().unwrap());
        let mut client = server.client();
        run(&mut client, "SET the end");
        replica.read_until(&["SET", "the", "end"]);
        assert_eq!(text(&mut client, "replication", "master_repl_offset"), replica.offset.to_string());
        let copy = replica.play();
        assert_eq!(copy.client().call(&["DEBUG", "DIGEST"]), client.call(&["DEBUG", "DIGEST"]), "{shards}");
    }
}

#[test]
fn each_kind_of_command_is_propagated_as_redis_does() {
    let server = start("1", &[]);
    let mut client = server.client();
    let mut replica = Little::full(&server, &EOF);
    let cases: &[(&[&str], &[&str])] = &[
        (&["SET a 1", "GET a", "INCR a", "DEL nope"], &["SELECT 0", "SET a 1", "INCR a"]),
        (&["SET a 1 EXAT 33177117420"], &["SET a 1 PXAT 33177117420000"]),
        (&["EXPIREAT a 33177117421", "PERSIST a"], &["PEXPIREAT a 33177117421000", "PERSIST a"]),
        (&["EXPIRE a -1"], &["DEL a"]),
        (&["SET f 1", "INCRBYFLOAT f 0.5"], &["SET f 1", "SET f 1.5 KEEPTTL"]),
        (&["SADD s m", "SPOP s"], &["SADD s m", "SREM s m"]),
        (&["HSET h f 1", "HINCRBYFLOAT h f 0.5"], &["HSET h f 1", "HSET h f 1.5"]),
        (&["GETEX f EXAT 33177117420", "GETEX f PERSIST"], &["PEXPIREAT f 33177117420000", "PERSIST f"]),
        (&["GETDEL f"], &["DEL f"]),
        (
            &["RPUSH l a b", "BLPOP l 1", "BLMOVE l m LEFT LEFT 1"],
            &["RPUSH l a b", "LPOP l", "LMOVE l m LEFT LEFT"],
        ),
        (&["MULTI", "INCR a", "EXEC"], &["INCR a"]),
        (&["MULTI", "GET a", "EXEC"], &[]),
        (&["MULTI", "INCR a", "INCR b", "EXEC"], &["MULTI", "INCR a", "INCR b", "EXEC"]),
        (&["SELECT 3", "SET c 1", "SELECT 0", "SET d 1"], &["SELECT 3", "SET c 1", "SELECT 0", "SET d 1"]),
        (&["PUBLISH channel message"], &["PUBLISH channel message"]),
        (&["XADD x 1-1 f v", "XGROUP CREATE x g 0"], &["XADD x 1-1 f v", "XGROUP CREATE x g 0"]),
        (&["FLUSHALL"], &["FLUSHALL"]),
    ];
    for (lines, expected) in cases {
        lines.iter().for_each(|line| run(&mut client, line));
        run(&mut client, "PUBLISH marks mark");
        replica.read_until(&["PUBLISH", "marks", "mark"]);
        let mut texts = replica.texts();
        texts.pop();
        assert_eq!(texts, *expected, "{lines:?}");
    }
    client.call(&[
        "EVAL",
        "redis.call('set', 'x', 1) redis.call('incr', 'x') return redis.call('get', 'x')",
        "0",
    ]);
    client.call(&["EVAL", "redis.set_repl(redis.REPL_AOF) redis.call('set', 'y', 1)", "0"]);
    client.call(&["SET", "gone", "1", "PX", "1"]);
    thread::sleep(Duration::from_millis(20));
    assert!(client.call(&["GET", "gone"]).is_null());
    run(&mut client, "PUBLISH marks mark");
    replica.read_until(&["PUBLISH", "marks", "mark"]);
    let texts = replica.texts();
    assert_eq!(&texts[..4], ["MULTI", "set x 1", "incr x", "EXEC"]);
    assert!(texts[4].starts_with("SET gone 1 PXAT "), "{texts:?}");
    assert_eq!(&texts[5..], ["DEL gone", "PUBLISH marks mark"]);
}

#[test]
fn a_transaction_over_shards_stands_whole_in_the_stream() {
    let server = start("3", &[]);
    let mut replica = Little::full(&server, &EOF);
    let address = server.address();
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let address = address.clone();
            thread::spawn(move || {
                let mut client = Client::connect(&address);
                for round in 0..100 {
                    let value = format!("{writer}:{round}");
                    let args = ["MSET", "a", &value, "b", &value, "c", &value, "d", &value];
                    assert!(client.call(&args).is_ok());
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|thread| thread.join().unwrap());
    run(&mut server.client(), "SET the end");
    replica.read_until(&["SET", "the", "end"]);
    let (mut inside, mut values, mut transactions) = (false, Vec::new(), 0);
    for command in replica.texts() {
        let words: Vec<&str> = command.split(' ').collect();
        match words[0] {
            "MULTI" => inside = true,
            "EXEC" => {
                assert_eq!(values.len(), 4, "{values:?}");
                assert!(values.windows(2).all(|pair| pair[0] == pair[1]), "{values:?}");
                values.clear();
                inside = false;
                transactions += 1;
            }
            "MSET" => {
                assert!(inside, "a part outside of its transaction");
                values.extend(words[1..].chunks(2).map(|pair| pair[1].to_owned()));
            }
            _ => {}
        }
    }
    assert_eq!(transactions, 300);
}

#[test]
fn a_cut_link_goes_on_where_it_was_and_an_unknown_history_does_not() {
    for shards in SHARDS {
        let server = start(shards, &["--repl-backlog-size", "200kb"]);
        let mut client = server.client();
        let mut replica = Little::full(&server, &EOF);
        run(&mut client, "SET a 1");
        replica.read_until(&["SET", "a", "1"]);
        run(&mut client, "CLIENT KILL TYPE replica");
        while replica.next().is_some() {}
        run(&mut client, "SET b 2");
        assert_eq!(replica.resume(&server), "+CONTINUE");
        replica.read_until(&["SET", "b", "2"]);
        assert_eq!(text(&mut client, "replication", "master_repl_offset"), replica.offset.to_string());
        assert_eq!(info(&mut client, "sync_partial_ok"), 1);
        // More than the backlog has.
        run(&mut client, "CLIENT KILL TYPE slave");
        assert!(within(SOON, || info(&mut client, "connected_slaves") == 0));
        for _ in 0..5 {
            run(&mut client, &format!("SET big {}", "x".repeat(100_000)));
        }
        assert_eq!(replica.resume(&server), "+FULLRESYNC");
        replica.id = "0123456789012345678901234567890123456789".into();
        assert_eq!(replica.resume(&server), "+FULLRESYNC");
        assert_eq!((info(&mut client, "sync_full"), info(&mut client, "sync_partial_err")), (3, 2));
    }
}

#[test]
fn wait_counts_replicas_that_have_the_write() {
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut client = server.client();
        assert_eq!(client.call(&["WAIT", "1", "10"]).integer(), 0);
        let mut replica = Little::full(&server, &EOF);
        assert!(within(SOON, || text(&mut client, "replication", "slave0").contains("state=online")));
        run(&mut client, "SET a 1");
        assert_eq!(client.call(&["WAIT", "1", "50"]).integer(), 0, "it has not said that it has it");
        replica.read_until(&["SET", "a", "1"]);
        assert_eq!(client.call(&["WAIT", "1", "0"]).integer(), 1);
        assert_eq!(client.call(&["WAIT", "2", "10"]).integer(), 1);
        run(&mut client, "SET b 1");
        client.send(&["WAIT", "1", "0"]);
        let mut other = server.client();
        assert!(within(SOON, || info(&mut other, "blocked_clients") == 1));
        replica.read_until(&["SET", "b", "1"]);
        assert_eq!(client.receive().integer(), 1);
        client.send(&["WAIT", "9", "0"]);
        assert!(within(SOON, || info(&mut other, "blocked_clients") == 1));
        let id = other.call(&["CLIENT", "LIST"]).text();
        let id = id.lines().find(|line| line.contains("flags=b")).unwrap();
        let id = id.split(' ').next().unwrap().trim_start_matches("id=").to_owned();
        assert_eq!(other.call(&["CLIENT", "UNBLOCK", &id]).integer(), 1);
        assert_eq!(client.receive().integer(), 1);
    }
}

#[test]
fn waitaof_counts_this_server_s_disk_and_ends_with_the_log() {
    for shards in ["1", "3"] {
        let server = start(shards, &["--appendonly", "yes"]);
        let mut client = server.client();
        run(&mut client, "SET a 1");
        let counts = client.call(&["WAITAOF", "1", "0", "0"]);
        assert_eq!((counts.elements()[0].integer(), counts.elements()[1].integer()), (1, 0));
        client.send(&["WAITAOF", "1", "1", "0"]);
        let mut other = server.client();
        assert!(within(SOON, || info(&mut other, "blocked_clients") == 1));
        run(&mut other, "CONFIG SET appendonly no");
        let refusal = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";
        assert_eq!(client.receive().text(), refusal);
        assert_eq!(client.call(&["WAITAOF", "1", "0", "0"]).text(), refusal);
    }
}

#[test]
fn writes_are_refused_while_too_few_replicas_are_there() {
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut client = server.client();
        run(&mut client, "CONFIG SET min-replicas-to-write 1");
        let refusal = "NOREPLICAS Not enough good replicas to write.";
        assert_eq!(client.call(&["SET", "a", "1"]).text(), refusal);
        assert!(client
            .call(&["EVAL", "return redis.call('set', 'a', 1)", "0"])
            .text()
            .contains("NOREPLICAS"));
        assert!(client.call(&["GET", "a"]).is_null());
        let _replica = Little::full(&server, &EOF);
        assert!(within(SOON, || client.call(&["SET", "a", "1"]).is_ok()));
        assert_eq!(info(&mut client, "min_slaves_good_slaves"), 1);
    }
}

#[test]
fn a_new_lag_counts_for_the_next_write() {
    for shards in SHARDS {
        let server = start(shards, &["--repl-ping-replica-period", "3600"]);
        let mut client = server.client();
        let _replica = Little::full(&server, &EOF);
        assert!(within(SOON, || text(&mut client, "replication", "slave0").contains("state=online")));
        run(&mut client, "CONFIG SET min-replicas-to-write 1 min-replicas-max-lag 1");
        // It says nothing.
        assert!(within(SOON, || client.call(&["SET", "a", "1"]).is_error()));
        for _ in 0..50 {
            run(&mut client, "CONFIG SET min-replicas-max-lag 1000");
            run(&mut client, "SET a 1");
            run(&mut client, "CONFIG SET min-replicas-max-lag 1");
            assert!(client.call(&["SET", "a", "1"]).is_error());
        }
    }
}

#[test]
fn a_replica_that_is_to_be_answered_is_disconnected() {
    for (words, told) in [
        (&["PING"][..], "command 'ping', disconnecting it"),
        (&["XINFO", "HELP"], "command 'xinfo|help', disconnecting it"),
        (&["GET", "a"], "Replica can't interact with the keyspace' after processing the command 'get'"),
        (&["SET", "a", "2"], "Replica can't interact with the keyspace' after processing the command 'set'"),
        (&["REPLCONF", "capa", "eof"], "command 'replconf', disconnecting it"),
        (&["REPLCONF", "nope", "1"], "Unrecognized REPLCONF option"),
        (&["NOSUCH"], "unknown command"),
    ] {
        let server = start("2", &[]);
        let mut client = server.client();
        run(&mut client, "SET a 1");
        let mut replica = Little::full(&server, &EOF);
        assert!(within(SOON, || text(&mut client, "replication", "slave0").contains("state=online")));
        run(&mut client, "SET b 1");
        replica.send(words);
        // An answer in the midst of the stream would be none of its commands.
        while replica.next().is_some() {}
        assert!(within(SOON, || info(&mut client, "connected_slaves") == 0));
        assert!(server.log().contains(told), "{words:?}\n{}", server.log());
        assert_eq!(client.call(&["GET", "a"]).text(), "1");
    }
}

#[test]
fn the_smallest_backlog_does_not_slow_the_stream_down() {
    let server = start("1", &["--repl-backlog-size", "1", "--repl-ping-replica-period", "3600"]);
    let mut client = server.client();
    let mut replica = Little::full(&server, &EOF);
    let value = "x".repeat(1000);
    for n in 0..4000 {
        client.call(&["SET", &format!("k{n}"), &value]);
    }
    run(&mut client, "SET last 1");
    let started = std::time::Instant::now();
    replica.read_until(&["SET", "last", "1"]);
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    assert_eq!(replica.play().client().call(&["DEBUG", "DIGEST"]), client.call(&["DEBUG", "DIGEST"]));
    assert_eq!(info(&mut client, "repl_backlog_size"), 16 * 1024);
}

#[test]
fn lists_of_clients_show_replicas_and_role_and_info_too() {
    let server = start("2", &[]);
    let mut client = server.client();
    let _replica = Little::full(&server, &EOF);
    assert!(within(SOON, || text(&mut client, "replication", "slave0").contains("state=online")));
    let list = client.call(&["CLIENT", "LIST", "TYPE", "replica"]).text();
    assert!(list.contains(" flags=S ") && list.lines().count() == 1, "{list}");
    let line = text(&mut client, "replication", "slave0");
    assert!(line.starts_with("ip=127.0.0.1,port=7,state=online,offset="), "{line}");
    let role = client.call(&["ROLE"]);
    assert_eq!(role.elements()[0].text(), "master");
    assert_eq!(role.elements()[2].elements().len(), 1);
    assert_eq!(client.call(&["CLIENT", "KILL", "TYPE", "replica"]).integer(), 1);
    assert!(within(SOON, || info(&mut client, "connected_slaves") == 0));
}

#[test]
fn several_replicas_get_one_snapshot() {
    for sync in ["yes", "no"] {
        let server = start("2", &["--repl-diskless-sync", sync, "--repl-diskless-sync-delay", "1"]);
        run(&mut server.client(), "DEBUG POPULATE 2000 key 100");
        let replicas: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..5).map(|_| scope.spawn(|| Little::full(&server, &EOF))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let digest = server.client().call(&["DEBUG", "DIGEST"]);
        for mut replica in replicas {
            assert_eq!(replica.play().client().call(&["DEBUG", "DIGEST"]), digest);
        }
        assert_eq!(info(&mut server.client(), "sync_full"), 5);
    }
}

#[test]
fn a_replica_that_never_reads_is_dropped_and_holds_up_nobody() {
    let limit = ["--client-output-buffer-limit", "replica 16mb 0 0", "--repl-backlog-size", "100kb"];
    let server = start("2", &limit);
    let mut client = server.client();
    let _deaf = Little::full(&server, &EOF);
    let mut good = Little::full(&server, &EOF);
    assert!(within(SOON, || text(&mut client, "replication", "slave1").contains("state=online")));
    let reader = thread::spawn(move || {
        good.read_until(&["SET", "the", "end"]);
        good
    });
    for _ in 0..200 {
        run(&mut client, &format!("SET big {}", "x".repeat(200_000)));
    }
    run(&mut client, "SET the end");
    reader.join().unwrap();
    assert!(within(SOON, || info(&mut client, "connected_slaves") <= 1));
    assert!(server.log().contains("output buffer limits"), "{}", server.log());
    assert!(info(&mut client, "mem_replication_backlog") < 24 << 20);
}

#[test]
fn a_replica_that_never_acknowledges_is_dropped() {
    let server = start("2", &["--repl-timeout", "2", "--repl-ping-replica-period", "1"]);
    let mut client = server.client();
    let mut silent = Little::full(&server, &EOF);
    assert!(within(SOON, || text(&mut client, "replication", "slave0").contains("state=online")));
    // It gets pings, says nothing, and is disconnected.
    while silent.next().is_some() {}
    assert!(within(SOON, || info(&mut client, "connected_slaves") == 0));
    assert!(server.log().contains("Disconnecting timedout replica"), "{}", server.log());
}

#[test]
fn bad_input_ends_a_connection_at_most() {
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut client = server.client();
        for line in ["REPLCONF", "REPLCONF listening-port", "REPLCONF listening-port x", "REPLCONF nope 1"] {
            let words: Vec<&str> = line.split(' ').collect();
            let reply = client.call(&words);
            assert!(line == "REPLCONF" || reply.is_error(), "{line}");
        }
        assert!(client.call(&["PSYNC", "?", "x"]).is_error());
        assert!(client.call(&["PSYNC", "?"]).is_error());
        assert!(client.call(&["REPLCONF", "rdb-filter-only", "functions"]).is_ok());
        assert!(client.call(&["SYNC"]).text().contains("EOF capability"));
        for garbage in
            [&b"*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$99999999999\r\n"[..], b"*1\r\n$-5\r\n", b"*9999999\r\n"]
        {
            let mut replica = TcpStream::connect(server.address()).unwrap();
            replica.set_read_timeout(Some(SOON)).unwrap();
            replica.write_all(b"PSYNC ? -1\r\n").unwrap();
            replica.write_all(garbage).unwrap();
            // Half a command, and the end of the connection.
            let mut input = [0; 4096];
            let _ = replica.read(&mut input);
        }
        // An endless command takes no memory without bound.
        let mut replica = Little::full(&server, &EOF);
        replica.send(&["REPLCONF", "ACK", "not a number"]);
        // The connection may end before all of it is written.
        let _ = replica.try_send(&["REPLCONF", &"x".repeat(200_000), "1"]);
        assert!(within(SOON, || info(&mut client, "connected_slaves") == 0));
        assert!(client.call(&["PING"]).text() == "PONG");
    }
}

#[test]
fn a_thousand_that_ask_at_once_are_served_or_refused_in_bounded_memory() {
    let server = start("2", &["--maxclients", "1200"]);
    let mut client = server.client();
    run(&mut client, "DEBUG POPULATE 1000 key 100");
    let sockets: Vec<TcpStream> = (0..1000)
        .map(|_| {
            let mut socket = TcpStream::connect(server.address()).unwrap();
            socket.write_all(b"REPLCONF capa eof\r\nPSYNC ? -1\r\n").unwrap();
            socket
        })
        .collect();
    assert!(within(SOON, || info(&mut client, "connected_slaves") == 1000));
    assert!(within(SOON, || info(&mut client, "sync_full") == 1000));
    assert!(within(SOON, || text(&mut client, "replication", "slave999").contains("state=online")));
    run(&mut client, "SET a 1");
    drop(sockets);
    assert!(within(SOON, || info(&mut client, "connected_slaves") == 0));
    assert!(within(SOON, || info(&mut client, "connected_clients") == 1));
    let mut replica = Little::full(&server, &EOF);
    assert_eq!(replica.play().client().call(&["DEBUG", "DIGEST"]), client.call(&["DEBUG", "DIGEST"]));
}
