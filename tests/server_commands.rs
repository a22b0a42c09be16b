//! Commands about the server as a whole, on one shard and on several: CONFIG and rebinding, INFO, SLOWLOG, LATENCY, MEMORY,
//! DEBUG, WAIT, SHUTDOWN, and what a crash leaves behind.

mod support;

use std::collections::HashMap;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use support::{free_port, within, Client, Server, Value};

const SHARDS: [usize; 2] = [1, 3];

fn start(shards: usize, options: &[&str]) -> Server {
    let shards = shards.to_string();
    Server::start(&[&["--shards", &shards, "--enable-debug-command", "yes"], options].concat())
}

/// The fields of INFO.
fn info(client: &mut Client, sections: &[&str]) -> HashMap<String, String> {
    let text = client.call(&[&["INFO"], sections].concat()).text();
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn number(fields: &HashMap<String, String>, name: &str) -> u64 {
    fields.get(name).unwrap_or_else(|| panic!("INFO has no {name}")).parse().expect("a number")
}

/// Keys of which every shard owns some.
fn fill(client: &mut Client, keys: usize) {
    for number in 0..keys {
        assert!(client.call(&["SET", &format!("key:{number}"), "value"]).is_ok());
    }
}

#[test]
fn config_set_changes_all_of_its_parameters_or_none() {
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut client = server.client();
        assert!(client.call(&["CONFIG", "SET", "timeout", "100", "maxmemory", "100mb"]).is_ok());
        let refused = client.call(&["CONFIG", "SET", "timeout", "200", "maxmemory", "many"]);
        assert!(refused
            .text()
            .starts_with("ERR CONFIG SET failed (possibly related to argument 'maxmemory')"));
        let found = client.call(&["CONFIG", "GET", "timeout", "maxmemory"]);
        assert_eq!(found.elements(), ["timeout", "100", "maxmemory", "104857600"].map(Value::bulk));
    }
}

#[test]
fn a_changed_setting_is_in_force_on_every_shard_when_config_set_has_answered() {
    let server = start(3, &[]);
    let mut client = server.client();
    // Each command runs on the shard of its key.
    for round in 0..50 {
        let (limit, refused) = if round % 2 == 0 { ("1", true) } else { ("0", false) };
        assert!(client.call(&["CONFIG", "SET", "maxmemory", limit]).is_ok());
        for key in ["a", "b", "c", "d", "e"] {
            assert_eq!(client.call(&["SET", key, "1"]).is_error(), refused, "round {round}, {key}");
        }
    }
}

#[test]
fn the_server_moves_to_another_port_and_keeps_its_connections() {
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut client = server.client();
        let other = free_port();
        assert!(client.call(&["CONFIG", "SET", "port", &other.to_string()]).is_ok());
        assert_eq!(client.call(&["PING"]), Value::Simple("PONG".into()), "the connection lives on");
        assert!(TcpStream::connect(server.address()).is_err(), "the old port is closed");
        let mut there = Client::connect(&format!("127.0.0.1:{other}"));
        assert_eq!(info(&mut there, &["server"])["tcp_port"], other.to_string());
        assert!(there.call(&["CONFIG", "SET", "port", &server.port.to_string()]).is_ok());
        assert_eq!(server.client().call(&["PING"]), Value::Simple("PONG".into()));
    }
}

#[test]
fn a_port_that_cannot_be_had_leaves_the_old_one_open() {
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut client = server.client();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let refused = client.call(&["CONFIG", "SET", "port", &port]).text();
        assert!(refused.ends_with("Unable to listen on this port. Check server logs."), "{refused}");
        assert_eq!(client.call(&["CONFIG", "GET", "port"]).elements()[1].text(), server.port.to_string());
        assert_eq!(server.client().call(&["PING"]), Value::Simple("PONG".into()));
        assert!(server.log().contains("Address already in use"));
    }
}

