//! FAILOVER: a master hands over to a replica, and nothing of what clients were told is lost.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use support::{within, Client, Server};

const PATIENCE: Duration = Duration::from_secs(30);

fn server(shards: &str, options: &[&str]) -> Server {
    let all = ["--shards", shards, "--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes"];
    Server::start(&[&all, options].concat())
}

fn field(server: &Server, name: &str) -> String {
    let text = server.client().call(&["INFO", "everything"]).text();
    let prefix = format!("{name}:");
    text.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default().to_owned()
}

fn is(server: &Server, name: &str, value: &str) -> bool {
    within(PATIENCE, || field(server, name) == value)
}

fn call(server: &Server, line: &str) -> String {
    let value = server.client().call(&line.split(' ').collect::<Vec<_>>());
    if value.is_null() {
        return String::new();
    }
    value.text()
}

fn follow(replica: &Server, master: &Server) {
    assert_eq!(call(replica, &format!("REPLICAOF 127.0.0.1 {}", master.port)), "OK");
    assert!(is(replica, "master_link_status", "up"), "{}", replica.log());
    let online = || field(master, "slave0").contains("state=online");
    assert!(within(PATIENCE, online), "{}", master.log());
}

/// A client that counts, at whichever server takes writes; how often it was told that it had, and the longest time that this took.
fn count(key: String, servers: Vec<String>, ends: Arc<AtomicBool>) -> JoinHandle<(i64, Duration)> {
    thread::spawn(move || {
        let mut clients: Vec<Client> = servers.iter().map(|address| Client::connect(address)).collect();
        let (mut at, mut acknowledged, mut longest, mut last) = (0, 0, Duration::ZERO, Instant::now());
        while !ends.load(Ordering::Relaxed) {
            let reply = clients[at].call(&["INCR", &key]);
            if reply.is_error() {
                at = (at + 1) % clients.len();
                continue;
            }
            acknowledged += 1;
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        (acknowledged, longest)
    })
}

#[test]
fn nothing_is_lost_when_servers_hand_over_to_and_fro_under_load() {
    for (of_one, of_other) in [("1", "1"), ("2", "3"), ("3", "2")] {
        let servers = [server(of_one, &[]), server(of_other, &[])];
        follow(&servers[1], &servers[0]);
        let addresses: Vec<String> = servers.iter().map(Server::address).collect();
        let ends = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> =
            (0..6).map(|n| count(format!("counter:{n}"), addresses.clone(), ends.clone())).collect();
        for round in 0..4 {
            thread::sleep(Duration::from_millis(100));
            let (old, new) = (&servers[round % 2], &servers[1 - round % 2]);
            assert_eq!(call(old, "FAILOVER"), "OK");
            assert!(is(new, "role", "master"), "{}\n{}", old.log(), new.log());
            assert!(is(old, "master_link_status", "up"), "{}", old.log());
            assert!(is(old, "master_failover_state", "no-failover"));
            let online = || field(new, "slave0").contains("state=online");
            assert!(within(PATIENCE, online), "{}", new.log());
        }
        ends.store(true, Ordering::Relaxed);
        for (n, client) in clients.into_iter().enumerate() {
            let (acknowledged, longest) = client.join().unwrap();
            // Where a client's own reply was lost it may have counted more often than it knows; none is here.
            assert_eq!(call(&servers[0], &format!("GET counter:{n}")), acknowledged.to_string());
            assert!(acknowledged > 100, "{acknowledged}, at most {longest:?} apart");
        }
        for server in &servers {
            // The first one was needed.
            assert!(matches!(&*field(server, "sync_full"), "0" | "1"), "{}", server.log());
        }
        let same = || call(&servers[0], "DEBUG DIGEST") == call(&servers[1], "DEBUG DIGEST");
        assert!(within(PATIENCE, same));
    }
}

#[test]
fn what_cannot_be_is_said_and_what_has_begun_can_be_given_up() {
    for shards in ["1", "2"] {
        let (master, replica) = (server(shards, &[]), server(shards, &[]));
        assert_eq!(call(&master, "FAILOVER"), "ERR FAILOVER requires connected replicas.");
        assert_eq!(call(&master, "FAILOVER ABORT"), "ERR No failover in progress.");
        follow(&replica, &master);
        let no_replica = "ERR FAILOVER target HOST and PORT is not a replica.";
        assert_eq!(call(&master, "FAILOVER TO 127.0.0.1 1"), no_replica);
        let on_replica = "ERR FAILOVER is not valid when server is a replica.";
        assert_eq!(call(&replica, "FAILOVER"), on_replica);
        // One that has stopped does not acknowledge.
        replica.signal(libc::SIGSTOP);
        assert_eq!(call(&master, "SET k before"), "OK");
        assert_eq!(call(&master, &format!("FAILOVER TO 127.0.0.1 {}", replica.port)), "OK");
        assert_eq!(field(&master, "master_failover_state"), "waiting-for-sync");
        assert_eq!(call(&master, "FAILOVER"), "ERR FAILOVER already in progress.");
        let in_failover = "ERR REPLICAOF not allowed while failing over.";
        assert_eq!(call(&master, "REPLICAOF 127.0.0.1 1"), in_failover);
        let mut writer = master.client();
        writer.send(&["SET", "k", "after"]);
        assert!(is(&master, "blocked_clients", "1"), "a write waits");
        assert_eq!(call(&master, "GET k"), "before", "reads go on");
        assert_eq!(call(&master, "CLIENT UNPAUSE"), "OK");
        assert_eq!(call(&master, "GET k"), "before", "it is not a client's pause");
        assert_eq!(call(&master, "FAILOVER ABORT"), "OK");
        assert!(writer.receive().is_ok());
        assert_eq!(field(&master, "master_failover_state"), "no-failover");
        // In time, or not at all.
        assert_eq!(call(&master, "FAILOVER TIMEOUT 50"), "OK");
        assert!(is(&master, "master_failover_state", "no-failover"), "{}", master.log());
        assert_eq!(call(&master, "SET k again"), "OK");
        replica.signal(libc::SIGCONT);
        let caught_up = || call(&replica, "GET k") == "again";
        assert!(within(PATIENCE, caught_up), "{}", replica.log());
        assert_eq!(field(&master, "sync_full"), "1");
    }
}

#[test]
fn with_force_one_that_is_late_takes_over() {
    let (master, replica) = (server("2", &[]), server("3", &[]));
    follow(&replica, &master);
    assert_eq!(call(&master, "SET k v"), "OK");
    assert!(within(PATIENCE, || call(&replica, "GET k") == "v"));
    replica.signal(libc::SIGSTOP);
    (0..2000).for_each(|n| drop(call(&master, &format!("SET k{n} v"))));
    let line = format!("FAILOVER TO 127.0.0.1 {} TIMEOUT 100 FORCE", replica.port);
    assert_eq!(call(&master, &line), "OK");
    assert!(is(&master, "master_failover_state", "failover-in-progress"), "{}", master.log());
    replica.signal(libc::SIGCONT);
    assert!(is(&replica, "role", "master"), "{}", replica.log());
    assert!(is(&master, "master_link_status", "up"), "{}\n{}", master.log(), replica.log());
    assert_eq!(field(&master, "role"), "slave");
    assert_eq!(call(&replica, "SET k new"), "OK");
    let same = || call(&master, "DEBUG DIGEST") == call(&replica, "DEBUG DIGEST");
    assert!(within(PATIENCE, same), "{}", master.log());
}

#[test]
fn a_target_that_refuses_leaves_the_master() {
    let (master, replica) = (server("2", &[]), server("1", &[]));
    follow(&replica, &master);
    // While it is stopped its link is given up for another master, so it refuses.
    replica.signal(libc::SIGSTOP);
    let line = format!("FAILOVER TO 127.0.0.1 {} TIMEOUT 100 FORCE", replica.port);
    let mut client = Client::connect(&replica.address());
    client.send(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(call(&master, "SET k v"), "OK");
    assert_eq!(call(&master, &line), "OK");
    assert!(is(&master, "master_failover_state", "failover-in-progress"), "{}", master.log());
    let mut writer = master.client();
    replica.signal(libc::SIGCONT);
    assert!(client.receive().is_ok());
    // It is a master by now, whichever of the two came first.
    assert!(is(&replica, "role", "master"), "{}", replica.log());
    assert!(is(&master, "master_failover_state", "no-failover"), "{}", master.log());
    let reply = writer.call(&["SET", "k", "w"]).text();
    let role = field(&master, "role");
    assert_eq!(reply == "OK", role == "master", "{reply}, {role}\n{}", master.log());
}
