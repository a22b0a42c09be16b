//! Publish/subscribe between clients of any shards: who gets what, in which order, and what is counted.

mod support;

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use support::{name_on, within, Client, Server, Value};

const SHARDS: [usize; 3] = [1, 2, 4];
const PATIENCE: Duration = Duration::from_secs(10);

fn everywhere(options: &[&str], test: impl Fn(&Server, usize)) {
    for shards in SHARDS {
        eprintln!("{shards} shards");
        let count = shards.to_string();
        test(&Server::start(&[&["--shards", &count], options].concat()), shards);
    }
}

/// What a subscriber has got: its parts, as text.
fn received(client: &mut Client) -> Vec<String> {
    client
        .receive()
        .elements()
        .iter()
        .map(|part| if part.is_null() { "-".into() } else { part.text() })
        .collect()
}

fn subscriber(server: &Server, what: &str, names: &[&str]) -> Client {
    let mut client = server.client();
    client.send(&[&[what], names].concat());
    for (index, name) in names.iter().enumerate() {
        assert_eq!(received(&mut client), [&what.to_lowercase(), *name, &(index + 1).to_string()]);
    }
    client
}

fn publish(client: &mut Client, channel: &str, message: &str) -> i64 {
    client.call(&["PUBLISH", channel, message]).integer()
}

/// The elements of an array as text.
fn texts(reply: &Value) -> Vec<String> {
    let mut texts: Vec<String> = reply.elements().iter().map(Value::text).collect();
    texts.sort();
    texts
}

#[test]
fn a_message_reaches_all_who_listen_on_every_shard_and_they_are_counted() {
    everywhere(&[], |server, shards| {
        let mut publisher = server.client();
        for owner in 0..shards {
            let channel = name_on(owner, shards, 0);
            assert_eq!(publish(&mut publisher, &channel, "nobody"), 0);
            // More clients than shards: every shard has some.
            let mut listeners: Vec<Client> =
                (0..8).map(|_| subscriber(server, "SUBSCRIBE", &[&channel, "other"])).collect();
            let mut by_pattern = subscriber(server, "PSUBSCRIBE", &["name*", "n?me*", "sport*"]);
            assert_eq!(publish(&mut publisher, &channel, "hello"), 10);
            for listener in &mut listeners {
                assert_eq!(received(listener), ["message", &channel, "hello"]);
            }
            let mut patterns = [received(&mut by_pattern), received(&mut by_pattern)];
            patterns.sort();
            assert_eq!(patterns[0], ["pmessage", "n?me*", &channel, "hello"]);
            assert_eq!(patterns[1], ["pmessage", "name*", &channel, "hello"]);
            let counts = publisher.call(&["PUBSUB", "NUMSUB", &channel, "none", "other"]);
            assert_eq!(
                texts(&counts),
                texts(&Value::Array([&channel, "8", "none", "0", "other", "8"].map(Value::bulk).to_vec()))
            );
            assert_eq!(texts(&publisher.call(&["PUBSUB", "CHANNELS"])), [channel.as_str(), "other"]);
            assert_eq!(texts(&publisher.call(&["PUBSUB", "CHANNELS", "o*r"])), ["other"]);
            assert_eq!(publisher.call(&["PUBSUB", "NUMPAT"]).integer(), 3);
            listeners[0].send(&["UNSUBSCRIBE"]);
            let mut ended = [received(&mut listeners[0]), received(&mut listeners[0])];
            ended.sort_by_key(|parts| parts[2].clone());
            assert_eq!((&*ended[0][2], &*ended[1][2]), ("0", "1"));
            assert_eq!(publish(&mut publisher, &channel, "again"), 9);
            drop((listeners, by_pattern));
            // Nothing says when a server has noticed that clients are gone, and each shard notices for itself.
            assert!(within(PATIENCE, || publish(&mut publisher, &channel, "gone") == 0));
            assert!(within(PATIENCE, || texts(&publisher.call(&["PUBSUB", "CHANNELS"])).is_empty()));
            assert!(within(PATIENCE, || publisher.call(&["PUBSUB", "NUMPAT"]).integer() == 0));
        }
    });
}