#[test]
fn addresses_that_overlap_replace_each_other() {
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut client = server.client();
        for bind in ["*", "127.0.0.1", "* -::*", "127.0.0.1 -::1", "127.0.0.1"] {
            assert!(client.call(&["CONFIG", "SET", "bind", bind]).is_ok(), "{bind}\n{}", server.log());
            assert_eq!(server.client().call(&["CONFIG", "GET", "bind"]).elements()[1].text(), bind);
        }
        for bind in ["192.0.2.1", "* 192.0.2.1"] {
            let refused = client.call(&["CONFIG", "SET", "bind", bind]).text();
            assert!(refused.ends_with("Failed to bind to specified addresses."), "{refused}");
            assert_eq!(server.client().call(&["CONFIG", "GET", "bind"]).elements()[1].text(), "127.0.0.1");
        }
    }
}

#[test]
fn statistics_are_sums_over_the_shards_and_count_a_command_once() {
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut client = server.client();
        assert!(client.call(&["CONFIG", "RESETSTAT"]).is_ok());
        fill(&mut client, 30);
        let keys: Vec<String> = (0..30).map(|number| format!("key:{number}")).collect();
        client.call(&[&["MGET".to_owned()], keys.as_slice()].concat());
        client.call(&["FLUSHDB", "WRONG"]);
        client.call(&["SET", "key"]);
        client.call(&["SELECT", "3"]);
        client.call(&["SET", "x", "y", "EX", "100"]);
        let all = info(&mut client, &["all"]);
        assert!(all["cmdstat_set"].starts_with("calls=31,"), "{}", all["cmdstat_set"]);
        assert!(all["cmdstat_set"].ends_with("rejected_calls=1,failed_calls=0"), "{}", all["cmdstat_set"]);
        assert!(all["cmdstat_mget"].starts_with("calls=1,"), "{}", all["cmdstat_mget"]);
        assert!(all["cmdstat_flushdb"].ends_with("failed_calls=1"), "{}", all["cmdstat_flushdb"]);
        assert!(all["cmdstat_config|resetstat"].starts_with("calls=1,"), "counted after the reset");
        assert_eq!(all["errorstat_ERR"], "count=2");
        assert_eq!(number(&all, "total_error_replies"), 2);
        assert_eq!(number(&all, "keyspace_hits"), 30);
        assert_eq!(all["db0"], "keys=30,expires=0,avg_ttl=0");
        assert!(all["db3"].starts_with("keys=1,expires=1,avg_ttl="), "{}", all["db3"]);
        assert!(all["latency_percentiles_usec_set"].starts_with("p50="));
        assert!(number(&all, "used_memory") > 0 && number(&all, "used_memory_startup") > 0);
        assert!(client.call(&["CONFIG", "RESETSTAT"]).is_ok());
        let all = info(&mut client, &["all"]);
        assert!(!all.contains_key("cmdstat_set") && !all.contains_key("latency_percentiles_usec_set"));
        assert!(!all.contains_key("errorstat_ERR"));
    }
}

#[test]
fn info_shows_the_sections_asked_for_and_the_shards() {
    let server = start(3, &[]);
    let mut client = server.client();
    fill(&mut client, 30);
    let titles = |text: String| -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix("# ")).map(str::to_owned).collect()
    };
    let usual = titles(client.call(&["INFO"]).text());
    let expected = [
        "Server",
        "Clients",
        "Memory",
        "Persistence",
        "Stats",
        "Replication",
        "CPU",
        "Modules",
        "Errorstats",
        "Cluster",
        "Keyspace",
    ];
    assert_eq!(usual, expected);
    assert_eq!(titles(client.call(&["INFO", "keyspace", "CPU", "nothing"]).text()), ["CPU", "Keyspace"]);
    let everything = titles(client.call(&["INFO", "cpu", "everything"]).text());
    assert!(
        everything.ends_with(&["Keyspace".into(), "Shards".into()])
            && everything.contains(&"Commandstats".into())
    );
    let shards = info(&mut client, &["shards"]);
    assert_eq!(shards["shards"], "3");
    let keys_of = |shard: &str| -> u64 {
        let keys = shards[shard].split(',').find_map(|field| field.strip_prefix("keys=")).unwrap();
        keys.parse().unwrap()
    };
    assert_eq!(keys_of("shard0") + keys_of("shard1") + keys_of("shard2"), 30);
}

