//! Users: what each may do, on whichever shard its connections are, from the moment at which it is said.

mod support;

use std::fs;
use std::time::Duration;

use support::{name_on, temporary_dir, within, Client, Server, Value};

const SHARDS: [usize; 3] = [1, 2, 4];
const PATIENCE: Duration = Duration::from_secs(10);
/// So many connections are on all shards.
const CONNECTIONS: usize = 8;

fn everywhere(options: &[&str], test: impl Fn(&Server, usize)) {
    for shards in SHARDS {
        eprintln!("{shards} shards");
        let count = shards.to_string();
        test(&Server::start(&[&["--shards", &count], options].concat()), shards);
    }
}

fn set_user(client: &mut Client, name: &str, rules: &str) {
    let words: Vec<&str> = ["ACL", "SETUSER", name].into_iter().chain(rules.split(' ')).collect();
    assert!(client.call(&words).is_ok(), "{rules}");
}

/// Connections that are logged in, on all shards.
fn logged_in(server: &Server, name: &str) -> Vec<Client> {
    (0..CONNECTIONS)
        .map(|_| {
            let mut client = server.client();
            assert!(client.call(&["AUTH", name, "secret"]).is_ok());
            client
        })
        .collect()
}

fn is_refused(client: &mut Client, request: &[&str], why: &str) {
    assert_eq!(client.call(request).text(), why, "{request:?}");
}

fn is_closed(client: &mut Client) -> bool {
    client.try_call(&["PING"]).is_err()
}

#[test]
fn rules_count_on_every_connection_from_the_answer_on() {
    everywhere(&[], |server, shards| {
        let mut admin = server.client();
        set_user(&mut admin, "eve", "on >secret +@all -@dangerous ~name*");
        let mut clients = logged_in(server, "eve");
        let keys: Vec<String> = (0..4).map(|shard| name_on(shard, shards, shard)).collect();
        for client in &mut clients {
            assert_eq!(client.call(&["ACL", "WHOAMI"]).text(), "eve");
            for key in &keys {
                assert!(client.call(&["SET", key, "x"]).is_ok());
            }
            let all: Vec<&str> = ["MGET"].into_iter().chain(keys.iter().map(String::as_str)).collect();
            assert_eq!(client.call(&all).elements().len(), 4);
            is_refused(client, &["GET", "other"], "NOPERM No permissions to access a key");
            is_refused(client, &["MGET", &keys[0], "other"], "NOPERM No permissions to access a key");
            is_refused(
                client,
                &["FLUSHALL"],
                "NOPERM User eve has no permissions to run the 'flushall' command",
            );
            is_refused(
                client,
                &["CONFIG", "GET", "port"],
                "NOPERM User eve has no permissions to run the 'config|get' command",
            );
        }
        set_user(&mut admin, "eve", "-set");
        for client in &mut clients {
            is_refused(
                client,
                &["SET", &keys[0], "x"],
                "NOPERM User eve has no permissions to run the 'set' command",
            );
        }
        let listed = admin.call(&["CLIENT", "LIST"]).text();
        assert_eq!(listed.matches(" user=eve ").count(), CONNECTIONS, "{listed}");
    });
}

#[test]
fn connections_of_a_deleted_user_are_closed() {
    everywhere(&[], |server, _| {
        let mut admin = server.client();
        set_user(&mut admin, "eve", "on >secret +@all ~* &*");
        set_user(&mut admin, "bob", "on >secret +@all ~* &*");
        let (mut gone, mut stays) = (logged_in(server, "eve"), logged_in(server, "bob"));
        assert_eq!(
            gone[0].call(&["ACL", "DELUSER", "eve", "nobody"]),
            Value::Integer(1),
            "one's own answer arrives"
        );
        assert!(gone.iter_mut().all(is_closed));
        assert!(!stays.iter_mut().any(is_closed));
        assert!(admin.call(&["AUTH", "eve", "secret"]).text().starts_with("WRONGPASS"));
        assert_eq!(admin.call(&["ACL", "WHOAMI"]).text(), "default", "who fails to log in stays who he is");
        // One of the same name is another one.
        set_user(&mut admin, "eve", "on >secret +@all ~* &*");
        assert!(admin.call(&["ACL", "DELUSER", "default"]).is_error());
    });
}

