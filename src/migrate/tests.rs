//! The migrator against targets that answer as they are told.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(100);

/// What a target does with one connection.
type Act = fn(&mut TcpStream);

/// A target that treats its connections like this, one after the other, and then listens no more.
fn target(acts: &'static [Act]) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string().into_bytes();
    std::thread::spawn(move || {
        for act in acts {
            act(&mut listener.accept().unwrap().0);
        }
    });
    Target { host: b"127.0.0.1".to_vec(), port }
}

fn job(target: &Target, database: i64, keys: &[&str]) -> Job {
    let packed = |key| PackedKey { key, payload: format!("value {key}").into_bytes(), expire_at_ms: None };
    Job {
        target: target.clone(),
        credentials: None,
        database,
        timeout: Duration::from_secs(5),
        replace: false,
        keys: Arc::new(keys.iter().map(|key| key.as_bytes().to_vec()).collect()),
        packed: (0..keys.len()).map(packed).collect(),
    }
}

fn migrator() -> Arc<Migrator> {
    Arc::new(Migrator::new(Control::start().unwrap()))
}

fn begin(migrator: &Arc<Migrator>, job: Job) -> Receiver<Delivery> {
    let (done, is_done) = mpsc::channel();
    migrator.send(job, move |delivery| done.send(delivery).unwrap());
    is_done
}

fn send(migrator: &Arc<Migrator>, job: Job) -> Delivery {
    begin(migrator, job).recv_timeout(PATIENCE).unwrap()
}

/// Reads what `commands` are on the wire and fails when it is anything else.
fn expect(stream: &mut TcpStream, commands: &[&[&str]]) {
    let mut wanted = Vec::new();
    for command in commands {
        write!(wanted, "*{}\r\n", command.len()).unwrap();
        command.iter().for_each(|arg| write!(wanted, "${}\r\n{arg}\r\n", arg.len()).unwrap());
    }
    let mut got = vec![0; wanted.len()];
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.read_exact(&mut got).unwrap();
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&wanted));
}

fn say(stream: &mut TcpStream, reply: &str) {
    stream.write_all(reply.as_bytes()).unwrap();
}

fn wait_for_end(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "nothing more is sent");
}

#[test]
fn a_connection_is_used_again_and_selects_only_when_it_must() {
    let target = target(&[|stream| {
        expect(stream, &[&["SELECT", "3"]]);
        say(stream, "+OK\r\n");
        expect(stream, &[&["RESTORE", "a", "0", "value 0"], &["RESTORE", "b", "0", "value 1"]]);
        say(stream, "+OK\r\n+OK\r\n");
        expect(stream, &[&["RESTORE", "c", "0", "value 0", "REPLACE"]]);
        say(stream, "+OK\r\n");
        expect(stream, &[&["AUTH", "me", "secret"], &["SELECT", "4"]]);
        say(stream, "+OK\r\n+OK\r\n");
        expect(stream, &[&["RESTORE", "d", "0", "value 0"]]);
        say(stream, "+OK\r\n");
    }]);
    let migrator = migrator();
    assert_eq!(
        send(&migrator, job(&target, 3, &["a", "b"])),
        Delivery { acknowledged: vec![0, 1], failure: None }
    );
    assert_eq!(migrator.idle_links(), 1);
    let replacing = Job { replace: true, ..job(&target, 3, &["c"]) };
    assert_eq!(send(&migrator, replacing).failure, None);
    let credentials = Credentials { username: Some(b"me".to_vec()), password: b"secret".to_vec() };
    let job = Job { credentials: Some(credentials), ..job(&target, 4, &["d"]) };
    assert_eq!(send(&migrator, job).failure, None);
    assert_eq!(migrator.idle_links(), 1);
}