#[test]
fn the_slow_log_is_one_list_over_all_shards_newest_first() {
    for shards in SHARDS {
        let server = start(shards, &["--slowlog-log-slower-than", "-1", "--slowlog-max-len", "20"]);
        let mut client = server.client();
        client.call(&["CLIENT", "SETNAME", "slow"]);
        assert!(client.call(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]).is_ok());
        fill(&mut client, 30);
        assert_eq!(client.call(&["SLOWLOG", "LEN"]).integer(), 20);
        let entries = client.call(&["SLOWLOG", "GET", "-1"]);
        let ids: Vec<i64> = entries.elements().iter().map(|entry| entry.elements()[0].integer()).collect();
        let newest = ids[0];
        assert_eq!(ids, (0..20).map(|age| newest - age).collect::<Vec<_>>());
        for (age, entry) in entries.elements()[1..].iter().enumerate() {
            let fields = entry.elements();
            let wanted = ["SET".to_owned(), format!("key:{}", 29 - age), "value".to_owned()];
            assert_eq!(fields[3].elements(), wanted.map(Value::bulk));
            assert!(fields[4].text().starts_with("127.0.0.1:"), "{fields:?}");
            assert_eq!(fields[5].text(), "slow");
        }
        assert!(client.call(&["SLOWLOG", "RESET"]).is_ok());
        assert!(client.call(&["CONFIG", "SET", "requirepass", "", "slowlog-log-slower-than", "-1"]).is_ok());
        let entries = client.call(&["SLOWLOG", "GET"]);
        assert_eq!(entries.elements().len(), 1, "the reset itself");
        assert_eq!(entries.elements()[0].elements()[3].elements(), ["SLOWLOG", "RESET"].map(Value::bulk));
    }
}

/// No request waits for all of it, but an operator wants to know what takes the time.
#[test]
fn a_large_value_that_expires_is_a_spike_of_expiry() {
    for shards in SHARDS {
        let server = start(shards, &["--latency-monitor-threshold", "2"]);
        let mut client = server.client();
        let script = "for n = 1, 300000 do redis.call('sadd', KEYS[1], n .. ':member') end redis.call('pexpire', KEYS[1], 1)";
        client.call(&["EVAL", script, "1", "large"]);
        client.call(&["LATENCY", "RESET"]);
        let is_there = within(Duration::from_secs(10), || {
            client
                .call(&["LATENCY", "LATEST"])
                .elements()
                .iter()
                .any(|event| event.elements()[0].text() == "expire-cycle")
        });
        assert!(is_there, "{:?}", client.call(&["LATENCY", "LATEST"]));
        assert!(client
            .call(&["LATENCY", "GRAPH", "expire-cycle"])
            .text()
            .starts_with("expire-cycle - high "));
    }
}

#[test]
fn spikes_are_recorded_and_calls_are_counted_by_their_time() {
    for shards in SHARDS {
        let server = start(shards, &["--latency-monitor-threshold", "50"]);
        let mut client = server.client();
        assert!(client.call(&["DEBUG", "SLEEP", "0.1"]).is_ok());
        let history = client.call(&["LATENCY", "HISTORY", "command"]);
        let latency = history.elements()[0].elements()[1].integer();
        assert!((90..1000).contains(&latency), "{latency}");
        assert_eq!(client.call(&["LATENCY", "LATEST"]).elements()[0].elements()[0].text(), "command");
        assert!(client.call(&["LATENCY", "GRAPH", "command"]).text().starts_with("command - high "));
        assert_eq!(client.call(&["LATENCY", "RESET"]).integer(), 1);
        assert!(client.call(&["LATENCY", "HISTORY", "command"]).elements().is_empty());

        fill(&mut client, 20);
        let histogram = client.call(&["LATENCY", "HISTOGRAM", "set", "nothing"]);
        let [name, figures] = histogram.elements() else { panic!("{histogram:?}") };
        assert_eq!((name.text().as_str(), figures.elements()[1].integer()), ("set", 20));
        let steps = figures.elements()[3].elements();
        assert_eq!(steps.last().map(Value::integer), Some(20), "the last step has all calls");
    }
}

#[test]
fn debug_sleep_stops_every_shard() {
    let server = start(3, &[]);
    let mut sleeper = server.client();
    let mut others: Vec<Client> = (0..6).map(|_| server.client()).collect();
    sleeper.send(&["DEBUG", "SLEEP", "0.5"]);
    std::thread::sleep(Duration::from_millis(100));
    let asked = Instant::now();
    for other in &mut others {
        assert_eq!(other.call(&["PING"]), Value::Simple("PONG".into()));
    }
    assert!(asked.elapsed() > Duration::from_millis(250), "{:?}", asked.elapsed());
    assert!(sleeper.receive().is_ok());
}

