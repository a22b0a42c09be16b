//! The base of a log as commands (`aof-use-rdb-preamble no`): what makes each key anew, as Redis writes it.
//!
//! A collection is made by commands of so many elements at most, so that none of them is held in memory whole when it is read back.
//! Nothing here collects: a forked child writes it through an `Output` of fixed size.

use crate::base::double::format_double;
use crate::rdb::{dump, Format, Output};
use crate::store::listpack::Item;
use crate::store::stream::{Group, Stream, StreamId};
use crate::store::{KeyView, Store, Value};

/// Elements of a collection in one command, as in Redis.
const ITEMS_PER_COMMAND: usize = 64;

/// Writes all databases of a store. `goes_on` is asked after each key, and ends it there by answering false.
pub fn put_keys<O: Output>(
    store: &Store,
    format: Format,
    output: &mut O,
    goes_on: &mut dyn FnMut(&mut O) -> bool,
) {
    for db in (0..store.databases()).filter(|&db| !store.is_empty(db)) {
        put(output, &[b"SELECT", itoa::Buffer::new().format(db).as_bytes()]);
        let mut is_whole = true;
        store.for_each_view(db, &mut |view| {
            put_key(&view, format, output);
            is_whole = goes_on(output);
            is_whole
        });
        if !is_whole {
            return;
        }
    }
}

/// Writes what makes a key, and has it expire.
fn put_key(view: &KeyView, format: Format, output: &mut impl Output) {
    let key = view.key;
    let mut digits = itoa::Buffer::new();
    match &view.value {
        Value::Int(number) => put(output, &[b"SET", key, digits.format(*number).as_bytes()]),
        Value::Bytes(bytes) => put(output, &[b"SET", key, bytes]),
        Value::Shared(bytes) => put(output, &[b"SET", key, bytes]),
        Value::List(list) => {
            let mut batches = Batches::new(b"RPUSH", key, list.len(), 1);
            list.for_each(|element| {
                batches.begin_item(output);
                put_item(output, element);
            });
        }
        Value::Set(set) => {
            let mut batches = Batches::new(b"SADD", key, set.len(), 1);
            for member in set.iter() {
                batches.begin_item(output);
                put_item(output, member);
            }
        }
        Value::Hash(hash) => {
            let mut batches = Batches::new(b"HMSET", key, hash.len(), 2);
            for (field, value) in hash.iter() {
                batches.begin_item(output);
                put_item(output, field);
                put_item(output, value);
            }
        }
        Value::SortedSet(set) => {
            let mut batches = Batches::new(b"ZADD", key, set.len(), 2);
            for (member, score) in set.iter() {
                batches.begin_item(output);
                put_arg(output, format_double(score).as_bytes());
                put_item(output, member);
            }
        }
        Value::Stream(stream) if has_dangling_entries(stream) => {
            let expire_at = digits.format(view.expire_at.unwrap_or(0)).as_bytes();
            let payload = dump(&view.value, format);
            return put(output, &[b"RESTORE", key, expire_at, &payload, b"REPLACE", b"ABSTTL"]);
        }
        Value::Stream(stream) => put_stream(key, stream, output),
    }
    if let Some(at_ms) = view.expire_at {
        put(output, &[b"PEXPIREAT", key, digits.format(at_ms).as_bytes()]);
    }
}

/// Whether entries are pending that the stream has no more: there is no command that makes such a group.
fn has_dangling_entries(stream: &Stream) -> bool {
    stream.groups().any(|(_, group)| {
        group.pending_range(StreamId::MIN..=StreamId::MAX).any(|(id, _)| !stream.log().contains(id))
    })
}

