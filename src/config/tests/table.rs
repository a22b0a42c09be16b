//! The table of directives, and CONFIG GET.

use super::super::directive::{Rule, Source};
use super::*;
use std::collections::HashSet;

const DEFAULTS: &str = include_str!("defaults.conf");

/// Names and values of the lines of `DEFAULTS`; of several lines of one name, the last.
fn default_lines() -> Vec<(&'static str, &'static str)> {
    let lines = DEFAULTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').unwrap()).collect()
}

#[test]
fn a_file_with_every_default_changes_nothing() {
    let loaded = load_text(DEFAULTS).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.warnings, [""; 0]);
}

#[test]
fn every_line_of_the_defaults_parses_alone_to_the_default() {
    for (name, value) in default_lines() {
        if matches!(name, "save" | "client-output-buffer-limit") {
            continue;
        }
        assert_eq!(config_of(&format!("{name} {value}")), Config::default(), "{name} {value}");
    }
}

#[test]
fn the_file_of_defaults_names_every_directive_and_alias() {
    let lines: HashSet<&str> = default_lines().into_iter().map(|(name, _)| name).collect();
    let mut table = HashSet::new();
    for directive in directives() {
        assert!(table.insert(directive.name), "{} is there twice", directive.name);
        if let Some(alias) = directive.alias {
            assert!(table.insert(alias), "{alias} is there twice");
        }
    }
    assert_eq!(lines, table);
}

#[test]
fn every_directive_takes_back_what_config_get_shows() {
    for directive in directives() {
        let mut config = Config::default();
        let text = directive.text(&config);
        let args: Vec<Vec<u8>> = match directive.name {
            // Not set, which only a start can say.
            "replicaof" => continue,
            _ if directive.is(flag::MULTI) => text.split(|byte| *byte == b' ').map(<[u8]>::to_vec).collect(),
            _ => vec![text],
        };
        directive
            .assign(&mut config, &args, Source::Set)
            .unwrap_or_else(|reason| panic!("{}: {reason}", directive.name));
        assert_eq!(config, Config::default(), "{}", directive.name);
    }
}

#[test]
fn every_number_takes_its_limits_and_nothing_beyond() {
    for directive in directives() {
        let Rule::Range { lower, upper, unit } = directive.rule else {
            continue;
        };
        let written = |value: i128| match unit {
            directive::Unit::Octal => format!("{value:o}"),
            _ => value.to_string(),
        };
        let assign = |value: i128| {
            let mut config = Config::default();
            let args = [written(value).into_bytes()];
            directive.assign(&mut config, &args, Source::Set).map(|()| directive.text(&config))
        };
        for limit in [lower, upper] {
            assert_eq!(assign(limit).unwrap(), written(limit).into_bytes(), "{}", directive.name);
        }
        for beyond in [lower - 1, upper + 1] {
            assert!(assign(beyond).is_err(), "{} took {beyond}", directive.name);
        }
    }
}

#[test]
fn a_directive_that_takes_one_argument_refuses_two_and_none() {
    for directive in directives().filter(|directive| !directive.is(flag::MULTI)) {
        for line in [directive.name.to_owned(), format!("{} a b", directive.name)] {
            let error = load_text(&line).unwrap_err();
            assert_eq!(error.reason, "wrong number of arguments", "{line}");
        }
    }
}

#[test]
fn patterns_find_names_and_aliases_in_order_and_once() {
    let config = Config::default();
    let names = |patterns: &[&str]| {
        let patterns: Vec<&[u8]> = patterns.iter().map(|pattern| pattern.as_bytes()).collect();
        let found = get(&config, &patterns);
        found.into_iter().map(|(name, _)| String::from_utf8(name).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(
        names(&["maxmemory", "maxmemory*", "*of"]).iter().filter(|name| *name == "maxmemory").count(),
        1
    );
    assert_eq!(names(&["*of"]), ["replicaof", "slaveof"]);
    assert_eq!(names(&["bind", "maxmemory", "bind"]), ["bind", "maxmemory"]);
    assert_eq!(names(&["MAXMEM[n-p]RY"]), ["maxmemory"]);
    assert_eq!(names(&["MaxMemory"]), ["MaxMemory"], "a name comes back as it was asked for");
    assert_eq!(names(&["nothing", "no*thing"]), [""; 0]);
}

#[test]
fn hidden_directives_are_found_by_their_exact_name_only() {
    let config = Config::default();
    assert!(!get(&config, &[b"*"]).iter().any(|(name, _)| name == b"key-load-delay"));
    assert_eq!(shown(&config, "key-load-delay"), "0");
}

#[test]
fn values_are_shown_in_redis_format() {
    let config = config_of(
        "maxmemory 1gb\nmaxmemory-clients 5%\nunixsocketperm 700\nnotify-keyspace-events KEA\n\
         client-output-buffer-limit normal 1k 1kb 3\nlatency-tracking-info-percentiles 50 99.90 100\n\
         replicaof 127.0.0.1 6380\nshutdown-on-sigterm force nosave\noom-score-adj relative\nshards 3",
    );
    assert_eq!(shown(&config, "maxmemory"), "1073741824");
    assert_eq!(shown(&config, "maxmemory-clients"), "5%");
    assert_eq!(shown(&config, "unixsocketperm"), "700");
    assert_eq!(shown(&config, "notify-keyspace-events"), "AKE");
    assert_eq!(
        shown(&config, "client-output-buffer-limit"),
        "normal 1000 1024 3 slave 268435456 67108864 60 pubsub 33554432 8388608 60"
    );
    assert_eq!(shown(&config, "latency-tracking-info-percentiles"), "50 99.9 100");
    assert_eq!(shown(&config, "slaveof"), "127.0.0.1 6380");
    assert_eq!(shown(&config, "shutdown-on-sigterm"), "nosave force");
    assert_eq!(shown(&config, "oom-score-adj"), "yes");
    assert_eq!(shown(&config, "shards"), "3");
    assert_eq!(config.network.unixsocketperm, 0o700);
    assert_eq!(config.network.maxmemory_clients.bytes(1000), Some(50));
}

#[test]
fn all_keyspace_events_are_shown_back_without_loss() {
    for letters in ["g$lshzxetd", "g$lshzxetdn", "KEg", "Km", "An"] {
        let once = shown(&config_of(&format!("notify-keyspace-events {letters}")), "notify-keyspace-events");
        let twice = config_of(&format!("notify-keyspace-events {once}"));
        let direct = config_of(&format!("notify-keyspace-events {letters}"));
        assert_eq!(
            twice.observing.notify_keyspace_events, direct.observing.notify_keyspace_events,
            "{letters}"
        );
    }
    let all = config_of("notify-keyspace-events A").observing.notify_keyspace_events;
    assert!(all.contains(NotifyEvents::STREAM | NotifyEvents::GENERIC));
    assert!(!all.intersects(NotifyEvents::KEY_MISS | NotifyEvents::NEW | NotifyEvents::KEYSPACE));
}

#[test]
fn directives_without_effect_are_listed_and_the_others_are_not() {
    let names: Vec<&str> = without_effect().collect();
    assert!(names.contains(&"io-threads") && names.contains(&"activedefrag"));
    assert!(!names.contains(&"port") && !names.contains(&"shards"));
}

#[test]
fn secrets_are_known_by_name_in_any_case() {
    assert!(is_sensitive(b"requirepass") && is_sensitive(b"MasterAuth"));
    assert!(!is_sensitive(b"port") && !is_sensitive(b"nothing"));
}
