//! INFO has the fields that it is known for, in their order, and each value in its shape: tools read it line by line.
//!
//! `fields.txt` has a line for each: the name, and behind it `text`, or how many digits a number has behind its point.

#[path = "../support/mod.rs"]
mod support;

use support::{eventually, Server};

/// Lines about commands: which there are depends on what has been called.
const OF_COMMANDS: [&str; 2] = ["cmdstat_", "latency_percentiles_usec_"];

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a value looks as `shape` says.
fn fits(shape: &str, value: &str) -> bool {
    let number = value.strip_prefix('-').unwrap_or(value);
    match shape {
        // What has no shape is a whole number, or a line about one of several things.
        "" => is_number(number) || value.contains('='),
        "text" => true,
        shape => {
            let (shape, number) = match shape.strip_suffix('%') {
                Some(shape) => (shape, number.strip_suffix('%').unwrap_or_default()),
                None => (shape, number),
            };
            let digits = shape.split_once('.').map_or(0, |(_, digits)| digits.len());
            number
                .split_once('.')
                .is_some_and(|(whole, part)| is_number(whole) && is_number(part) && part.len() == digits)
        }
    }
}

#[test]
fn every_field_is_there_in_its_order_and_shape() {
    let wanted: Vec<&str> = include_str!("fields.txt").lines().collect();
    let server = Server::start(&["--shards", "2", "--appendonly", "yes", "--unixsocket", "socket"]);
    let mut client = server.client();
    assert!(client.call(&["MSET", "a", "1", "b", "1"]).is_ok());
    assert!(client.call(&["LPUSH", "a", "1"]).is_error());
    // One more field.
    assert!(client.call(&["CONFIG", "SET", "min-replicas-to-write", "1"]).is_ok());
    assert!(eventually(|| client.call(&["INFO", "replication"]).text().contains("min_slaves_good_slaves")));
    let mut lines = Vec::new();
    for section in ["everything", "debug"] {
        let text = client.call(&["INFO", section]).text();
        assert!(text.ends_with("\r\n"));
        for line in text.split("\r\n").filter(|line| !line.is_empty()) {
            if !OF_COMMANDS.iter().any(|name| line.starts_with(name)) {
                lines.push(line.to_owned());
            }
        }
    }
    for (line, wanted) in lines.iter().zip(&wanted) {
        let name = line.split_once(':').map_or(line.as_str(), |(name, _)| name);
        let value = line.split_once(':').map_or("", |(_, value)| value);
        if wanted.starts_with('#') {
            assert_eq!(line, wanted);
            continue;
        }
        let (wanted, shape) = wanted.split_once(' ').unwrap_or((wanted, ""));
        assert_eq!(name, wanted);
        assert!(fits(shape, value), "{line}: {shape}");
    }
    assert_eq!(lines.len(), wanted.len());
}