#[test]
fn digests_do_not_depend_on_the_number_of_shards_and_are_those_of_redis() {
    let mut servers: Vec<Server> = SHARDS.iter().map(|shards| start(*shards, &[])).collect();
    servers.extend(Server::redis(&["--enable-debug-command", "yes"]));
    let digests: Vec<String> = servers
        .iter()
        .map(|server| {
            let mut client = server.client();
            fill(&mut client, 20);
            client.call(&["DEBUG", "POPULATE", "50", "some", "30"]);
            client.call(&["SET", "number", "12345", "EX", "1000"]);
            client.call(&["SELECT", "5"]);
            client.call(&["SET", "big", &"x".repeat(10_000)]);
            assert_eq!(client.call(&["DEBUG", "DIGEST-VALUE", "none"]).elements()[0].text(), "0".repeat(40));
            client.call(&["DEBUG", "DIGEST"]).text()
                + &client.call(&["DEBUG", "DIGEST-VALUE", "big"]).elements()[0].text()
        })
        .collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
}

#[test]
fn commands_that_other_shards_answer_work_in_a_transaction() {
    for shards in SHARDS {
        let server = start(shards, &[]);
        let mut client = server.client();
        client.call(&["SET", "key", "value"]);
        client.call(&["MULTI"]);
        let queued: [&[&str]; 6] = [
            &["CONFIG", "SET", "timeout", "77"],
            &["CONFIG", "GET", "timeout"],
            &["DEBUG", "OBJECT", "none"],
            &["WAIT", "1", "0"],
            &["GET", "key"],
            &["INFO", "keyspace"],
        ];
        for command in queued {
            assert_eq!(client.call(command), Value::Simple("QUEUED".into()));
        }
        let replies = client.call(&["EXEC"]);
        let [set, get, object, wait, value, info] = replies.elements() else { panic!("{replies:?}") };
        assert!(set.is_ok());
        assert_eq!(get.elements()[1].text(), "77");
        assert_eq!(object.text(), "ERR no such key");
        assert_eq!((wait.integer(), value.text().as_str()), (0, "value"));
        assert!(info.text().contains("db0:keys=1,"));
    }
}

