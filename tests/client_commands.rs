//! CLIENT, MONITOR, and the limits of connections, on one shard and on several: what concerns connections must not depend on
//! which shard serves them.

mod support;

use std::time::{Duration, Instant};

use support::{Client, Server, Value};

const SHARDS: [usize; 2] = [1, 3];
/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

fn on_all_shard_counts(options: &[&str], test: impl Fn(&Server)) {
    for shards in SHARDS {
        let shards = shards.to_string();
        let mut all = vec!["--shards", &shards];
        all.extend(options);
        test(&Server::start(&all));
    }
}

/// Waits until something holds.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn info(client: &mut Client, field: &str) -> i64 {
    let text = client.call(&["INFO", "everything"]).text();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("INFO has no {field}")).parse().expect("a number")
}

/// Descriptors that the server has open, once all of its shards are up.
fn files_of(server: &Server, client: &mut Client) -> usize {
    client.call(&["DBSIZE"]);
    server.open_sockets()
}

fn named(server: &Server, name: &str) -> Client {
    let mut client = server.client();
    assert!(client.call(&["CLIENT", "SETNAME", name]).is_ok());
    client
}

/// The lines of CLIENT LIST.
fn list(client: &mut Client) -> Vec<String> {
    client.call(&["CLIENT", "LIST"]).text().lines().map(str::to_owned).collect()
}

fn is_listed(client: &mut Client, name: &str) -> bool {
    list(client).iter().any(|line| line.contains(&format!(" name={name} ")))
}

fn field(line: &str, name: &str) -> String {
    let found = line.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name} in {line}")).to_owned()
}

fn is_closed(client: &mut Client) -> bool {
    client.try_call(&["PING"]).is_err()
}

#[test]
fn client_list_shows_the_connections_of_all_shards_by_id() {
    on_all_shard_counts(&[], |server| {
        let mut clients: Vec<Client> = (0..9).map(|n| named(server, &format!("c{n}"))).collect();
        let lines = list(&mut clients[4]);
        let ids: Vec<u64> = lines.iter().map(|line| field(line, "id").parse().unwrap()).collect();
        assert_eq!(lines.len(), 9);
        assert!(ids.is_sorted(), "{ids:?}");
        for n in 0..9 {
            assert!(lines.iter().any(|line| field(line, "name") == format!("c{n}")));
        }
        let own = lines.iter().find(|line| field(line, "name") == "c4").unwrap();
        assert_eq!((field(own, "cmd"), field(own, "qbuf")), ("client|list".into(), "26".into()));

        let id = clients[7].call(&["CLIENT", "ID"]).integer().to_string();
        let chosen = clients[0].call(&["CLIENT", "LIST", "ID", &id, "999999", &id]).text();
        let names: Vec<String> = chosen.lines().map(|line| field(line, "name")).collect();
        assert_eq!(names, ["c7", "c7"]);
        assert_eq!(clients[0].call(&["CLIENT", "LIST", "TYPE", "replica"]).text(), "");
        // Inside a transaction too, where the answers of the shards come back to EXEC.
        clients[0].call(&["MULTI"]);
        clients[0].call(&["CLIENT", "LIST"]);
        clients[0].call(&["PING"]);
        let replies = clients[0].call(&["EXEC"]);
        assert_eq!(replies.elements()[0].text().lines().count(), 9);
        assert_eq!(replies.elements()[1], Value::Simple("PONG".into()));
    });
}