#[test]
fn what_was_queued_is_checked_again_by_exec() {
    everywhere(&[], |server, shards| {
        let mut admin = server.client();
        set_user(&mut admin, "eve", "on >secret +@all ~*");
        let mut clients = logged_in(server, "eve");
        let (mine, yours) = (name_on(0, shards, 0), name_on(1, shards, 1));
        for client in &mut clients {
            assert!(client.call(&["MULTI"]).is_ok());
            for request in [["INCR", &mine], ["INCR", &yours], ["DECR", &yours]] {
                assert_eq!(client.call(&request).text(), "QUEUED");
            }
        }
        set_user(&mut admin, "eve", &format!("-decr resetkeys ~{mine}"));
        for (index, client) in clients.iter_mut().enumerate() {
            let replies = client.call(&["EXEC"]);
            let why = "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This \
                       command is no longer allowed for the following reason: ";
            let texts: Vec<String> = replies.elements()[1..].iter().map(Value::text).collect();
            assert_eq!(replies.elements()[0], Value::Integer(index as i64 + 1));
            assert_eq!(texts[0], format!("{why}no permission to touch the specified keys"));
            assert_eq!(texts[1], format!("{why}no permission to execute the command or subcommand"));
            assert!(client.call(&["MULTI"]).is_ok());
            assert!(client.call(&["DECR", &mine]).text().starts_with("NOPERM"));
            assert!(client.call(&["EXEC"]).text().starts_with("EXECABORT"));
        }
        assert!(admin.call(&["GET", &yours]).is_null());
    });
}

#[test]
fn subscribers_leave_when_they_may_not_hear_any_more() {
    everywhere(&[], |server, _| {
        let mut admin = server.client();
        set_user(&mut admin, "eve", "on >secret +@all &news* &sport");
        let mut clients = logged_in(server, "eve");
        let (some, others) = clients.split_at_mut(CONNECTIONS / 2);
        for client in &mut *some {
            client.call(&["SUBSCRIBE", "news1"]);
            is_refused(client, &["SUBSCRIBE", "other"], "NOPERM No permissions to access a channel");
        }
        for client in &mut *others {
            client.call(&["PSUBSCRIBE", "news*"]);
            is_refused(client, &["PSUBSCRIBE", "new*"], "NOPERM No permissions to access a channel");
        }
        set_user(&mut admin, "eve", "resetchannels &news1 &more");
        assert!(!some.iter_mut().any(is_closed));
        assert!(others.iter_mut().all(is_closed));
        assert_eq!(admin.call(&["PUBLISH", "news1", "x"]), Value::Integer(CONNECTIONS as i64 / 2));
    });
}

#[test]
fn denials_of_all_shards_are_in_one_log() {
    everywhere(&[], |server, _| {
        let mut admin = server.client();
        set_user(&mut admin, "eve", "on >secret +get +acl|whoami ~mine");
        for client in &mut logged_in(server, "eve") {
            client.call(&["GET", "yours"]);
            client.call(&["DEL", "mine"]);
            client.call(&["AUTH", "eve", "wrong"]);
        }
        let entries = admin.call(&["ACL", "LOG"]);
        let shown: Vec<(i64, String, String)> = entries
            .elements()
            .iter()
            .map(|entry| {
                let fields = entry.elements();
                (fields[1].integer(), fields[3].text(), fields[7].text())
            })
            .collect();
        let all = CONNECTIONS as i64;
        let entry = |reason: &str, object: &str| (all, reason.to_owned(), object.to_owned());
        assert_eq!(shown, [entry("auth", "AUTH"), entry("command", "del"), entry("key", "yours")]);
        let stats = admin.call(&["INFO", "stats"]).text();
        for field in ["auth", "cmd", "key"] {
            assert!(stats.contains(&format!("acl_access_denied_{field}:{all}\r\n")), "{stats}");
        }
        assert!(admin.call(&["ACL", "LOG", "RESET"]).is_ok());
        assert!(admin.call(&["ACL", "LOG"]).elements().is_empty());
    });
}