#[test]
fn wait_holds_its_client_until_the_timeout_and_no_other() {
    let server = start(1, &[]);
    let (mut waiting, mut other) = (server.client(), server.client());
    assert_eq!(waiting.call(&["WAIT", "0", "0"]).integer(), 0);
    let asked = Instant::now();
    waiting.send(&["WAIT", "1", "300"]);
    assert_eq!(other.call(&["PING"]), Value::Simple("PONG".into()));
    assert!(asked.elapsed() < Duration::from_millis(250));
    assert_eq!(waiting.receive().integer(), 0);
    assert!(asked.elapsed() >= Duration::from_millis(300));
    assert_eq!(waiting.call(&["WAIT", "1", "-1"]).text(), "ERR timeout is negative");
    // One that waits for ever leaves nothing behind when it goes.
    waiting.send(&["WAIT", "1", "0"]);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(number(&info(&mut other, &["clients"]), "blocked_clients"), 1);
    drop(waiting);
    let deadline = Instant::now() + Duration::from_secs(5);
    while number(&info(&mut other, &["clients"]), "blocked_clients") > 0 {
        assert!(Instant::now() < deadline, "the wait of a client that has gone is kept");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn shutdown_ends_every_shard_and_says_so() {
    for shards in SHARDS {
        let mut server = start(shards, &[]);
        let mut client = server.client();
        assert_eq!(client.call(&["SHUTDOWN", "NOW", "WRONG"]).text(), "ERR syntax error");
        assert_eq!(client.call(&["SHUTDOWN", "ABORT"]).text(), "ERR No shutdown in progress.");
        client.send(&["SHUTDOWN", "NOSAVE"]);
        assert!(client.receive_until_closed().is_empty(), "no reply");
        let status = server.wait_for_end(Duration::from_secs(5)).expect("it ends");
        assert!(status.success(), "{status}");
        for line in ["User requested shutdown...", "Gyre is now ready to exit, bye bye..."] {
            assert!(server.log().contains(line), "{}", server.log());
        }
    }
}

#[test]
fn a_crash_leaves_a_report_and_ends_the_process() {
    for (crash, line) in [("SEGFAULT", "crashed by signal: 11"), ("PANIC", "ASSERTION FAILED")] {
        let mut server = start(2, &[]);
        server.client().send(&["DEBUG", crash]);
        let status = server.wait_for_end(Duration::from_secs(10)).expect("it ends");
        assert!(!status.success(), "{status}");
        let log = server.log();
        for wanted in
            ["=== REDIS BUG REPORT START", line, "------ STACK TRACE ------", "=== REDIS BUG REPORT END. ==="]
        {
            assert!(log.contains(wanted), "{crash}: no {wanted:?} in\n{log}");
        }
    }
    let mut server = start(1, &["--crash-log-enabled", "no"]);
    server.client().send(&["DEBUG", "SEGFAULT"]);
    assert!(server.wait_for_end(Duration::from_secs(10)).is_some());
    assert!(!server.log().contains("BUG REPORT"));
}

#[test]
fn debug_restart_starts_the_same_server_anew() {
    let mut server = start(2, &[]);
    let mut client = server.client();
    let before = info(&mut client, &["server"]);
    client.send(&["DEBUG", "RESTART"]);
    client.receive_until_closed();
    let deadline = Instant::now() + Duration::from_secs(10);
    // The old process's listener may still take a connection on its way out.
    let mut client = loop {
        if let Ok(mut client) = Client::try_connect(&server.address()) {
            if client.try_call(&["PING"]).is_ok() {
                break client;
            }
        }
        assert!(Instant::now() < deadline, "{}", server.log());
        std::thread::sleep(Duration::from_millis(20));
    };
    let after = info(&mut client, &["server"]);
    assert!(server.is_running());
    assert_eq!(before["process_id"], after["process_id"]);
    assert_ne!(before["run_id"], after["run_id"]);
}

#[test]
fn every_help_answers_lines_of_text() {
    let server = start(1, &[]);
    let mut client = server.client();
    for container in ["CONFIG", "SLOWLOG", "LATENCY", "MEMORY", "DEBUG", "COMMAND"] {
        let help = client.call(&[container, "HELP"]);
        let first = help.elements()[0].text();
        assert_eq!(first, format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
        assert!(help.elements().iter().all(|line| matches!(line, Value::Simple(_))));
    }
}

/// Whether a client of some shard is told that the server is loading.
fn somebody_hears_of_loading(clients: &mut [Client]) -> bool {
    clients.iter_mut().any(|client| client.call(&["PING"]).text().starts_with("LOADING"))
}

#[test]
fn a_server_that_reloads_says_so_and_then_has_what_it_had() {
    const KEYS: usize = 300;
    for shards in ["1", "2", "4"] {
        let server = Server::start(&[
            "--shards",
            shards,
            "--enable-debug-command",
            "yes",
            "--appendonly",
            "yes",
            "--aof-use-rdb-preamble",
            "no",
        ]);
        let (mut client, mut asker) = (server.client(), server.client());
        for number in 0..KEYS {
            let key = format!("key:{number}");
            assert_eq!(client.call(&["RPUSH", &key, "a", "b"]), Value::Integer(2));
        }
        let digest = client.call(&["DEBUG", "DIGEST"]).text();
        let mut clients: Vec<Client> = (0..8).map(|_| server.client()).collect();
        // A begun transaction that wants data is not run on half of them.
        let mut queued = server.client();
        queued.call(&["MULTI"]);
        queued.call(&["DBSIZE"]);
        assert!(client.call(&["CONFIG", "SET", "key-load-delay", "5000"]).is_ok());
        asker.send(&["DEBUG", "RELOAD"]);
        assert!(within(Duration::from_secs(20), || somebody_hears_of_loading(&mut clients)));
        let info = clients[0].call(&["INFO", "persistence"]).text();
        assert!(info.contains("\r\nloading:1\r\n") && info.contains("\r\nloading_total_bytes:"), "{info}");
        assert!(clients[1].call(&["GET", "key:1"]).text().starts_with("LOADING"));
        let refused = queued.call(&["EXEC"]).text();
        assert!(refused.starts_with("EXECABORT") && refused.contains("LOADING"), "{refused}");
        assert!(client.call(&["CONFIG", "SET", "key-load-delay", "0"]).is_ok());
        assert!(asker.receive().is_ok());
        assert_eq!(client.call(&["DEBUG", "DIGEST"]).text(), digest);
        assert!(client.call(&["INFO", "persistence"]).text().contains("\r\nloading:0\r\n"));
        assert!(asker.call(&["DEBUG", "LOADAOF"]).is_ok());
        assert_eq!(client.call(&["DEBUG", "DIGEST"]).text(), digest);
        // What is written from now on is logged as before.
        assert_eq!(client.call(&["RPUSH", "key:1", "c"]), Value::Integer(3));
        let digest = client.call(&["DEBUG", "DIGEST"]).text();
        assert!(asker.call(&["DEBUG", "LOADAOF"]).is_ok());
        assert_eq!(client.call(&["DEBUG", "DIGEST"]).text(), digest);
    }
}

#[test]
fn a_slow_script_in_a_log_does_not_keep_clients_from_hearing_that_the_server_is_loading() {
    let mut server = Server::start(&[
        "--shards",
        "1",
        "--enable-debug-command",
        "yes",
        "--appendonly",
        "yes",
        "--busy-reply-threshold",
        "20",
    ]);
    let script = "redis.call('SET', KEYS[1], 'x') for i = 1, ARGV[1] do redis.call('PING') end \
                  return redis.call('APPEND', KEYS[1], 'y')";
    let (mut asker, mut clients) = (server.client(), vec![server.client()]);
    assert_eq!(asker.call(&["PING"]).text(), "PONG");
    let file = std::fs::read_dir(server.dir.join("appendonlydir"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().ends_with(".incr.aof"))
        .expect("a log");
    let mut log = Vec::new();
    let slow: &[&str] = &["EVAL", script, "1", "k", "100000"];
    for command in [slow, &["SET", "behind", "it"]] {
        log.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
        for part in command {
            log.extend_from_slice(format!("${}\r\n{part}\r\n", part.len()).as_bytes());
        }
    }
    std::fs::write(file, log).unwrap();
    asker.send(&["DEBUG", "LOADAOF"]);
    assert!(within(Duration::from_secs(20), || somebody_hears_of_loading(&mut clients)));
    asker.set_timeout(Duration::from_secs(120));
    assert!(asker.receive().is_ok());
    assert_eq!(
        clients[0].call(&["MGET", "k", "behind"]).elements().iter().map(Value::text).collect::<Vec<_>>(),
        ["xy", "it"]
    );
    assert!(server.log().contains("Slow script detected"), "{}", server.log());
    server.restart();
    assert_eq!(server.client().call(&["GET", "k"]).text(), "xy");
}

#[test]
fn latency_shows_the_expiry_of_a_key_that_has_gone() {
    for shards in 1..=3 {
        let server = Server::with_shards(shards);
        let (mut client, mut watcher) = (server.client(), server.client());
        assert!(client.call(&["CONFIG", "SET", "latency-monitor-threshold", "1"]).is_ok());
        for from in 0..300 {
            let members: Vec<String> = (0..1000).map(|number| format!("member {from}:{number}")).collect();
            let request: Vec<&str> =
                ["SADD", "k"].into_iter().chain(members.iter().map(String::as_str)).collect();
            client.send(&request);
        }
        (0..300).for_each(|_| assert_eq!(client.receive(), Value::Integer(1000)));
        assert_eq!(client.call(&["LATENCY", "RESET", "expire-cycle"]), Value::Integer(0));
        assert_eq!(client.call(&["PEXPIRE", "k", "1"]), Value::Integer(1));
        while client.call(&["DBSIZE"]) != Value::Integer(0) {}
        let latest = watcher.call(&["LATENCY", "LATEST"]);
        let is_there = latest.elements().iter().any(|event| event.elements()[0].text() == "expire-cycle");
        assert!(is_there, "{shards} shards: {latest:?}");
        assert_eq!(client.call(&["LATENCY", "HISTORY", "expire-cycle"]).elements().len(), 1);
        assert!(client.call(&["LATENCY", "GRAPH", "expire-cycle"]).text().starts_with("expire-cycle - high"));
    }
}
