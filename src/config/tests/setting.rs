//! CONFIG SET: what it accepts, what it says, and that it is all or nothing.

use super::*;
use std::cell::RefCell;

fn args<'a>(words: &[&'a str]) -> Vec<&'a [u8]> {
    words.iter().map(|word| word.as_bytes()).collect()
}

fn set(config: &Config, words: &[&str]) -> Result<Change, SetError> {
    change(config, &args(words), Setter::default(), |_, _, _| Ok(()))
}

/// The reply to a CONFIG SET that must fail.
fn refusal(words: &[&str]) -> String {
    set(&Config::default(), words).unwrap_err().to_string()
}

#[test]
fn several_pairs_change_together() {
    let words = ["maxmemory", "10000001", "repl-backlog-size", "10000002", "save", "3000 5"];
    let change = set(&Config::default(), &words).unwrap();
    assert_eq!(change.changed, ["maxmemory", "repl-backlog-size", "save"]);
    for pair in words.chunks(2) {
        assert_eq!(shown(&change.config, pair[0]), pair[1]);
    }
}

#[test]
fn every_value_that_config_get_shows_can_be_set_again() {
    let config = Config::default();
    for (name, value) in get(&config, &[b"*"]) {
        let (directive, _) = find(&name).unwrap();
        if directive.is(flag::IMMUTABLE | flag::PROTECTED) {
            continue;
        }
        let change = change(&config, &[&name, &value], Setter::default(), |_, _, _| Ok(()));
        let change = change.unwrap_or_else(|error| panic!("{}: {error}", directive.name));
        assert_eq!(change.config, config, "{}", directive.name);
        assert_eq!(change.changed.is_empty(), !directive.is(flag::VOLATILE), "{}", directive.name);
    }
}

#[test]
fn refusals_are_those_of_redis() {
    let cases: [(&[&str], &str); 12] = [
        (&["port"], "ERR syntax error"),
        (&["foo", "1"], "ERR Unknown option or number of arguments for CONFIG SET - 'foo'"),
        (&["port", "1", "foo", "1"], "ERR Unknown option or number of arguments for CONFIG SET - 'foo'"),
        (
            &["Databases", "1"],
            "ERR CONFIG SET failed (possibly related to argument 'Databases') - can't set immutable config",
        ),
        (
            &["pipesavecommand", "cat"],
            "ERR CONFIG SET failed (possibly related to argument 'pipesavecommand') - can't set immutable config",
        ),
        (&["dir", "/"], "ERR CONFIG SET failed (possibly related to argument 'dir') - can't set protected config"),
        (
            &["maxmemory", "1", "maxmemory", "2"],
            "ERR CONFIG SET failed (possibly related to argument 'maxmemory') - duplicate parameter",
        ),
        (
            &["maxmemory", "1", "MAXMEMORY-CLIENTS", "200%", "client-query-buffer-limit", "invalid"],
            "ERR CONFIG SET failed (possibly related to argument 'maxmemory-clients') - percentage argument must be less or equal to 100",
        ),
        (
            &["save", "100"],
            "ERR CONFIG SET failed (possibly related to argument 'save') - Invalid save parameters",
        ),
        (
            &["slave-priority", "x"],
            "ERR CONFIG SET failed (possibly related to argument 'slave-priority') - argument couldn't be parsed into an integer",
        ),
        (
            &["appendfsync", "x"],
            "ERR CONFIG SET failed (possibly related to argument 'appendfsync') - argument(s) must be one of the following: everysec, always, no",
        ),
        (
            &["save", "900  1"],
            "ERR CONFIG SET failed (possibly related to argument 'save') - Invalid save parameters",
        ),
    ];
    for (words, expected) in cases {
        assert_eq!(refusal(words), expected, "{words:?}");
    }
    assert!(refusal(&["activedefrag", "yes"]).contains("Active defragmentation cannot be enabled"));
}

#[test]
fn a_name_and_its_alias_are_not_duplicates() {
    let change =
        set(&Config::default(), &["hash-max-listpack-entries", "1", "hash-max-ziplist-entries", "2"])
            .unwrap();
    assert_eq!(change.config.encodings.hash_max_listpack_entries, 2);
    assert_eq!(shown(&change.config, "hash-max-listpack-entries"), "2");
}