#[test]
fn the_default_user_has_the_password_of_requirepass() {
    everywhere(&["--requirepass", "secret"], |server, _| {
        let mut client = server.client();
        assert!(client.call(&["GET", "x"]).text().starts_with("NOAUTH"));
        assert!(client.call(&["AUTH", "wrong"]).text().starts_with("WRONGPASS"));
        assert!(client.call(&["AUTH", "secret"]).is_ok());
        assert!(client.call(&["CONFIG", "SET", "requirepass", ""]).is_ok());
        assert!((0..CONNECTIONS).all(|_| server.client().call(&["GET", "x"]).is_null()));
        set_user(&mut client, "default", ">other");
        assert!((0..CONNECTIONS).all(|_| server.client().call(&["GET", "x"]).is_error()));
        assert!(client.call(&["GET", "x"]).is_null(), "who is logged in stays so");
        assert!(client.call(&["RESET"]).text() == "RESET" && client.call(&["GET", "x"]).is_error());
    });
}

#[test]
fn users_are_kept_in_a_file_or_in_the_configuration() {
    let dir = temporary_dir();
    let (file, path) = (dir.join("users.acl"), dir.join("users.acl").display().to_string());
    fs::write(&file, "user eve on >secret +get ~mine\n").expect("the folder can be written");
    let mut server = Server::start(&["--shards", "2", "--aclfile", &path]);
    let mut admin = server.client();
    assert_eq!(admin.call(&["ACL", "USERS"]).elements().len(), 2);
    let mut eve = logged_in(&server, "eve");
    set_user(&mut admin, "bob", "on nopass +@all ~*");
    assert!(admin.call(&["ACL", "SAVE"]).is_ok());
    let text = fs::read_to_string(&file).expect("it is there");
    assert!(text.contains("user bob on nopass ") && !text.contains("secret"), "{text}");
    fs::write(&file, "user eve on\nuser eve what\n").expect("the folder can be written");
    let error = admin.call(&["ACL", "LOAD"]).text();
    assert!(error.contains("Duplicate user 'eve' found on line 2"), "{error}");
    assert_eq!(admin.call(&["ACL", "USERS"]).elements().len(), 3, "nothing has changed");
    fs::write(&file, "user bob on nopass +get ~mine\n").expect("the folder can be written");
    assert!(admin.call(&["ACL", "LOAD"]).is_ok());
    assert_eq!(admin.call(&["ACL", "USERS"]).elements().len(), 2);
    assert!(eve.iter_mut().all(is_closed));
    server.stop();
    let _ = fs::remove_dir_all(&dir);

    let dir = temporary_dir();
    let config = dir.join("gyre.conf");
    fs::write(&config, "# mine\nuser eve on >secret +get ~mine\n").expect("the folder can be written");
    let mut server = Server::start(&[config.to_str().expect("a path"), "--shards", "2"]);
    let mut admin = server.client();
    set_user(&mut admin, "bob", "on nopass +@all ~* (+get %R~x)");
    assert!(admin.call(&["ACL", "SAVE"]).text().contains("not configured to use an ACL file"));
    let listed = admin.call(&["ACL", "LIST"]);
    assert!(admin.call(&["CONFIG", "REWRITE"]).is_ok());
    let text = fs::read_to_string(&config).expect("it is there");
    assert!(text.starts_with("# mine\n"), "{text}");
    for user in listed.elements() {
        assert!(text.contains(&user.text()), "{text}");
    }
    server.restart();
    assert_eq!(server.client().call(&["ACL", "LIST"]), listed);
    let _ = fs::remove_dir_all(&dir);
}

#[test]
fn sort_reads_other_keys_only_for_those_who_may_read_all() {
    everywhere(&[], |server, _| {
        let mut admin = server.client();
        admin.call(&["RPUSH", "list", "1", "2"]);
        set_user(&mut admin, "eve", "on >secret +@all ~list");
        for client in &mut logged_in(server, "eve") {
            assert_eq!(client.call(&["SORT", "list"]).elements().len(), 2);
            assert_eq!(client.call(&["SORT", "list", "BY", "nosort"]).elements().len(), 2);
            let denied = "option of SORT denied due to insufficient ACL permissions.";
            is_refused(client, &["SORT", "list", "BY", "w*"], &format!("ERR BY {denied}"));
            is_refused(client, &["SORT_RO", "list", "GET", "w*"], &format!("ERR GET {denied}"));
        }
        set_user(&mut admin, "eve", "%R~*");
        for client in &mut logged_in(server, "eve") {
            assert_eq!(client.call(&["SORT", "list", "BY", "w*", "GET", "v*"]).elements().len(), 2);
        }
        assert!(within(PATIENCE, || admin.call(&["PING"]).text() == "PONG"));
    });
}