#[test]
fn shard_channels_are_a_world_of_their_own() {
    everywhere(&[], |server, shards| {
        let (channel, mut publisher) = (name_on(1, shards, 0), server.client());
        let mut plain = subscriber(server, "SUBSCRIBE", &[&channel]);
        let mut by_pattern = subscriber(server, "PSUBSCRIBE", &["*"]);
        let mut sharded = subscriber(server, "SSUBSCRIBE", &[&channel]);
        assert_eq!(publisher.call(&["SPUBLISH", &channel, "sharded"]).integer(), 1);
        assert_eq!(publish(&mut publisher, &channel, "plain"), 2);
        assert_eq!(received(&mut sharded), ["smessage", &channel, "sharded"]);
        assert_eq!(received(&mut plain), ["message", &channel, "plain"]);
        assert_eq!(received(&mut by_pattern), ["pmessage", "*", &channel, "plain"]);
        assert_eq!(texts(&publisher.call(&["PUBSUB", "SHARDCHANNELS"])), [channel.as_str()]);
        assert_eq!(publisher.call(&["PUBSUB", "SHARDNUMSUB", &channel]).elements()[1].integer(), 1);
        sharded.send(&["SUNSUBSCRIBE", &channel]);
        assert_eq!(received(&mut sharded), ["sunsubscribe", &channel, "0"]);
        sharded.send(&["SUNSUBSCRIBE"]);
        assert_eq!(received(&mut sharded), ["sunsubscribe", "-", "0"]);
    });
}

/// Writers on all shards publish to one channel: every subscriber sees the same order, and each writer's own.
#[test]
fn all_subscribers_of_a_channel_see_one_order() {
    const WRITERS: usize = 6;
    const MESSAGES: usize = 400;
    everywhere(&[], |server, shards| {
        let channel = name_on(shards - 1, shards, 7);
        let mut listeners: Vec<Client> = (0..6)
            .map(|number| match number % 2 {
                0 => subscriber(server, "SUBSCRIBE", &[&channel]),
                _ => subscriber(server, "PSUBSCRIBE", &["name7*"]),
            })
            .collect();
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (channel, mut client) = (channel.clone(), server.client());
                scope.spawn(move || {
                    let requests: Vec<Vec<String>> = (0..MESSAGES)
                        .map(|number| vec!["PUBLISH".into(), channel.clone(), format!("{writer} {number}")])
                        .collect();
                    for reply in requests.chunks(16).flat_map(|chunk| client.pipeline(chunk)) {
                        assert_eq!(reply.integer(), 6);
                    }
                });
            }
        });
        let mut heard = listeners.iter_mut().map(|listener| -> Vec<String> {
            (0..WRITERS * MESSAGES).map(|_| received(listener).pop().unwrap_or_default()).collect()
        });
        let first = heard.next().expect("somebody listens");
        let mut next: HashMap<&str, usize> = HashMap::new();
        for message in &first {
            let (writer, number) = message.split_once(' ').expect("a writer and a number");
            let expected = next.entry(writer).or_default();
            assert_eq!(number.parse(), Ok(*expected), "{writer}");
            *expected += 1;
        }
        for other in heard {
            assert_eq!(other, first);
        }
    });
}

#[test]
fn what_is_published_behind_the_answer_to_a_subscription_arrives() {
    everywhere(&[], |server, shards| {
        let mut publisher = server.client();
        for round in 0..200 {
            let channel = name_on(round, shards, round);
            let mut listener = server.client();
            listener.send(&["SUBSCRIBE", &channel]);
            assert_eq!(received(&mut listener), ["subscribe", &channel, "1"]);
            assert_eq!(publish(&mut publisher, &channel, "x"), 1, "round {round}");
            assert_eq!(received(&mut listener), ["message", &channel, "x"]);
        }
    });
}

/// A counter goes round over channels of all shards, published by one client after the other: whoever listens to all of
/// them hears it in order.
#[test]
fn what_is_published_after_an_answer_comes_after_it_on_any_channel() {
    everywhere(&[], |server, shards| {
        let channels: Vec<String> = (0..4).map(|shard| name_on(shard, shards, 90 + shard)).collect();
        let names: Vec<&str> = channels.iter().map(String::as_str).collect();
        let mut listeners: Vec<Client> = (0..4)
            .map(|number| match number % 2 {
                0 => subscriber(server, "SUBSCRIBE", &names),
                _ => subscriber(server, "PSUBSCRIBE", &["name9*"]),
            })
            .collect();
        let mut publishers: Vec<Client> = (0..3).map(|_| server.client()).collect();
        for number in 0..2000 {
            let count = publish(&mut publishers[number % 3], names[number % 4], &number.to_string());
            assert_eq!(count, 4);
        }
        // The same in transactions.
        for number in 500..700 {
            let mut requests = vec![vec!["MULTI".to_owned()]];
            requests.extend((0..4).map(|part| {
                vec!["PUBLISH".to_owned(), channels[part].clone(), (number * 4 + part).to_string()]
            }));
            requests.push(vec!["EXEC".to_owned()]);
            publishers[number % 3].pipeline(&requests);
        }
        for listener in &mut listeners {
            for number in 0..2800 {
                assert_eq!(received(listener).pop(), Some(number.to_string()));
            }
        }
    });
}