#[test]
fn killed_connections_are_closed_and_leak_nothing() {
    on_all_shard_counts(&[], |server| {
        let mut control = named(server, "control");
        let files = files_of(server, &mut control);
        for round in 0..5 {
            let mut victims: Vec<Client> = (0..40).map(|_| server.client()).collect();
            for (n, victim) in victims.iter_mut().enumerate() {
                // In the middle of a request, of a transaction, with watched keys, with unread replies, as a monitor.
                match n % 5 {
                    0 => victim.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100000\r\nxxx"),
                    1 => drop(victim.call(&["MULTI"])),
                    2 => drop(victim.call(&["WATCH", "a", "b", "c"])),
                    3 => victim.send(&["CLIENT", "LIST"]),
                    _ => assert!(victim.call(&["MONITOR"]).is_ok()),
                }
            }
            eventually("everybody is connected", || info(&mut control, "connected_clients") == 41);
            assert_eq!(control.call(&["CLIENT", "KILL", "SKIPME", "yes"]).integer(), 40, "round {round}");
            assert_eq!(info(&mut control, "connected_clients"), 1);
            assert!(victims.iter_mut().step_by(5).all(is_closed));
            eventually("the descriptors are closed", || server.open_sockets() <= files);
        }
        assert!(control.call(&["SET", "a", "1"]).is_ok());
        assert_eq!(control.call(&["CLIENT", "KILL", "SKIPME", "no"]).integer(), 1);
        assert!(is_closed(&mut control));
    });
}

#[test]
fn client_kill_knows_addresses_and_answers_before_it_closes_its_own_connection() {
    on_all_shard_counts(&[], |server| {
        let (mut one, mut two) = (named(server, "one"), named(server, "two"));
        let address = field(list(&mut one).iter().find(|line| line.contains("name=two")).unwrap(), "addr");
        assert_eq!(one.call(&["CLIENT", "KILL", "ADDR", &address, "ID", "1000000"]).integer(), 0);
        assert!(one.call(&["CLIENT", "KILL", &address]).is_ok());
        assert!(is_closed(&mut two));
        assert_eq!(one.call(&["CLIENT", "KILL", &address]), Value::Error("ERR No such client".into()));
        let own = field(&list(&mut one)[0], "addr");
        assert!(one.call(&["CLIENT", "KILL", &own]).is_ok());
        assert!(is_closed(&mut one));
    });
}

#[test]
fn idle_connections_are_closed_and_leak_nothing() {
    on_all_shard_counts(&["--timeout", "1"], |server| {
        let mut control = server.client();
        let files = files_of(server, &mut control);
        let mut idle: Vec<Client> = (0..10).map(|n| named(server, &format!("idle{n}"))).collect();
        let mut monitor = server.client();
        assert!(monitor.call(&["MONITOR"]).is_ok());
        let started = Instant::now();
        eventually("idle connections are closed", || list(&mut control).len() == 2);
        assert!(started.elapsed() >= Duration::from_millis(900), "{:?}", started.elapsed());
        assert!(idle.iter_mut().all(is_closed));
        assert!(list(&mut control).iter().any(|line| field(line, "flags") == "O"), "monitors may be idle");
        drop(monitor);
        eventually("the descriptors are closed", || server.open_sockets() <= files);
    });
}