#[test]
fn nothing_is_restored_when_the_password_or_the_database_is_refused() {
    let target = target(&[|stream| {
        expect(stream, &[&["AUTH", "wrong"], &["SELECT", "0"]]);
        say(stream, "-WRONGPASS no\r\n-NOAUTH no\r\n");
        expect(stream, &[&["SELECT", "99"]]);
        say(stream, "-ERR DB index is out of range\r\n");
        wait_for_end(stream);
    }]);
    let migrator = migrator();
    let credentials = Credentials { username: None, password: b"wrong".to_vec() };
    let refused = |text: &str| Delivery::failed(Failure::Refused(text.as_bytes().to_vec()));
    let with_password = Job { credentials: Some(credentials), ..job(&target, 0, &["a"]) };
    assert_eq!(send(&migrator, with_password), refused("WRONGPASS no"));
    assert_eq!(send(&migrator, job(&target, 99, &["a"])), refused("ERR DB index is out of range"));
}

#[test]
fn only_acknowledged_keys_count_and_the_first_error_is_told() {
    let target = target(&[|stream| {
        expect(stream, &[&["SELECT", "0"]]);
        say(stream, "+OK\r\n");
        say(stream, "+OK\r\n-BUSYKEY one\r\n+OK\r\n-BUSYKEY two\r\n");
        expect(stream, &[&["RESTORE", "a", "0", "value 0"]]);
        std::thread::sleep(SHORT);
    }]);
    let delivery = send(&migrator(), job(&target, 0, &["a", "b", "c", "d"]));
    assert_eq!(delivery.acknowledged, [0, 2]);
    assert_eq!(delivery.failure, Some(Failure::Refused(b"BUSYKEY one".to_vec())));
}

#[test]
fn a_connection_that_has_ended_meanwhile_is_made_anew() {
    let target = target(&[
        |stream| {
            expect(stream, &[&["SELECT", "0"]]);
            say(stream, "+OK\r\n+OK\r\n");
            expect(stream, &[&["RESTORE", "a", "0", "value 0"]]);
        },
        |stream| {
            expect(stream, &[&["SELECT", "0"]]);
            say(stream, "+OK\r\n+OK\r\n");
            expect(stream, &[&["RESTORE", "b", "0", "value 0"]]);
            wait_for_end(stream);
        },
    ]);
    let migrator = migrator();
    assert_eq!(send(&migrator, job(&target, 0, &["a"])).acknowledged, [0]);
    std::thread::sleep(SHORT);
    assert_eq!(send(&migrator, job(&target, 0, &["b"])).acknowledged, [0]);
}

#[test]
fn a_connection_that_ends_in_the_middle_is_not_tried_again() {
    let target = target(&[|stream| {
        expect(stream, &[&["SELECT", "0"]]);
        say(stream, "+OK\r\n+OK\r\n");
        expect(stream, &[&["RESTORE", "a", "0", "value 0"], &["RESTORE", "b", "0", "value 1"]]);
    }]);
    let migrator = migrator();
    let delivery = send(&migrator, job(&target, 0, &["a", "b"]));
    assert_eq!(delivery, Delivery { acknowledged: vec![0], failure: Some(Failure::Reading) });
    assert_eq!(migrator.idle_links(), 0);
}

#[test]
fn a_target_that_says_nothing_or_does_not_read_is_given_up() {
    let target = target(&[
        |stream| {
            expect(stream, &[&["SELECT", "0"]]);
            wait_for_end(stream);
        },
        |stream| {
            expect(stream, &[&["SELECT", "0"]]);
            say(stream, "+OK\r\n");
            std::thread::sleep(SHORT * 10);
        },
    ]);
    let migrator = migrator();
    let silent = Job { timeout: SHORT, ..job(&target, 0, &["a"]) };
    assert_eq!(send(&migrator, silent), Delivery::failed(Failure::Reading));
    let mut huge = Job { timeout: SHORT, ..job(&target, 0, &["a"]) };
    huge.packed[0].payload = vec![b'x'; 32 << 20];
    assert_eq!(send(&migrator, huge), Delivery::failed(Failure::Writing));
}