#[test]
fn an_older_client_that_listens_may_do_little_else_and_a_newer_one_all() {
    everywhere(&[], |server, shards| {
        let channel = name_on(1, shards, 0);
        let mut old = subscriber(server, "SUBSCRIBE", &[&channel]);
        let refused = old.call(&["GET", "a"]).text();
        assert!(refused.starts_with("ERR Can't execute 'get': only (P|S)SUBSCRIBE"), "{refused}");
        let info = old.call(&["CLIENT", "INFO"]).text();
        assert!(info.starts_with("ERR Can't execute 'client|info'"), "{info}");
        old.send(&["PING"]);
        assert_eq!(received(&mut old), ["pong", ""]);
        old.send(&["PING", "a"]);
        assert_eq!(received(&mut old), ["pong", "a"]);
        assert_eq!(old.call(&["RESET"]).text(), "RESET");
        assert!(old.call(&["GET", "a"]).is_null(), "nothing is subscribed to any more");
        assert_eq!(publish(&mut old, &channel, "x"), 0);

        let mut new = server.client3();
        new.send(&["SUBSCRIBE", &channel]);
        assert_eq!(received(&mut new), ["subscribe", &channel, "1"]);
        assert!(new.call(&["SET", "a", "1"]).is_ok());
        assert!(new.call(&["PING"]).text() == "PONG");
        let line = new.call(&["CLIENT", "INFO"]).text();
        assert!(line.contains(" flags=P ") && line.contains(" sub=1 psub=0 ssub=0 "), "{line}");
        let listed = server.client().call(&["CLIENT", "LIST", "TYPE", "PUBSUB"]).text();
        assert_eq!(listed.lines().count(), 1, "{listed}");
        // Its own message comes behind the answer.
        new.send(&["PUBLISH", &channel, "to itself"]);
        assert_eq!(new.receive().integer(), 1);
        assert_eq!(received(&mut new), ["message", &channel, "to itself"]);
        assert_eq!(server.client().call(&["CLIENT", "KILL", "TYPE", "pubsub"]).integer(), 1);
        assert!(new.try_receive().is_err());
    });
}

#[test]
fn messages_reach_a_client_that_is_blocked_or_hears_no_replies() {
    everywhere(&[], |server, shards| {
        let (channel, mut publisher) = (name_on(1, shards, 0), server.client());
        let mut blocked = server.client3();
        blocked.send(&["SUBSCRIBE", &channel]);
        assert_eq!(received(&mut blocked), ["subscribe", &channel, "1"]);
        for key in ["a", "b", "c", "d"] {
            blocked.send(&["BLPOP", key, "0"]);
            assert!(within(PATIENCE, || {
                publisher.call(&["INFO", "clients"]).text().contains("blocked_clients:1")
            }));
            assert_eq!(publish(&mut publisher, &channel, "wake up"), 1);
            assert_eq!(received(&mut blocked), ["message", &channel, "wake up"]);
            assert_eq!(publisher.call(&["RPUSH", key, "x"]).integer(), 1);
            assert_eq!(texts(&blocked.receive()), [key, "x"]);
        }
        let mut silent = server.client();
        silent.send(&["CLIENT", "REPLY", "OFF"]);
        silent.send(&["SUBSCRIBE", &channel]);
        assert_eq!(received(&mut silent), ["subscribe", &channel, "1"]);
        assert_eq!(publish(&mut publisher, &channel, "heard"), 2);
        assert_eq!(received(&mut silent), ["message", &channel, "heard"]);
    });
}