#[test]
fn monitors_see_the_commands_of_every_connection() {
    const UNKNOWN: &str = "ffffffffffffffffffffffffffffffffffffffff";
    on_all_shard_counts(&[], |server| {
        let mut monitors: Vec<Client> = (0..3).map(|_| server.client()).collect();
        for monitor in &mut monitors {
            assert!(monitor.call(&["MONITOR"]).is_ok());
        }
        let mut clients: Vec<Client> = (0..6).map(|_| server.client()).collect();
        for (n, client) in clients.iter_mut().enumerate() {
            client.call(&["SET".to_owned(), format!("key:{n}"), "a \"b\"\n".to_owned()]);
        }
        clients[0].call(&["CONFIG", "GET", "port"]);
        clients[0].call(&["AUTH", "me", "secret"]);
        clients[0].call(&["MULTI"]);
        clients[0].call(&["GET", "key:1"]);
        clients[0].call(&["EVALSHA", UNKNOWN, "1", "key:1"]);
        clients[0].call(&["EVAL", "return 1", "1", "key:2"]);
        clients[0].call(&["EXEC"]);
        clients[0].call(&["SELECT", "5"]);
        for monitor in &mut monitors {
            let mut lines: Vec<String> = (0..13).map(|_| monitor.receive().text()).collect();
            let rest = lines.split_off(6);
            for n in 0..6 {
                let wanted = format!("\"SET\" \"key:{n}\" \"a \\\"b\\\"\\n\"");
                assert!(lines.iter().any(|line| line.ends_with(&wanted)), "{wanted}: {lines:?}");
            }
            let commands: Vec<&str> = rest.iter().map(|line| line.split_once("] ").unwrap().1).collect();
            assert_eq!(
                commands,
                [
                    "\"AUTH\" \"(redacted)\" \"(redacted)\"",
                    "\"MULTI\"",
                    "\"GET\" \"key:1\"",
                    &format!("\"EVALSHA\" \"{UNKNOWN}\" \"1\" \"key:1\""),
                    "\"EVAL\" \"return 1\" \"1\" \"key:2\"",
                    "\"EXEC\"",
                    "\"SELECT\" \"5\"",
                ]
            );
            assert!(rest[6].contains(" [5 127.0.0.1:"), "{}", rest[6]);
            let error = monitor.call(&["GET", "key:1"]);
            assert_eq!(error, Value::Error("ERR Replica can't interact with the keyspace".into()));
        }
        // One that is reset is a client again, and sees nothing more.
        assert_eq!(monitors[0].call(&["RESET"]), Value::Simple("RESET".into()));
        clients[1].call(&["SET", "x", "y"]);
        assert_eq!(monitors[0].call(&["GET", "x"]), Value::bulk("y"));
    });
}

#[test]
fn monitors_see_no_passwords_of_hello() {
    on_all_shard_counts(&[], |server| {
        let mut monitor = server.client();
        monitor.call(&["MONITOR"]);
        server.client().call(&["HELLO", "3", "AUTH", "me", "secret"]);
        let line = monitor.receive().text();
        assert!(line.ends_with("\"HELLO\" \"3\" \"AUTH\" \"(redacted)\" \"(redacted)\""), "{line}");
    });
}

#[test]
fn paused_writes_wait_and_go_on_at_once_when_the_pause_ends() {
    on_all_shard_counts(&[], |server| {
        let mut control = server.client();
        control.call(&["SET", "a", "0"]);
        assert!(control.call(&["CLIENT", "PAUSE", "60000", "WRITE"]).is_ok());
        // A shorter pause shortens nothing.
        assert!(control.call(&["CLIENT", "PAUSE", "1", "WRITE"]).is_ok());
        let mut writers: Vec<Client> = (0..7).map(|_| server.client()).collect();
        for writer in &mut writers {
            writer.send(&["INCR", "a"]);
        }
        eventually("all writers wait", || info(&mut control, "blocked_clients") == 7);
        assert_eq!(control.call(&["GET", "a"]), Value::bulk("0"));
        drop(writers.pop());
        eventually("one has gone", || info(&mut control, "blocked_clients") == 6);
        let started = Instant::now();
        assert!(control.call(&["CLIENT", "UNPAUSE"]).is_ok());
        for writer in &mut writers {
            assert!(writer.receive().integer() > 0);
        }
        assert!(started.elapsed() < Duration::from_millis(90), "{:?}", started.elapsed());
        assert_eq!(info(&mut control, "blocked_clients"), 0);
        assert_eq!(control.call(&["GET", "a"]), Value::bulk("6"));
    });
}