#[test]
fn who_waits_is_refused_when_he_may_not_run_his_command_any_more() {
    everywhere(&[], |server, shards| {
        let mut admin = server.client();
        let (mine, yours) = (name_on(0, shards, 0), name_on(1, shards, 1));
        for keys in [vec![&*mine], vec![&*yours], vec![&*mine, &*yours]] {
            set_user(&mut admin, "eve", "reset on >secret +@all ~*");
            let mut clients = logged_in(server, "eve");
            let request: Vec<&str> = ["BLPOP"].into_iter().chain(keys.iter().copied()).chain(["0"]).collect();
            clients.iter_mut().for_each(|client| client.send(&request));
            let waiting = format!("blocked_clients:{CONNECTIONS}\r\n");
            assert!(within(PATIENCE, || admin.call(&["INFO", "clients"]).text().contains(&waiting)));
            set_user(&mut admin, "eve", "resetkeys");
            assert_eq!(admin.call(&["RPUSH", keys[keys.len() - 1], "x"]), Value::Integer(1));
            for client in &mut clients {
                assert_eq!(client.receive().text(), "NOPERM No permissions to access a key");
            }
            assert!(admin.call(&["DEL", keys[keys.len() - 1]]).integer() == 1, "nobody has taken it");
        }
        let log = admin.call(&["ACL", "LOG"]);
        assert!(log.elements().iter().any(|entry| entry.elements()[7].text() == mine), "{log:?}");
    });
}

/// What a request answers by itself, in MULTI, and called by a script and by a function.
fn in_every_way(client: &mut Client, request: &[&str]) -> [String; 4] {
    let direct = format!("{:?}", client.call(request));
    let words: Vec<&str> = request.to_vec();
    client.call(&["MULTI"]);
    let queued = client.call(&words);
    let executed = client.call(&["EXEC"]);
    let in_multi = match executed {
        Value::Array(replies) => format!("{:?}", replies[0]),
        _ => format!("{queued:?}"),
    };
    let script: Vec<&str> =
        ["EVAL", "return redis.call(unpack(ARGV))", "0"].into_iter().chain(words.iter().copied()).collect();
    let by_script = format!("{:?}", client.call(&script));
    let function: Vec<&str> = ["FCALL", "call", "0"].into_iter().chain(words.iter().copied()).collect();
    let by_function = format!("{:?}", client.call(&function));
    [direct, in_multi, by_script, by_function]
}

#[test]
fn what_is_refused_directly_is_refused_in_multi_in_scripts_and_in_functions() {
    everywhere(&[], |server, shards| {
        let mut admin = server.client();
        let library = "#!lua name=l\nredis.register_function('call', function(keys, args) return redis.call(unpack(args)) end)";
        assert_eq!(admin.call(&["FUNCTION", "LOAD", library]).text(), "l");
        set_user(&mut admin, "eve", "on >secret resetchannels ~u:* &mine* +@all -get");
        admin.call(&["RPUSH", "u:l", "secret", "u:l"]);
        admin.call(&["SET", "secret", "hidden"]);
        for mut client in logged_in(server, "eve") {
            for (request, why) in [
                (
                    &["SORT", "u:l", "BY", "nosort", "GET", "*"][..],
                    "GET option of SORT denied due to insufficient ACL permissions.",
                ),
                (
                    &["SORT", "u:l", "GET", "#"],
                    "GET option of SORT denied due to insufficient ACL permissions.",
                ),
                (
                    &["SORT", "u:l", "BY", "u:*", "nonsense"],
                    "BY option of SORT denied due to insufficient ACL permissions.",
                ),
                (
                    &["SORT_RO", "u:l", "BY", "*->f", "LIMIT", "0", "1"],
                    "BY option of SORT denied due to insufficient ACL permissions.",
                ),
                (&["SORT", "u:l", "LIMIT", "x", "1", "GET", "*"], "value is not an integer or out of range"),
                (&["GET", "u:l"], "has no permissions to run the 'get' command"),
                (&["LLEN", "secret"], "No permissions to access a key"),
                (
                    &["SORT", "u:l", "ALPHA", "STORE", "u:x", "STORE", "secret"],
                    "No permissions to access a key",
                ),
                (&["PUBLISH", "other", "x"], "No permissions to access a channel"),
                (&["SPUBLISH", "other", "x"], "No permissions to access a channel"),
            ] {
                for reply in in_every_way(&mut client, request) {
                    assert!(reply.contains(why), "{request:?} on {shards} shards: {reply}");
                }
            }
            for request in [
                &["SORT", "u:l", "BY", "nosort"][..],
                &["SORT_RO", "u:l", "ALPHA"],
                &["PUBLISH", "mine", "x"],
            ] {
                for reply in in_every_way(&mut client, request) {
                    assert!(!reply.starts_with('-'), "{request:?} on {shards} shards: {reply}");
                }
            }
        }
        assert_eq!(admin.call(&["GET", "secret"]).text(), "hidden");
        // Whoever may read every key may, in every way.
        set_user(&mut admin, "all", "on >secret %R~* ~u:* +@all");
        for mut client in logged_in(server, "all") {
            for reply in in_every_way(&mut client, &["SORT", "u:l", "BY", "nosort", "GET", "*"]) {
                assert!(reply.contains("hidden"), "{reply}");
            }
        }
    });
}