#[test]
fn transactions_publish_and_subscribe() {
    everywhere(&[], |server, shards| {
        let channels: Vec<String> = (0..4).map(|shard| name_on(shard, shards, shard)).collect();
        let names: Vec<&str> = channels.iter().map(String::as_str).collect();
        let mut listener = subscriber(server, "SUBSCRIBE", &names);
        let mut client = server.client3();
        assert!(client.call(&["MULTI"]).is_ok());
        for (number, channel) in names.iter().enumerate() {
            client.call(&["SET", &format!("key:{number}"), "x"]);
            client.call(&["PUBLISH", channel, "from a transaction"]);
        }
        let replies = client.call(&["EXEC"]);
        assert_eq!(replies.elements().iter().filter(|reply| **reply == Value::Integer(1)).count(), 4);
        let mut heard: Vec<String> = (0..4).map(|_| received(&mut listener)[1].clone()).collect();
        heard.sort();
        let mut expected = channels.clone();
        expected.sort();
        assert_eq!(heard, expected);
    });
}

#[test]
fn events_of_keys_come_to_subscribers_on_any_shard() {
    everywhere(&["--notify-keyspace-events", "KEA"], |server, shards| {
        let mut client = server.client();
        for shard in 0..shards {
            let key = name_on(shard, shards, 3);
            let mut by_key = subscriber(server, "SUBSCRIBE", &[&format!("__keyspace@0__:{key}")]);
            let mut by_event = subscriber(server, "PSUBSCRIBE", &["__keyevent@0__:*"]);
            assert!(client.call(&["SET", &key, "x", "PX", "100"]).is_ok());
            let mut events = Vec::new();
            let until = Instant::now() + PATIENCE;
            while events.len() < 3 && Instant::now() < until {
                events.push(received(&mut by_key)[2].clone());
            }
            assert_eq!(events, ["set", "expire", "expired"]);
            let heard: Vec<Vec<String>> = (0..3).map(|_| received(&mut by_event)).collect();
            for (heard, event) in heard.iter().zip(["set", "expire", "expired"]) {
                assert_eq!(heard[2..], [format!("__keyevent@0__:{event}"), key.clone()]);
            }
        }
    });
}

/// A subscriber that reads nothing is closed when too much waits for it, and the others hear everything.
#[test]
fn a_subscriber_that_does_not_read_is_closed() {
    everywhere(&["--client-output-buffer-limit", "pubsub 2mb 0 0"], |server, shards| {
        let channel = name_on(1, shards, 0);
        let deaf = subscriber(server, "SUBSCRIBE", &[&channel]);
        let mut publisher = server.client();
        let message = "x".repeat(64 * 1024);
        let mut sent = 0;
        assert!(within(PATIENCE, || {
            sent += 1;
            publish(&mut publisher, &channel, &message) == 0
        }));
        assert!(sent > 8, "{sent} messages are less than the limit");
        assert!(server.log().contains("overcoming of output buffer limits"), "{}", server.log());
        drop(deaf);
    });
}

const OVERRUN_MESSAGES: usize = 10;
const OVERRUN_MESSAGE_BYTES: usize = 8 << 20;

/// Publishes more than may wait for shard 1 of two, while that runs a transaction of so many commands. Returns how many messages each of
/// four subscribers has heard, if somebody was closed.
fn publish_to_busy_shard(commands: usize) -> Option<Vec<usize>> {
    let server = Server::start(&["--shards", "2", "--client-output-buffer-limit", "pubsub 0 0 0"]);
    let (channel, busy_key) = (name_on(0, 2, 0), name_on(1, 2, 0));
    let mut admin = server.client();
    assert_eq!(admin.call(&["SETRANGE", &busy_key, "67108863", "x"]).integer(), 1 << 26);
    let subscribers: Vec<Client> = (0..4).map(|_| subscriber(&server, "SUBSCRIBE", &[&channel])).collect();
    let publishers: Vec<Client> = (0..2).map(|_| server.client()).collect();
    let hearing: Vec<_> = subscribers
        .into_iter()
        .map(|mut subscriber| {
            subscriber.set_timeout(6 * PATIENCE);
            thread::spawn(move || (0..).take_while(|_| subscriber.try_receive().is_ok()).count())
        })
        .collect();

    let mut busy = server.client();
    assert!(busy.call(&["MULTI"]).is_ok());
    for _ in 0..commands {
        assert_eq!(busy.call(&["BITCOUNT", &busy_key]).text(), "QUEUED");
    }
    busy.send(&["EXEC"]);
    let publishing: Vec<_> = publishers
        .into_iter()
        .map(|mut publisher| {
            publisher.set_timeout(6 * PATIENCE);
            let (channel, message) = (channel.clone(), "x".repeat(OVERRUN_MESSAGE_BYTES));
            thread::spawn(move || {
                for _ in 0..OVERRUN_MESSAGES {
                    publish(&mut publisher, &channel, &message);
                }
            })
        })
        .collect();
    publishing.into_iter().for_each(|thread| thread.join().expect("publishers do not panic"));
    busy.set_timeout(6 * PATIENCE);
    assert_eq!(busy.receive().elements().len(), commands);
    let is_overrun = within(Duration::from_secs(1), || server.log().contains("cannot reach fast enough"));
    // Those who are closed do not count any more, and the others hear all.
    let left = publish(&mut admin, &channel, "the last");
    assert_eq!(is_overrun, left < 4, "{left}");
    thread::sleep(Duration::from_millis(500));
    drop(server);
    let heard = hearing.into_iter().map(|thread| thread.join().expect("subscribers do not panic"));
    let mut heard: Vec<usize> = heard.collect();
    heard.sort_unstable();
    eprintln!("{commands} commands: heard {heard:?}");
    is_overrun.then_some(heard)
}

