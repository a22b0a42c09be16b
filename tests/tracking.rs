//! CLIENT TRACKING between clients of any shards: who is told that a copy is outdated, and in which order with the replies.

mod support;

use std::thread;
use std::time::Duration;

use support::{name_on, within, Client, Server, Value};

const SHARDS: [usize; 3] = [1, 2, 4];
const PATIENCE: Duration = Duration::from_secs(10);

fn everywhere(options: &[&str], test: impl Fn(&Server, [&str; 4])) {
    for shards in SHARDS {
        eprintln!("{shards} shards");
        let count = shards.to_string();
        let keys = [0, 1, 2, 3].map(|shard| name_on(shard, shards, shard));
        let server = Server::start(&[&["--shards", &count], options].concat());
        test(&server, [0, 1, 2, 3].map(|index: usize| keys[index].as_str()));
    }
}

fn tracking(server: &Server, options: &[&str]) -> Client {
    let mut client = server.client3();
    assert!(client.call(&[&["CLIENT", "TRACKING", "ON"], options].concat()).is_ok());
    client
}

/// The keys of an invalidation; "all" when everything is outdated.
fn invalidated(message: &Value) -> Vec<String> {
    let parts = message.elements();
    let (kind, keys) = (parts[0].text(), &parts[parts.len() - 1]);
    assert!(kind == "invalidate" || kind == "message", "{message:?}");
    if keys.is_null() {
        return vec!["all".to_owned()];
    }
    let mut keys: Vec<String> = keys.elements().iter().map(Value::text).collect();
    keys.sort();
    keys
}

fn next(client: &mut Client) -> Vec<String> {
    invalidated(&client.receive())
}

/// Nothing has come but the answer to what is asked now.
fn assert_silent(client: &mut Client) {
    assert_eq!(client.call(&["PING", "nothing else"]).text(), "nothing else");
}

#[test]
fn whoever_has_read_a_key_hears_of_its_next_change_once() {
    everywhere(&[], |server, keys| {
        let (mut reader, mut writer) = (tracking(server, &[]), server.client());
        for key in keys {
            assert!(writer.call(&["SET", key, "1"]).is_ok());
            assert_silent(&mut reader);
            assert_eq!(reader.call(&["GET", key]).text(), "1");
            assert!(writer.call(&["SET", key, "2"]).is_ok());
            // The change has been answered: no later reply comes before the message.
            reader.send(&["PING"]);
            assert_eq!(next(&mut reader), [key]);
            assert_eq!(reader.receive().text(), "PONG");
            assert!(writer.call(&["SET", key, "3"]).is_ok());
            assert_silent(&mut reader);
        }
        // Of several keys, and of a command over several shards.
        assert_eq!(reader.call(&[&["MGET"][..], &keys].concat()).elements().len(), 4);
        assert!(writer.call(&["MSET", keys[0], "a", keys[1], "b", keys[2], "c"]).is_ok());
        let mut told: Vec<String> = (0..3).flat_map(|_| next(&mut reader)).collect();
        told.sort();
        let mut expected = keys[..3].to_vec();
        expected.sort_unstable();
        assert_eq!(told, expected);
        assert!(writer.call(&["RENAME", keys[0], keys[3]]).is_ok());
        assert_eq!(next(&mut reader), [keys[3]], "the other one was not read again");
        // Its own changes, too, behind their answers.
        reader.call(&["GET", keys[1]]);
        assert_eq!(reader.call(&["APPEND", keys[1], "x"]).integer(), 2);
        assert_eq!(next(&mut reader), [keys[1]]);
        // What expires.
        assert!(writer.call(&["SET", keys[2], "x", "PX", "50"]).is_ok());
        reader.call(&["GET", keys[2]]);
        assert_eq!(next(&mut reader), [keys[2]]);
        assert!(reader.call(&["CLIENT", "TRACKING", "OFF"]).is_ok());
        reader.call(&["GET", keys[1]]);
        assert_eq!(writer.call(&["DEL", keys[1]]).integer(), 1);
        assert_silent(&mut reader);
        assert!(writer.call(&["INFO", "stats"]).text().contains("tracking_total_keys:0\r\n"));
    });
}

#[test]
fn everything_is_outdated_when_databases_are_emptied() {
    everywhere(&[], |server, keys| {
        let (mut reader, mut writer) = (tracking(server, &[]), server.client());
        for command in ["FLUSHALL", "FLUSHDB"] {
            keys.iter().for_each(|key| drop(reader.call(&["GET", key])));
            assert!(writer.call(&[command]).is_ok());
            assert_eq!(next(&mut reader), ["all"]);
            assert_silent(&mut reader);
        }
        assert!(reader.call(&["FLUSHALL"]).is_ok());
        assert_eq!(next(&mut reader), ["all"]);
    });
}