#[test]
fn scripts_that_say_that_they_write_nothing_run_while_writes_are_paused_and_others_wait() {
    on_all_shard_counts(&[], |server| {
        let mut control = server.client();
        control.call(&["SET", "x", "y"]);
        control.call(&["PFADD", "sketch", "1"]);
        let library = "#!lua name=pausing\n\
            redis.register_function{function_name='reads', callback=function() return 'read' end, flags={'no-writes'}}\n\
            redis.register_function('writes', function() return 'written' end)";
        assert!(!control.call(&["FUNCTION", "LOAD", library]).is_error());
        let reading = "#!lua flags=no-writes\nreturn redis.call('GET', 'x')";
        let sha = control.call(&["SCRIPT", "LOAD", reading]).text();
        assert!(control.call(&["CLIENT", "PAUSE", "60000", "WRITE"]).is_ok());
        let free: [(&[&str], &str); 8] = [
            (&["EVAL", "#!lua flags=no-writes\nreturn 'one that is new'", "0"], "one that is new"),
            (&["EVAL", "#!lua flags=no-writes\nreturn 'one that is new'", "0"], "one that is new"),
            (&["EVAL", reading, "1", "x"], "y"),
            (&["EVALSHA", &sha, "0"], "y"),
            (&["EVALSHA_RO", &sha, "0"], "y"),
            (&["EVAL_RO", "return redis.call('GET', 'x')", "1", "x"], "y"),
            (&["FCALL", "reads", "0"], "read"),
            (&["FCALL_RO", "reads", "1", "x"], "read"),
        ];
        for (request, answer) in free {
            assert_eq!(control.call(request), Value::bulk(answer), "{request:?}");
            assert!(control.call(&["MULTI"]).is_ok());
            control.call(request);
            control.call(&["GET", "x"]);
            let answers = [answer, "y"].map(Value::bulk).to_vec();
            assert_eq!(control.call(&["EXEC"]), Value::Array(answers), "{request:?} in MULTI");
        }
        let held: [&[&str]; 10] = [
            &["EVAL", "return 1", "0"],
            &["EVAL", "#!lua\nreturn 1", "0"],
            &["EVAL", "#!lua flags=allow-oom\nreturn 1", "0"],
            &["EVAL", "#!lua flags=nonsense\nreturn 1", "0"],
            // It may write for all that it says, so that the command does not suit it.
            &["EVAL_RO", "#!lua\nreturn 1", "0"],
            &["EVALSHA", "0123456789012345678901234567890123456789", "0"],
            &["FCALL", "writes", "0"],
            &["FCALL", "none", "0"],
            &["PUBLISH", "channel", "message"],
            &["PFCOUNT", "sketch"],
        ];
        let mut waiting: Vec<(Client, usize)> = Vec::new();
        for request in held {
            let mut alone = server.client();
            alone.send(request);
            waiting.push((alone, 1));
            let mut queued = server.client();
            queued.send(&["MULTI"]);
            queued.send(request);
            queued.send(&["EXEC"]);
            waiting.push((queued, 3));
        }
        eventually("all wait", || info(&mut control, "blocked_clients") == waiting.len() as i64);
        assert!(control.call(&["CLIENT", "UNPAUSE"]).is_ok());
        for (client, replies) in &mut waiting {
            for _ in 0..*replies {
                client.receive();
            }
        }
    });
}

#[test]
fn a_pause_ends_by_itself_on_a_server_where_nothing_else_happens() {
    on_all_shard_counts(&[], |server| {
        let mut clients: Vec<Client> = (0..3).map(|_| server.client()).collect();
        assert!(clients[0].call(&["CLIENT", "PAUSE", "150"]).is_ok());
        let started = Instant::now();
        for client in &mut clients {
            assert_eq!(client.call(&["PING"]), Value::Simple("PONG".into()));
        }
        assert!(started.elapsed() >= Duration::from_millis(145), "{:?}", started.elapsed());
        assert!(started.elapsed() < Duration::from_millis(1000), "{:?}", started.elapsed());
    });
}