#[test]
fn lists_are_replaced_and_emptied() {
    let config = Config::default();
    let shown_after = |name: &str, value: &str| shown(&set(&config, &[name, value]).unwrap().config, name);
    assert_eq!(shown_after("save", "100 1"), "100 1");
    assert_eq!(shown_after("save", ""), "");
    assert_eq!(shown_after("bind", "127.0.0.1 -::1"), "127.0.0.1 -::1");
    assert_eq!(shown_after("bind", ""), "");
    assert_eq!(shown_after("shutdown-on-sigterm", "nosave now"), "nosave now");
    assert!(shown_after("client-output-buffer-limit", "replica 1 2 3").contains("slave 1 2 3"));
    assert_eq!(shown_after("latency-tracking-info-percentiles", "50.0 99.9"), "50 99.9");
}

#[test]
fn out_of_range_hz_is_moved_inside() {
    assert_eq!(set(&Config::default(), &["hz", "0"]).unwrap().config.general.hz, HZ_MIN);
}

#[test]
fn protected_directives_follow_enable_protected_configs() {
    let mut config = Config::default();
    let words = args(&["dbfilename", "a.rdb"]);
    let allowed = |config: &Config, local: bool| {
        change(config, &words, Setter { local, loading: false }, |_, _, _| Ok(())).is_ok()
    };
    assert!(!allowed(&config, true));
    config.security.enable_protected_configs = ProtectedAction::Local;
    assert!(allowed(&config, true) && !allowed(&config, false));
    config.security.enable_protected_configs = ProtectedAction::Yes;
    assert!(allowed(&config, false));
}

#[test]
fn while_loading_some_directives_wait() {
    let mut config = Config::default();
    config.security.enable_protected_configs = ProtectedAction::Yes;
    let loading = Setter { local: true, loading: true };
    let error = change(&config, &args(&["dir", "asdf"]), loading, |_, _, _| Ok(())).unwrap_err();
    assert!(error.to_string().starts_with("LOADING "), "{error}");
    assert!(change(&config, &args(&["loglevel", "debug"]), loading, |_, _, _| Ok(())).is_ok());
}

#[test]
fn a_failed_apply_is_undone_and_blames_its_directive() {
    let calls = RefCell::new(Vec::new());
    let words = args(&["maxmemory", "10000001", "port", "1", "client-query-buffer-limit", "10m"]);
    let error = change(&Config::default(), &words, Setter::default(), |old, new, changed| {
        calls.borrow_mut().push((old.network.port, new.network.port, changed.to_vec()));
        match new.network.port {
            1 => Err(ApplyError::of("port", "Unable to listen on this port. Check server logs.")),
            _ => Ok(()),
        }
    })
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port. Check server logs."
    );
    assert!(matches!(error, SetError::NotApplied { undo: None, .. }));
    let changed = vec!["maxmemory", "port", "client-query-buffer-limit"];
    assert_eq!(calls.into_inner(), [(6379, 1, changed.clone()), (1, 6379, changed)]);
}

#[test]
fn apply_is_not_called_when_nothing_differs_or_a_value_is_refused() {
    for words in [vec!["port", "6379"], vec!["port", "1", "maxmemory", "x"]] {
        let _ = change(&Config::default(), &args(&words), Setter::default(), |_, _, _| panic!("{words:?}"));
    }
}

#[test]
fn certificate_files_count_as_changed_each_time() {
    let config = set(&Config::default(), &["tls-cert-file", "/a"]).unwrap().config;
    assert_eq!(set(&config, &["tls-cert-file", "/a"]).unwrap().changed, ["tls-cert-file"]);
}

#[test]
fn dir_is_entered_in_thought_only() {
    let scratch = Scratch::new();
    let mut config = Config::default();
    config.security.enable_protected_configs = ProtectedAction::Yes;
    let before = std::env::current_dir().unwrap();
    let dir = scratch.0.to_str().unwrap();
    let change = set(&config, &["dir", dir]).unwrap();
    assert_eq!((shown(&change.config, "dir").as_str(), change.changed.as_slice()), (dir, &["dir"][..]));
    assert_eq!(std::env::current_dir().unwrap(), before);
    let error = set(&config, &["dir", "/no/such/place"]).unwrap_err().to_string();
    assert!(error.ends_with("'dir') - No such file or directory"), "{error}");
}
