//! The first thing to break: a server starts, answers on any number of shards, and ends when told.

mod support;

use support::{Server, Value};

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
