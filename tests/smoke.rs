//! The first thing to break: a server starts, answers on any number of shards, and ends when told.

mod support;

use std::process::Command;

use support::{free_port, temporary_dir, Server, Value};

#[test]
fn a_server_answers_on_any_number_of_shards_and_ends_in_good_order() {
    for shards in [1, 2, 3, 4] {
        let mut server = Server::with_shards(shards);
        let mut client = server.client();
        assert_eq!(client.call(&["PING"]), Value::Simple("PONG".into()));
        for n in 0..100 {
            assert!(client.call(&["SET".to_owned(), format!("key:{n}"), n.to_string()]).is_ok());
        }
        assert_eq!(client.call(&["DBSIZE"]), Value::Integer(100));
        let values = client.call(&["MGET", "key:1", "key:2", "key:3", "none"]);
        let wanted = [Value::bulk("1"), Value::bulk("2"), Value::bulk("3"), Value::NullBulk];
        assert_eq!(values.elements(), wanted);
        let mut client = server.client3();
        assert_eq!(client.call(&["GET", "none"]), Value::Null);
        let status = server.stop().expect("SIGTERM ends it");
        assert!(status.success(), "{status}\n{}", server.log());
    }
}

#[test]
fn a_killed_server_starts_again_on_its_port() {
    let mut server = Server::with_shards(2);
    server.client().call(&["SET", "a", "1"]);
    server.kill9();
    assert!(!server.is_running());
    server.restart();
    assert_eq!(server.client().call(&["GET", "a"]), Value::NullBulk);
}

#[test]
fn a_log_that_nobody_can_read_stops_the_start_and_says_why() {
    for shards in [1, 2, 4] {
        let dir = temporary_dir();
        let set = "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$3\r\nbar\r\n";
        let text = [set, &set.replace("$3\r\nkey", "$2\r\nkey"), set].concat();
        std::fs::write(dir.join("appendonly.aof"), text).expect("the folder can be written");
        let output = Command::new(env!("CARGO_BIN_EXE_gyre-server"))
            .args([
                "--port",
                &free_port().to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "yes",
            ])
            .args(["--shards", &shards.to_string()])
            .current_dir(&dir)
            .output()
            .expect("the server's binary can be run");
        let log = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{shards} shards: {log}");
        assert!(log.contains("Bad file format reading the append only file"), "{log}");
        assert!(!log.contains("BUG REPORT"), "{log}");
        let _ = std::fs::remove_dir_all(&dir);
    }
}