#[test]
fn a_transaction_that_logs_in_or_changes_users_goes_on_with_the_new_rights() {
    everywhere(&[], |server, shards| {
        let mut admin = server.client();
        admin.call(&["SET", "secret", "hidden"]);
        admin.call(&["SET", "v1", "shown"]);
        let refused = "ACLs rules changed between the moment the transaction was accumulated";
        for round in 0..CONNECTIONS {
            set_user(&mut admin, "eve", "reset on >secret ~v* +@all");
            let mut client = server.client();
            let script = "return redis.pcall('GET', 'secret')";
            for request in [
                &["MULTI"][..],
                &["AUTH", "eve", "secret"],
                &["GET", "secret"],
                &["GET", "v1"],
                &["EVAL", script, "0"],
            ] {
                client.call(request);
            }
            let replies = client.call(&["EXEC"]);
            let replies = replies.elements();
            assert!(replies[1].text().contains(refused), "{round} on {shards} shards: {replies:?}");
            assert_eq!(replies[2].text(), "shown");
            assert!(replies[3].text().contains("No permissions to access a key"), "{replies:?}");
            // Now it is eve's connection.
            for request in [
                &["MULTI"][..],
                &["ACL", "SETUSER", "eve", "-get", "-eval"],
                &["GET", "v1"],
                &["EVAL", "return 1", "0"],
                &["STRLEN", "v1"],
            ] {
                client.call(request);
            }
            let replies = client.call(&["EXEC"]);
            let replies = replies.elements();
            assert!(
                replies[1].text().contains(refused) && replies[2].text().contains(refused),
                "{replies:?}"
            );
            assert_eq!(replies[3], Value::Integer(5));
        }
    });
}

#[test]
fn a_long_script_is_refused_what_its_user_may_no_longer_do() {
    everywhere(&[], |server, shards| {
        let mut admin = server.client();
        for (change, why) in [
            (&["ACL", "SETUSER", "eve", "-set"][..], "has no permissions to run the 'set' command"),
            (&["ACL", "DELUSER", "eve"], "the user does not exist any more"),
        ] {
            set_user(&mut admin, "eve", "reset on >secret ~v* +@all");
            admin.call(&["DEL", "v-go", "v-outcome"]);
            let mut client = logged_in(server, "eve").swap_remove(0);
            // It waits, with the keys it names, for nothing but time; its rights are taken away meanwhile.
            let script = "redis.call('SET', KEYS[1], 'begun')
                 local reply
                 for round = 1, 1e15 do
                     if round % 1000 == 0 then
                         reply = redis.pcall('SET', KEYS[1], 'begun')
                         if reply.err then return reply.err end
                     end
                 end
                 return 'never refused'";
            client.send(&["EVAL", script, "1", "v-go"]);
            std::thread::sleep(Duration::from_millis(100));
            assert!(!admin.call(change).is_error());
            match client.try_receive() {
                Ok(reply) => assert!(reply.text().contains(why), "{shards} shards: {reply:?}"),
                // The connection of a user who is deleted may be closed first.
                Err(_) => assert_eq!(change[1], "DELUSER"),
            }
            let ended = || admin.call(&["SCRIPT", "KILL"]).text().starts_with("NOTBUSY");
            assert!(within(PATIENCE, ended), "the script goes on without its user's rights");
        }
    });
}
