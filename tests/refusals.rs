//! What is refused, in Redis's words: inside MULTI and for want of memory, and options whose order decides which error comes.

mod support;

use support::{Server, Value};

fn everywhere(test: impl Fn(&Server)) {
    for shards in [1, 2, 3] {
        eprintln!("{shards} shards");
        test(&Server::with_shards(shards));
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}

#[test]
fn ssubscribe_is_refused_in_a_transaction_and_subscribe_is_not() {
    everywhere(|server| {
        let mut client = server.client();
        for request in ["MULTI", "SSUBSCRIBE c", "SET a 1"] {
            client.call(&words(request));
        }
        let replies = client.call(&["EXEC"]);
        let refused = Value::Error("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client".to_owned());
        assert_eq!(replies.elements(), [refused, Value::ok()]);
        // It is no subscriber, so that RESP2 lets it go on.
        assert_eq!(client.call(&["GET", "a"]).text(), "1");
        for request in ["MULTI", "SUBSCRIBE c"] {
            client.call(&words(request));
        }
        assert!(!client.call(&["EXEC"]).elements()[0].is_error());
    });
}

#[test]
fn the_first_mistake_of_tracking_and_of_the_slow_log_is_the_one_that_is_reported() {
    everywhere(|server| {
        let mut client = server.client();
        let me = client.call(&["CLIENT", "ID"]).text();
        let nobody = "ERR The client ID you want redirect to does not exist";
        let syntax = "ERR syntax error";
        let integer = "ERR value is not an integer or out of range";
        let single = "ERR A client can only redirect to a single other client";
        for (options, error) in [
            ("ON REDIRECT 999999", nobody),
            ("ON REDIRECT -1", nobody),
            ("ON REDIRECT 0", nobody),
            ("ON REDIRECT 999999 REDIRECT ME", nobody),
            ("ON REDIRECT 999999 nonsense", nobody),
            ("ON REDIRECT 999999 OPTIN OPTOUT", nobody),
            ("nonsense REDIRECT 999999", nobody),
            ("OFF REDIRECT 999999", nobody),
            ("ON nonsense REDIRECT 999999", syntax),
            ("ON REDIRECT x", integer),
            ("OFF REDIRECT x", integer),
            ("ON REDIRECT ME REDIRECT x", single),
            ("ON REDIRECT ME nonsense", syntax),
            ("nonsense REDIRECT ME", syntax),
            ("ON REDIRECT ME OPTIN OPTOUT", "ERR You can't specify both OPTIN mode and OPTOUT mode"),
            ("ON REDIRECT", syntax),
        ] {
            let options = options.replace("ME", &me);
            let request = [vec!["CLIENT", "TRACKING"], words(&options)].concat();
            assert_eq!(client.call(&request).text(), error, "{options}");
            assert_eq!(client.call(&["CLIENT", "GETREDIR"]), Value::Integer(-1), "{options}");
        }
        assert!(client.call(&["CLIENT", "TRACKING", "ON", "REDIRECT", &me]).is_ok());
        assert_eq!(client.call(&["CLIENT", "GETREDIR"]).text(), me);
        assert!(client.call(&["CLIENT", "TRACKING", "OFF", "REDIRECT", &me]).is_ok());
        assert_eq!(client.call(&["CLIENT", "GETREDIR"]), Value::Integer(-1));

        let count = "ERR count should be greater than or equal to -1";
        for wrong in ["x", "-2", "", "1.5", "99999999999999999999"] {
            assert_eq!(client.call(&["SLOWLOG", "GET", wrong]).text(), count, "{wrong}");
        }
        let arity = "ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.";
        assert_eq!(client.call(&["SLOWLOG", "GET", "x", "y"]).text(), arity);
    });
}

#[test]
fn without_memory_nothing_is_queued_and_a_transaction_can_still_be_dropped() {
    everywhere(|server| {
        let mut client = server.client();
        client.call(&["SET", "k", "v"]);
        assert!(client.call(&["CONFIG", "SET", "maxmemory", "1"]).is_ok());
        let oom = "OOM command not allowed when used memory > 'maxmemory'.";
        assert_eq!(client.call(&["GET", "k"]).text(), "v");
        assert_eq!(client.call(&["SET", "k", "w"]).text(), oom);
        for queued in ["GET k", "PING", "MULTI", "WATCH k"] {
            assert!(client.call(&["MULTI"]).is_ok());
            assert_eq!(client.call(&words(queued)).text(), oom, "{queued}");
            assert!(client.call(&["DISCARD"]).is_ok());
        }
        assert!(client.call(&["MULTI"]).is_ok());
        assert_eq!(client.call(&["EXEC"]), Value::Array(Vec::new()));
    });
}

#[test]
fn the_subcommands_of_cluster_are_known_and_none_of_them_runs() {
    everywhere(|server| {
        let mut client = server.client();
        let names = client.call(&words("COMMAND LIST FILTERBY PATTERN cluster|*"));
        assert_eq!(names.elements().len(), 28, "as in Redis 7.2: {names:?}");
        for name in names.elements().iter().map(Value::text) {
            let described = client.call(&["COMMAND", "INFO", &name]);
            let arity = described.elements()[0].elements()[1].integer();
            let own = name.strip_prefix("cluster|").expect("it matches the pattern");
            let mut request = vec!["CLUSTER", own];
            request.resize(arity.unsigned_abs() as usize, "1");
            let disabled = "ERR This instance has cluster support disabled";
            assert_eq!(client.call(&request).text(), disabled, "{name}");
            request.pop();
            if request.len() > 1 {
                let arity = format!("ERR wrong number of arguments for '{name}' command");
                assert_eq!(client.call(&request).text(), arity);
            }
        }
        let unknown = "ERR unknown subcommand 'nonsense'. Try CLUSTER HELP.";
        assert_eq!(client.call(&["CLUSTER", "nonsense"]).text(), unknown);
    });
}