/// Subscribers of a shard that takes nothing in are closed when too much waits for them. Those of other shards get everything.
#[test]
fn subscribers_whose_shard_takes_nothing_in_are_closed() {
    // How long that takes is the machine's affair.
    let heard = [50, 200, 800].into_iter().find_map(publish_to_busy_shard).expect("a busy shard is overrun");
    assert!(heard[0] < 2 * OVERRUN_MESSAGES, "somebody was closed: {heard:?}");
    assert_eq!(heard[3], 2 * OVERRUN_MESSAGES + 1, "somebody heard everything: {heard:?}");
}

/// Whoever has the answer to UNSUBSCRIBE, RESET or QUIT, has seen that a subscriber's connection is closed, or has closed it by CLIENT KILL
/// or a change of its user, publishes to nobody.
#[test]
fn a_subscriber_that_was_seen_to_leave_is_not_counted() {
    const ROUNDS: usize = 720;
    everywhere(&[], |server, _| {
        let mut publishers: Vec<Client> = (0..4).map(|_| server.client()).collect();
        for round in 0..ROUNDS {
            let channel = format!("channel:{round}");
            let pattern = format!("{channel}*");
            let (subscribe, publish, name, unsubscribe) = match round % 3 {
                0 => ("SUBSCRIBE", "PUBLISH", &channel, "UNSUBSCRIBE"),
                1 => ("PSUBSCRIBE", "PUBLISH", &pattern, "PUNSUBSCRIBE"),
                _ => ("SSUBSCRIBE", "SPUBLISH", &channel, "SUNSUBSCRIBE"),
            };
            let publisher = &mut publishers[round % 4];
            let mut leaving = server.client();
            let how = round / 3 % 8;
            let id = leaving.call(&["CLIENT", "ID"]).integer().to_string();
            if how > 5 {
                assert!(publisher
                    .call(&["ACL", "SETUSER", "u", "on", "nopass", "+@all", "allchannels"])
                    .is_ok());
                assert!(leaving.call(&["AUTH", "u", ""]).is_ok());
            }
            leaving.call(&[subscribe, name.as_str()]);
            assert_eq!(publisher.call(&[publish, &channel, "first"]), Value::Integer(1), "{subscribe}");
            leaving.receive();
            match how {
                0 => assert_eq!(leaving.call(&[unsubscribe, name.as_str()]).elements().len(), 3),
                1 => assert_eq!(leaving.call(&[unsubscribe]).elements().len(), 3),
                2 => assert_eq!(leaving.call(&["RESET"]).text(), "RESET"),
                3 => assert!(leaving.call(&["QUIT"]).is_ok()),
                5 => assert_eq!(publisher.call(&["CLIENT", "KILL", "ID", &id]), Value::Integer(1)),
                6 => assert_eq!(publisher.call(&["ACL", "DELUSER", "u"]), Value::Integer(1)),
                7 => assert!(publisher.call(&["ACL", "SETUSER", "u", "resetchannels"]).is_ok()),
                _ => {
                    // What is no request ends the connection.
                    leaving.send_raw(b"*a\r\n");
                    leaving.receive_until_closed();
                }
            }
            assert_eq!(
                publisher.call(&[publish, &channel, "second"]),
                Value::Integer(0),
                "{subscribe}, {how}"
            );
        }
    });
}