#[test]
fn prefixes_are_broadcast_and_own_changes_can_be_left_out() {
    everywhere(&[], |server, keys| {
        let mut all = tracking(server, &["BCAST"]);
        let mut some = tracking(server, &["BCAST", "PREFIX", "name1", "PREFIX", "name2", "NOLOOP"]);
        let mut writer = server.client();
        assert!(writer.call(&["SET", keys[0], "x"]).is_ok());
        assert_eq!(next(&mut all), [keys[0]]);
        assert_silent(&mut some);
        assert!(writer.call(&["SET", keys[1], "x"]).is_ok());
        assert_eq!(next(&mut all), [keys[1]]);
        assert_eq!(next(&mut some), [keys[1]]);
        assert!(some.call(&["SET", keys[2], "x"]).is_ok());
        assert_eq!(next(&mut all), [keys[2]]);
        assert_silent(&mut some);
        let overlapping = some.call(&["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "name"]).text();
        assert!(
            overlapping.starts_with("ERR Prefix 'name' overlaps with an existing prefix 'name"),
            "{overlapping}"
        );
        drop((all, some));
        assert!(within(PATIENCE, || {
            let text = writer.call(&["INFO", "everything"]).text();
            text.contains("tracking_total_prefixes:0\r\n") && text.contains("tracking_clients:0\r\n")
        }));
    });
}

#[test]
fn invalidations_go_where_they_are_redirected_to_as_long_as_somebody_is_there() {
    everywhere(&[], |server, keys| {
        let mut writer = server.client();
        let mut target = server.client();
        let id = target.call(&["CLIENT", "ID"]).integer().to_string();
        target.send(&["SUBSCRIBE", "__redis__:invalidate"]);
        target.receive();
        let mut reader = tracking(server, &["REDIRECT", &id]);
        assert_eq!(reader.call(&["CLIENT", "GETREDIR"]).integer().to_string(), id);
        for key in keys {
            reader.call(&["GET", key]);
            assert!(writer.call(&["SET", key, "x"]).is_ok());
            let message = target.receive();
            assert_eq!(message.elements()[1].text(), "__redis__:invalidate");
            assert_eq!(invalidated(&message), [key]);
        }
        assert_silent(&mut reader);
        drop(target);
        assert!(within(PATIENCE, || !writer.call(&["CLIENT", "LIST"]).text().contains(&format!("id={id} "))));
        reader.call(&["GET", keys[0]]);
        assert!(writer.call(&["SET", keys[0], "y"]).is_ok());
        let broken = reader.receive();
        assert_eq!(broken.elements()[0].text(), "tracking-redir-broken");
        let nobody = reader.call(&["CLIENT", "TRACKING", "ON", "REDIRECT", &id]).text();
        assert_eq!(nobody, "ERR The client ID you want redirect to does not exist");
    });
}

#[test]
fn clients_choose_what_is_remembered() {
    everywhere(&[], |server, keys| {
        let mut writer = server.client();
        let mut opts_in = tracking(server, &["OPTIN"]);
        opts_in.call(&["GET", keys[0]]);
        assert!(opts_in.call(&["CLIENT", "CACHING", "YES"]).is_ok());
        opts_in.call(&["GET", keys[1]]);
        opts_in.call(&["GET", keys[2]]);
        let mut opts_out = tracking(server, &["OPTOUT"]);
        opts_out.call(&["GET", keys[0]]);
        assert!(opts_out.call(&["CLIENT", "CACHING", "NO"]).is_ok());
        opts_out.call(&["GET", keys[1]]);
        for key in keys {
            assert!(writer.call(&["SET", key, "x"]).is_ok());
        }
        assert_eq!(next(&mut opts_in), [keys[1]]);
        assert_silent(&mut opts_in);
        assert_eq!(next(&mut opts_out), [keys[0]]);
        assert_silent(&mut opts_out);
        // For all commands of a transaction.
        assert!(opts_in.call(&["CLIENT", "CACHING", "YES"]).is_ok());
        opts_in.pipeline(&[vec!["MULTI"], vec!["GET", keys[2]], vec!["GET", keys[3]], vec!["EXEC"]]);
        assert!(writer.call(&["MSET", keys[2], "y", keys[3], "y"]).is_ok());
        let mut told: Vec<String> = (0..2).flat_map(|_| next(&mut opts_in)).collect();
        told.sort();
        let mut expected = vec![keys[2], keys[3]];
        expected.sort_unstable();
        assert_eq!(told, expected);
        let info = opts_in.call(&["CLIENT", "TRACKINGINFO"]);
        assert!(format!("{info:?}").contains("optin"), "{info:?}");
    });
}

/// A client that keeps copies never keeps an outdated one: what it holds when everything is at rest is what the server holds.
#[test]
fn copies_are_never_outdated_for_good() {
    const ROUNDS: usize = 3000;
    everywhere(&[], |server, keys| {
        let mut reader = tracking(server, &[]);
        let mut first = server.client();
        keys.iter().for_each(|key| assert!(first.call(&["SET", key, "first"]).is_ok()));
        thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|writer| {
                    let mut client = server.client();
                    scope.spawn(move || {
                        for round in 0..ROUNDS {
                            let (key, value) = (keys[(round * 7 + writer) % 4], format!("{writer}:{round}"));
                            if round % 5 == 0 {
                                client.call(&["MSET", keys[0], &value, keys[1], &value, keys[2], &value]);
                            } else {
                                client.call(&["SET", key, &value]);
                            }
                        }
                    })
                })
                .collect();
            // What it has a copy of; several reads are under way at a time.
            let mut copies: [Option<String>; 4] = Default::default();
            let mut rounds = 0;
            let mut is_last = false;
            loop {
                let missing: Vec<usize> = (0..4).filter(|index| copies[*index].is_none()).collect();
                missing.iter().for_each(|index| reader.send(&["GET", keys[*index]]));
                reader.send(&["PING"]);
                let mut answers = missing.iter();
                loop {
                    let message = reader.receive();
                    match &message {
                        Value::Push(_) => {
                            for key in invalidated(&message) {
                                let index = keys.iter().position(|known| *known == key);
                                copies[index.expect("it was read")] = None;
                            }
                        }
                        _ => match answers.next() {
                            Some(index) => copies[*index] = Some(message.text()),
                            None => break,
                        },
                    }
                }
                rounds += 1;
                if is_last {
                    break;
                }
                is_last = writers.iter().all(thread::ScopedJoinHandle::is_finished);
            }
            assert!(rounds > 10);
            let mut client = server.client();
            for (key, copy) in keys.iter().zip(&copies) {
                if let Some(copy) = copy {
                    assert_eq!(client.call(&["GET", key]).text(), *copy, "{key}");
                }
            }
        });
    });
}