fn put_stream(key: &[u8], stream: &Stream, output: &mut impl Output) {
    let log = stream.log();
    if log.is_empty() {
        // What adds an entry and trims it at once leaves a stream without any.
        put(output, &[b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"]);
    }
    let mut digits = itoa::Buffer::new();
    for entry in log.range(StreamId::MIN, StreamId::MAX) {
        put_count(output, 3 + 2 * entry.len());
        for arg in [b"XADD", key, text(entry.id()).as_bytes()] {
            put_arg(output, arg);
        }
        for (field, value) in entry.fields() {
            put_item(output, field);
            put_item(output, value);
        }
    }
    put(
        output,
        &[
            b"XSETID",
            key,
            text(log.last_id()).as_bytes(),
            b"ENTRIESADDED",
            digits.format(log.entries_added()).as_bytes(),
            b"MAXDELETEDID",
            text(log.max_deleted_id()).as_bytes(),
        ],
    );
    for (name, group) in stream.groups() {
        put_group(key, name, group, output);
    }
}

fn put_group(key: &[u8], name: &[u8], group: &Group, output: &mut impl Output) {
    let mut digits = itoa::Buffer::new();
    let entries_read = digits.format(group.entries_read.unwrap_or(-1)).as_bytes();
    let last_id = text(group.last_id);
    put(output, &[b"XGROUP", b"CREATE", key, name, last_id.as_bytes(), b"ENTRIESREAD", entries_read]);
    for consumer in group.consumers() {
        if consumer.pending_len() == 0 {
            put(output, &[b"XGROUP", b"CREATECONSUMER", key, name, consumer.name()]);
        }
        for id in consumer.pending_from(StreamId::MIN) {
            let Some(pending) = group.pending(id) else { continue };
            let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
            put(
                output,
                &[
                    b"XCLAIM",
                    key,
                    name,
                    consumer.name(),
                    b"0",
                    text(id).as_bytes(),
                    b"TIME",
                    time.format(pending.delivered_ms).as_bytes(),
                    b"RETRYCOUNT",
                    count.format(pending.deliveries).as_bytes(),
                    b"JUSTID",
                    b"FORCE",
                ],
            );
        }
    }
}

fn text(id: StreamId) -> String {
    format!("{}-{}", id.ms, id.seq)
}

/// A collection, in commands of so many elements at most.
struct Batches<'a> {
    name: &'a [u8],
    key: &'a [u8],
    args_per_item: usize,
    /// Elements that no command was begun for yet, and of the last one that are still to come.
    left: usize,
    left_of_command: usize,
}

impl<'a> Batches<'a> {
    fn new(name: &'a [u8], key: &'a [u8], items: usize, args_per_item: usize) -> Batches<'a> {
        Batches { name, key, args_per_item, left: items, left_of_command: 0 }
    }

    /// To be called in front of the arguments of each element.
    fn begin_item(&mut self, output: &mut impl Output) {
        if self.left_of_command == 0 {
            self.left_of_command = self.left.min(ITEMS_PER_COMMAND);
            self.left -= self.left_of_command;
            put_count(output, 2 + self.left_of_command * self.args_per_item);
            put_arg(output, self.name);
            put_arg(output, self.key);
        }
        self.left_of_command -= 1;
    }
}

fn put(output: &mut impl Output, args: &[&[u8]]) {
    put_count(output, args.len());
    args.iter().for_each(|arg| put_arg(output, arg));
}

fn put_count(output: &mut impl Output, args: usize) {
    put_number(output, b"*", args);
}

fn put_arg(output: &mut impl Output, arg: &[u8]) {
    put_number(output, b"$", arg.len());
    output.put(arg);
    output.put(b"\r\n");
}

fn put_item(output: &mut impl Output, item: Item) {
    put_arg(output, item.bytes(&mut itoa::Buffer::new()));
}

fn put_number(output: &mut impl Output, mark: &[u8], number: usize) {
    output.put(mark);
    output.put(itoa::Buffer::new().format(number).as_bytes());
    output.put(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Collection, Set, Settings};

    fn written(value: Value, expire_at: Option<i64>) -> String {
        let mut out = Vec::new();
        let view = KeyView { key: b"k", value, expire_at, usage: crate::store::Usage::NotAsked };
        put_key(&view, Format::default(), &mut out);
        String::from_utf8_lossy(&out).replace("\r\n", " ")
    }

    #[test]
    fn a_string_is_set_and_expires() {
        assert_eq!(written(Value::Int(-7), None), "*3 $3 SET $1 k $2 -7 ");
        assert_eq!(written(Value::Bytes(b"v"), Some(12)), "*3 $3 SET $1 k $1 v *3 $9 PEXPIREAT $1 k $2 12 ");
    }

    #[test]
    fn a_collection_is_made_in_batches_that_say_how_long_they_are() {
        let mut set = Set::integers();
        (0..130).for_each(|number: i64| {
            set.add(number.to_string().as_bytes(), &Settings::default());
        });
        let text = written(Value::Set(set.view()), None);
        let counts: Vec<&str> = text.split(' ').filter(|word| word.starts_with('*')).collect();
        assert_eq!(counts, ["*66", "*66", "*4"]);
        assert_eq!(text.matches("$4 SADD $1 k").count(), 3);
        assert!(text.ends_with("$3 128 $3 129 "));
    }

    #[test]
    fn a_stream_is_made_with_its_counters_groups_and_pending_entries() {
        let mut stream = Stream::empty();
        for (ms, value) in [(1, b"a"), (2, b"b")] {
            let id = StreamId::new(ms, 0);
            stream.log_mut().append(id, &[b"f", value], &Settings::default()).expect("an entry is small");
        }
        stream.log_mut().delete_all(&[StreamId::new(2, 0)]);
        assert_eq!(
            written(Value::Stream(&stream), None),
            "*5 $4 XADD $1 k $3 1-0 $1 f $1 a \
             *7 $6 XSETID $1 k $3 2-0 $12 ENTRIESADDED $1 2 $12 MAXDELETEDID $3 2-0 "
        );
        stream.log_mut().delete_all(&[StreamId::new(1, 0)]);
        assert!(written(Value::Stream(&stream), None)
            .starts_with("*7 $4 XADD $1 k $6 MAXLEN $1 0 $3 0-1 $1 x $1 y "));
    }
}