#[test]
fn who_speaks_another_protocol_has_acknowledged_nothing() {
    fn web(stream: &mut TcpStream) {
        say(stream, "HTTP/1.1 400 Bad Request\r\n\r\n");
        std::thread::sleep(SHORT);
    }
    let delivery = send(&migrator(), job(&target(&[web, web]), 0, &["a"]));
    assert_eq!(delivery, Delivery::failed(Failure::Reading));
}

#[test]
fn nobody_listening_is_a_failure_to_connect() {
    let delivery = send(&migrator(), job(&target(&[]), 0, &["a"]));
    assert_eq!(delivery, Delivery::failed(Failure::Connecting));
    let nowhere = Target { host: b"127.0.0.1".to_vec(), port: b"no port".to_vec() };
    assert_eq!(send(&migrator(), job(&nowhere, 0, &["a"])), Delivery::failed(Failure::Connecting));
}

#[test]
fn transfers_for_one_target_go_one_after_the_other_and_do_not_hold_up_those_for_others() {
    let slow = target(&[|stream| {
        expect(stream, &[&["SELECT", "0"]]);
        say(stream, "+OK\r\n");
        expect(stream, &[&["RESTORE", "a", "0", "value 0"]]);
        std::thread::sleep(SHORT * 3);
        say(stream, "+OK\r\n");
        expect(stream, &[&["RESTORE", "b", "0", "value 0"]]);
        say(stream, "+OK\r\n");
    }]);
    let quick = target(&[|stream| {
        expect(stream, &[&["SELECT", "0"]]);
        say(stream, "+OK\r\n+OK\r\n");
        expect(stream, &[&["RESTORE", "c", "0", "value 0"]]);
    }]);
    let migrator = migrator();
    let first = begin(&migrator, job(&slow, 0, &["a"]));
    let second = begin(&migrator, job(&slow, 0, &["b"]));
    assert_eq!(send(&migrator, job(&quick, 0, &["c"])).acknowledged, [0]);
    assert!(first.try_recv().is_err() && second.try_recv().is_err(), "the slow target holds up the others");
    assert_eq!(second.recv_timeout(PATIENCE).unwrap().acknowledged, [0]);
    assert_eq!(first.try_recv().unwrap().acknowledged, [0]);
    assert_eq!(migrator.state().waiting_count, 0);
}

#[test]
fn more_targets_than_tasks_are_served_in_the_end_and_few_connections_are_kept() {
    let migrator = migrator();
    let targets: Vec<Target> = (0..TARGETS_MAX + 8)
        .map(|_| {
            target(&[|stream| {
                expect(stream, &[&["SELECT", "0"]]);
                std::thread::sleep(SHORT);
                say(stream, "+OK\r\n+OK\r\n");
                expect(stream, &[&["RESTORE", "a", "0", "value 0"]]);
            }])
        })
        .collect();
    let all: Vec<_> = targets.iter().map(|target| begin(&migrator, job(target, 0, &["a"]))).collect();
    assert_eq!(migrator.state().busy.len(), TARGETS_MAX);
    for is_done in all {
        assert_eq!(is_done.recv_timeout(PATIENCE).unwrap().acknowledged, [0]);
    }
    assert_eq!(migrator.idle_links(), LINKS_MAX);
}

#[test]
fn a_connection_is_closed_when_nobody_has_used_it_for_long() {
    let target = target(&[|stream| {
        expect(stream, &[&["SELECT", "0"]]);
        say(stream, "+OK\r\n+OK\r\n");
        expect(stream, &[&["RESTORE", "a", "0", "value 0"]]);
        wait_for_end(stream);
    }]);
    let migrator = migrator();
    send(&migrator, job(&target, 0, &["a"]));
    migrator.close_idle_links();
    assert_eq!(migrator.idle_links(), 1);
    migrator.state().links[0].since -= LINK_IDLE_MAX;
    migrator.close_idle_links();
    assert_eq!(migrator.idle_links(), 0);
}