#[test]
fn no_key_is_deleted_for_its_age_during_a_pause() {
    on_all_shard_counts(&[], |server| {
        let mut client = server.client();
        let keys: Vec<String> = (0..20).map(|n| format!("key:{n}")).collect();
        for key in &keys {
            client.call(&["SET", key, "x", "PX", "300"]);
        }
        assert!(client.call(&["CLIENT", "PAUSE", "60000", "WRITE"]).is_ok());
        let expired = info(&mut client, "expired_keys");
        eventually("the keys have expired", || keys.iter().all(|key| client.call(&["GET", key]).is_null()));
        std::thread::sleep(Duration::from_millis(250));
        assert_eq!(info(&mut client, "expired_keys"), expired);
        assert!(client.call(&["CLIENT", "UNPAUSE"]).is_ok());
        assert!(keys.iter().all(|key| client.call(&["GET", key]).is_null()));
        eventually("they are deleted", || info(&mut client, "expired_keys") == expired + 20);
    });
}

#[test]
fn the_largest_clients_are_evicted_first_whatever_shard_serves_them() {
    on_all_shard_counts(&[], |server| {
        let mut control = named(server, "control");
        assert!(control.call(&["CLIENT", "NO-EVICT", "on"]).is_ok());
        let mut clients = Vec::new();
        for size in [100_000, 1_000_000, 4_000_000] {
            for n in 0..3 {
                let mut client = named(server, &format!("c{size}-{n}"));
                client.send_raw(format!("*2\r\n${size}\r\n{}", "v".repeat(size)).as_bytes());
                clients.push(client);
            }
        }
        let mut spared = named(server, "spared");
        assert!(spared.call(&["CLIENT", "NO-EVICT", "on"]).is_ok());
        spared.send_raw(format!("*2\r\n$5000000\r\n{}", "v".repeat(5_000_000)).as_bytes());
        let total = |control: &mut Client| -> usize {
            list(control).iter().map(|line| field(line, "qbuf").parse::<usize>().unwrap()).sum()
        };
        eventually("everything has arrived", || total(&mut control) >= 20_300_000);
        assert!(control.call(&["CONFIG", "SET", "maxmemory-clients", "9000000"]).is_ok());
        eventually("the largest are gone", || list(&mut control).len() == 8);
        for n in 0..3 {
            assert!(is_listed(&mut control, &format!("c100000-{n}")));
            assert!(is_listed(&mut control, &format!("c1000000-{n}")));
        }
        assert!(control.call(&["CONFIG", "SET", "maxmemory-clients", "5500000"]).is_ok());
        eventually("the next are gone", || list(&mut control).len() == 5);
        assert!(is_listed(&mut control, "spared"));
        assert_eq!(info(&mut control, "evicted_clients"), 6);
        assert_eq!(server.log().matches("Evicting client: id=").count(), 6);
        // Without its exemption it goes at its next command.
        assert!(control.call(&["CLIENT", "NO-EVICT", "off"]).is_ok());
        assert!(control.call(&["CONFIG", "SET", "maxmemory-clients", "0"]).is_ok());
        spared.send_raw(b"\r\n$1\r\nx\r\n");
        assert!(spared.receive().is_error());
    });
}

#[test]
fn a_connection_beyond_the_limit_of_its_output_is_closed() {
    let options = ["--client-output-buffer-limit", "normal 1mb 0 0"];
    on_all_shard_counts(&options, |server| {
        let mut control = named(server, "control");
        for n in 0..8 {
            control.call(&["SET".to_owned(), format!("key:{n}"), "x".repeat(300_000)]);
        }
        let mut greedy = named(server, "greedy");
        // One reply of all of it.
        let keys: Vec<String> = (0..8).map(|n| format!("key:{n}")).collect();
        let mut request = vec!["MGET".to_owned()];
        request.extend(keys);
        greedy.send(&request);
        eventually("it is closed", || !is_listed(&mut control, "greedy"));
        let log = server.log();
        assert!(log.contains("scheduled to be closed ASAP for overcoming of output buffer limits."), "{log}");
    });
}

