//! CLIENT PAUSE: what it holds back goes on in the order in which it came, whichever shards the clients are on, and before what is sent
//! after the reply to CLIENT UNPAUSE. The order is that of arrival: each command is known to be held before the next one is sent.

mod support;

use support::{eventually, info, name_on, Client, Server, Value};

const SHARDS: [usize; 3] = [1, 2, 3];
const CLIENTS: usize = 24;

/// Has each client send its command while clients may not write.
fn send_while_paused(server: &Server, commands: &[Vec<String>]) -> (Client, Vec<Client>) {
    let mut watcher = server.client();
    assert!(watcher.call(&["CLIENT", "PAUSE", "600000", "WRITE"]).is_ok());
    let mut clients: Vec<Client> = commands.iter().map(|_| server.client()).collect();
    for (number, (client, command)) in clients.iter_mut().zip(commands).enumerate() {
        client.send(command);
        assert!(eventually(|| info(&mut watcher, "blocked_clients") == number as u64 + 1), "{command:?}");
    }
    (watcher, clients)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn clients_that_a_pause_held_go_on_in_the_order_in_which_they_came() {
    for shards in SHARDS {
        let server = Server::with_shards(shards);
        for owner in 0..shards {
            let key = name_on(owner, shards, 1);
            let commands: Vec<_> = (0..CLIENTS).map(|n| words(&["RPUSH", &key, &n.to_string()])).collect();
            let (mut watcher, mut clients) = send_while_paused(&server, &commands);
            assert!(watcher.call(&["CLIENT", "UNPAUSE"]).is_ok());
            // At once.
            let list = watcher.call(&["LRANGE", &key, "0", "-1"]);
            let wanted: Vec<Value> = (0..CLIENTS).map(|n| Value::bulk(n.to_string())).collect();
            assert_eq!(list, Value::Array(wanted), "{shards} shards, key on {owner}");
            for (number, client) in clients.iter_mut().enumerate() {
                assert_eq!(client.receive(), Value::Integer(number as i64 + 1));
            }
        }
    }
}

/// Commands for all shards and for one take their turns.
#[test]
fn commands_over_several_shards_keep_their_places_among_the_others() {
    for shards in SHARDS {
        let server = Server::with_shards(shards);
        let keys: Vec<String> = (0..shards.max(2)).map(|shard| name_on(shard, shards, 2 + shard)).collect();
        let commands: Vec<_> = (0..CLIENTS)
            .map(|n| match n % 4 {
                0 => words(&["SET", &keys[n % keys.len()], &n.to_string()]),
                1 => [words(&["DEL"]), keys.clone()].concat(),
                2 => {
                    let pairs = keys.iter().flat_map(|key| [key.clone(), n.to_string()]);
                    words(&["MSET"]).into_iter().chain(pairs).collect()
                }
                _ => words(&["APPEND", &keys[n % keys.len()], "x"]),
            })
            .collect();
        let (mut watcher, mut clients) = send_while_paused(&server, &commands);
        assert!(watcher.call(&["CLIENT", "UNPAUSE"]).is_ok());
        let held: Vec<Value> = clients.iter_mut().map(Client::receive).collect();
        let values: Vec<Value> = keys.iter().map(|key| watcher.call(&["GET", key])).collect();
        // The same, by one client.
        let other = Server::with_shards(1);
        let mut client = other.client();
        let wanted: Vec<Value> = commands.iter().map(|command| client.call(command)).collect();
        assert_eq!(held, wanted, "{shards} shards");
        assert_eq!(values, keys.iter().map(|key| client.call(&["GET", key])).collect::<Vec<_>>());
    }
}

/// A pause that begins before all have gone on holds them again, at their places.
#[test]
fn who_leaves_or_meets_another_pause_does_not_hold_up_the_others() {
    for shards in SHARDS {
        let server = Server::with_shards(shards);
        let key = name_on(0, shards, 7);
        let commands: Vec<_> = (0..CLIENTS).map(|n| words(&["RPUSH", &key, &n.to_string()])).collect();
        let (mut watcher, clients) = send_while_paused(&server, &commands);
        // Every third leaves.
        let mut clients: Vec<Option<Client>> = clients.into_iter().map(Some).collect();
        clients.iter_mut().step_by(3).for_each(|client| *client = None);
        let left = clients.iter().flatten().count() as u64;
        assert!(eventually(|| info(&mut watcher, "blocked_clients") == left), "{shards} shards");
        // The second pause is sent with the end of the first.
        let requests = [words(&["CLIENT", "UNPAUSE"]), words(&["CLIENT", "PAUSE", "600000", "WRITE"])];
        let replies = watcher.pipeline(&requests);
        assert!(replies.iter().all(Value::is_ok), "{replies:?}");
        assert!(watcher.call(&["CLIENT", "UNPAUSE"]).is_ok());
        let wanted: Vec<Value> =
            (0..CLIENTS).filter(|n| n % 3 != 0).map(|n| Value::bulk(n.to_string())).collect();
        assert_eq!(watcher.call(&["LRANGE", &key, "0", "-1"]), Value::Array(wanted), "{shards} shards");
        assert_eq!(info(&mut watcher, "blocked_clients"), 0);
        clients.iter_mut().flatten().for_each(|client| drop(client.receive()));
    }
}