#[test]
fn a_connection_beyond_the_limit_of_its_input_is_closed() {
    on_all_shard_counts(&["--client-query-buffer-limit", "1mb"], |server| {
        let mut control = named(server, "control");
        let mut greedy = named(server, "greedy");
        let mut request = b"*2\r\n$3000000\r\n".to_vec();
        request.resize(2_900_000, b'v');
        // The server may close while this is still being written.
        let _ = greedy.try_send_raw(&request);
        eventually("it is closed", || !is_listed(&mut control, "greedy"));
        assert!(server.log().contains("Closing client that reached max query buffer length: id="));
    });
}

#[test]
fn switched_off_replies_do_not_come_and_the_next_ones_do() {
    on_all_shard_counts(&[], |server| {
        let mut client = server.client();
        client.send(&["CLIENT", "REPLY", "OFF"]);
        for n in 0..20 {
            client.send(&["SET".to_owned(), format!("key:{n}"), "x".to_owned()]);
            client.send(&["NO", "SUCH"]);
        }
        client.send(&["CLIENT", "LIST"]);
        assert!(client.call(&["CLIENT", "REPLY", "ON"]).is_ok());
        client.send(&["CLIENT", "REPLY", "SKIP"]);
        client.send(&["MGET", "key:1", "key:2", "key:3"]);
        assert_eq!(client.call(&["GET", "key:7"]), Value::bulk("x"));
        client.send(&["CLIENT", "REPLY", "SKIP"]);
        assert!(client.call(&["CLIENT", "REPLY", "ON"]).is_ok());
        assert_eq!(client.call(&["DBSIZE"]), Value::Integer(20));
    });
}

#[test]
fn a_password_counts_from_when_it_is_set_until_it_is_taken_away() {
    on_all_shard_counts(&[], |server| {
        let (mut early, mut control) = (named(server, "early"), server.client());
        assert!(control.call(&["CONFIG", "SET", "requirepass", "secret"]).is_ok());
        assert!(early.call(&["SET", "a", "1"]).is_ok(), "who was in stays in");
        let mut late: Vec<Client> = (0..4).map(|_| server.client()).collect();
        for client in &mut late {
            assert_eq!(client.call(&["GET", "a"]), Value::Error("NOAUTH Authentication required.".into()));
        }
        assert!(late[0].call(&["AUTH", "wrong"]).text().starts_with("WRONGPASS "));
        assert!(late[0].call(&["AUTH", "default", "secret"]).is_ok());
        assert_eq!(late[0].call(&["GET", "a"]), Value::bulk("1"));
        assert!(late[1].call(&["HELLO", "3"]).text().starts_with("NOAUTH HELLO must be called"));
        assert!(!late[1].call(&["HELLO", "3", "AUTH", "default", "secret"]).is_error());
        assert_eq!(late[0].call(&["RESET"]), Value::Simple("RESET".into()));
        assert_eq!(late[0].call(&["GET", "a"]), Value::Error("NOAUTH Authentication required.".into()));
        assert!(control.call(&["CONFIG", "SET", "requirepass", ""]).is_ok());
        assert_eq!(late[2].call(&["GET", "a"]), Value::bulk("1"), "nobody needs a password any more");
    });
}

#[test]
fn hello_inside_a_transaction_switches_the_protocol() {
    on_all_shard_counts(&[], |server| {
        let mut client = server.client();
        client.call(&["MULTI"]);
        client.call(&["HELLO", "3"]);
        client.call(&["GET", "none"]);
        let replies = client.call(&["EXEC"]);
        assert_eq!(replies.elements()[1], Value::Null);
        assert_eq!(client.call(&["GET", "none"]), Value::Null);
    });
}

#[test]
fn a_connection_that_speaks_http_is_closed() {
    on_all_shard_counts(&[], |server| {
        let mut client = server.client();
        client.send_raw(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nSET a b\r\n");
        assert_eq!(client.receive_until_closed(), b"");
        assert!(server.client().call(&["GET", "a"]).is_null());
        assert!(server.log().contains("Possible SECURITY ATTACK detected"));
    });
}
