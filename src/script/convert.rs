//! Replies as Lua values, and Lua values as replies.

use crate::base::double::format_double;
use crate::command::double::lenient_double;
use crate::resp::{c_text, Protocol, Reply};
use crate::runtime::lua::{guard, Kind, Values};
use mlua::{Lua, Table};

/// Deeper nested values become an error, as they do in Redis when Lua's stack is full. Each takes some of the script's stack.
const DEPTH_MAX: usize = 500;
/// The most that a script returns where the memory of scripts has no limit.
const REPLY_BYTES_MAX: usize = 4 << 30;

/// The error table that scripts get: `text` has a code in front after a `-`, or none.
pub fn error_table(lua: &Lua, text: &[u8]) -> mlua::Result<Table> {
    let text = c_text(text);
    let line = text.strip_prefix(b"-").unwrap_or(text);
    let code_len = memchr::memchr(b' ', line).filter(|_| text.starts_with(b"-"));
    let (code, message) = code_len.map_or((&b"ERR"[..], line), |len| (&line[..len], &line[len + 1..]));
    let table = lua.create_table()?;
    table.raw_set("err", lua.create_string([code, b" ", without_line_ends(message)].concat())?)?;
    Ok(table)
}

/// `text` without the line ends around it.
fn without_line_ends(text: &[u8]) -> &[u8] {
    let is_inner = |byte: &u8| !matches!(byte, b'\r' | b'\n');
    let start = text.iter().position(is_inner).unwrap_or(text.len());
    let end = text.iter().rposition(is_inner).map_or(start, |last| last + 1);
    &text[start..end]
}

/// Puts a command's reply, encoded by this server, as scripts see it.
pub fn put_reply(values: &mut Values, encoded: &[u8]) {
    match encoded.strip_prefix(b"-") {
        // The command has been counted as failed already.
        Some(mut rest) => put_error(values, line(&mut rest), true),
        None => put_value(values, &mut &encoded[..]),
    }
}

/// Puts an error table. `line` begins with a code, unless it is a single word.
pub fn put_error(values: &mut Values, line: &[u8], is_counted: bool) {
    let line = without_line_ends(line);
    values.table(0, if is_counted { 2 } else { 1 });
    values.text(b"err");
    if line.contains(&b' ') {
        values.text(line);
    } else {
        values.text(b"ERR ");
        values.text(line);
        values.join();
    }
    values.set_field();
    if is_counted {
        values.text(b"ignore_error_stats_update");
        values.boolean(true);
        values.set_field();
    }
}

fn line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = memchr::memchr(b'\r', rest).unwrap_or(rest.len());
    let line = &rest[..end];
    *rest = rest.get(end + 2..).unwrap_or_default();
    line
}

fn number(digits: &[u8]) -> i64 {
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(-1)
}

/// `len` bytes and the line end behind them.
fn block<'a>(rest: &mut &'a [u8], len: usize) -> &'a [u8] {
    let block = rest.get(..len).unwrap_or_default();
    *rest = rest.get(len + 2..).unwrap_or_default();
    block
}

/// A table with one field, whose value `put` puts.
fn single(values: &mut Values, name: &str, put: impl FnOnce(&mut Values)) {
    values.table(0, 1);
    values.text(name.as_bytes());
    put(values);
    values.set_field();
}

fn put_value(values: &mut Values, rest: &mut &[u8]) {
    let Some(kind) = rest.first().copied() else { return values.nil() };
    *rest = &rest[1..];
    let head = line(rest);
    match kind {
        b'+' => single(values, "ok", |values| values.text(head)),
        b'-' => put_error(values, head, false),
        b':' => values.number(number(head) as f64),
        b'$' => match usize::try_from(number(head)) {
            Ok(len) => values.text(block(rest, len)),
            Err(_) => values.boolean(false),
        },
        b'*' | b'>' => match usize::try_from(number(head)) {
            Ok(len) => {
                values.table(len, 0);
                for index in 1..=len {
                    put_value(values, rest);
                    values.set_element(index);
                }
            }
            Err(_) => values.boolean(false),
        },
        b'%' => single(values, "map", |values| {
            values.table(0, usize::try_from(number(head)).unwrap_or(0));
            for _ in 0..number(head) {
                let is_nameless = rest.first() == Some(&b'_');
                put_value(values, rest);
                put_value(values, rest);
                if is_nameless {
                    values.forget();
                    values.forget();
                } else {
                    values.set_field();
                }
            }
        }),
        b'~' => single(values, "set", |values| {
            values.table(0, usize::try_from(number(head)).unwrap_or(0));
            for _ in 0..number(head) {
                let is_nil = rest.first() == Some(&b'_');
                put_value(values, rest);
                if is_nil {
                    values.forget();
                } else {
                    values.boolean(true);
                    values.set_field();
                }
            }
        }),
        b'|' => {
            for _ in 0..2 * number(head) {
                put_value(values, rest);
                values.forget();
            }
            put_value(values, rest)
        }
        b'#' => values.boolean(head == b"t"),
        b',' => {
            let number = lenient_double(head).unwrap_or(f64::NAN);
            single(values, "double", |values| values.number(number))
        }
        b'(' => single(values, "big_number", |values| values.text(head)),
        b'=' => {
            let text = block(rest, usize::try_from(number(head)).unwrap_or(0));
            single(values, "verbatim_string", |values| {
                values.table(0, 2);
                for (name, part) in [("format", text.get(..3)), ("string", text.get(4..))] {
                    values.text(name.as_bytes());
                    values.text(part.unwrap_or_default());
                    values.set_field();
                }
            })
        }
        _ => values.nil(),
    }
}

/// An error that a script has raised or returned.
#[derive(Debug, Default)]
pub struct Raised {
    pub text: Vec<u8>,
    /// Where it was raised.
    pub source: Vec<u8>,
    pub line: Vec<u8>,
    /// It has been counted already.
    pub is_counted: bool,
}

/// If the last value is a table, puts what it says of an error into `raised`, which lives outside of what Lua jumps over. False: it
/// is something else.
pub fn take_error(values: &mut Values, raised: &mut Raised) -> bool {
    if values.last() != Kind::Table {
        return false;
    }
    take_field(values, "err", &mut raised.text);
    take_field(values, "source", &mut raised.source);
    take_field(values, "line", &mut raised.line);
    values.field("ignore_error_stats_update");
    raised.is_counted = values.last() == Kind::Boolean(true);
    values.forget();
    true
}

/// A text, or a number as one, as C sees it.
fn take_field(values: &mut Values, name: &str, field: &mut Vec<u8>) {
    values.field(name);
    match values.last() {
        Kind::Text(text) => field.extend_from_slice(c_text(text)),
        Kind::Number(number) => field.extend_from_slice(format_double(number).as_bytes()),
        _ => {}
    }
    values.forget();
}

/// Writes the last value, which a script returns, as a reply. `protocol`: what it has chosen by `setresp`. True: all of it is an error,
/// which is in `raised` instead.
pub fn take_reply(values: &mut Values, reply: &mut Reply, protocol: Protocol, raised: &mut Raised) -> bool {
    if values.last() == Kind::Table {
        values.field("err");
        let is_error = matches!(values.last(), Kind::Text(_));
        values.forget();
        if is_error {
            return take_error(values, raised);
        }
    }
    write(values, reply, protocol, 0);
    false
}

/// As C casts on this machine.
fn truncated(number: f64) -> i64 {
    let fits = number > -9_223_372_036_854_777_856.0 && number < 9_223_372_036_854_775_808.0;
    if fits {
        number as i64
    } else {
        i64::MIN
    }
}

fn one_line(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect()
}

/// Writes the last value.
fn write(values: &mut Values, reply: &mut Reply, protocol: Protocol, depth: usize) {
    values.work(1);
    // A few tables that are each other's elements many times over say more than fits anywhere.
    if reply.len() > guard::memory_limit().min(REPLY_BYTES_MAX) {
        return values.raise("not enough memory");
    }
    if depth > DEPTH_MAX {
        return reply.error("ERR reached lua stack limit");
    }
    match values.last() {
        Kind::Text(text) => reply.bulk(text),
        Kind::Boolean(is_true) if protocol == Protocol::Resp3 => reply.boolean(is_true),
        Kind::Boolean(true) => reply.integer(1),
        Kind::Boolean(false) => reply.null(),
        Kind::Number(number) => reply.integer(truncated(number)),
        Kind::Table => write_table(values, reply, protocol, depth),
        Kind::Nil | Kind::Other => reply.null(),
    }
}

/// Writes a table that stands for a single value. False: it does not.
fn write_single(values: &mut Values, reply: &mut Reply) -> bool {
    type Write = fn(&mut Reply, Kind) -> bool;
    const SINGLES: [(&str, Write); 4] = [
        ("err", |reply, value| match value {
            Kind::Text(text) => {
                reply.error(c_text(text));
                true
            }
            _ => false,
        }),
        ("ok", |reply, value| match value {
            Kind::Text(text) => {
                reply.simple_bytes(&one_line(c_text(text)));
                true
            }
            _ => false,
        }),
        ("double", |reply, value| match value {
            Kind::Number(number) => {
                reply.double(number);
                true
            }
            _ => false,
        }),
        ("big_number", |reply, value| match value {
            Kind::Text(digits) => {
                reply.big_number(&one_line(digits));
                true
            }
            _ => false,
        }),
    ];
    for (name, write) in SINGLES {
        values.field(name);
        let is_written = write(reply, values.last());
        values.forget();
        if is_written {
            return true;
        }
    }
    values.field("verbatim_string");
    let is_written = values.last() == Kind::Table && write_verbatim(values, reply);
    values.forget();
    is_written
}

fn write_verbatim(values: &mut Values, reply: &mut Reply) -> bool {
    values.field("format");
    let mut format = *b"   ";
    let is_format = match values.last() {
        Kind::Text(text) => {
            format.iter_mut().zip(c_text(text)).for_each(|(to, from)| *to = *from);
            true
        }
        _ => false,
    };
    values.forget();
    values.field("string");
    let is_written = match values.last() {
        Kind::Text(text) if is_format => {
            reply.verbatim(format, text);
            true
        }
        _ => false,
    };
    values.forget();
    is_written
}

fn write_table(values: &mut Values, reply: &mut Reply, protocol: Protocol, depth: usize) {
    if write_single(values, reply) {
        return;
    }
    for (name, is_map) in [("map", true), ("set", false)] {
        values.field(name);
        let is_there = values.last() == Kind::Table;
        if is_there {
            let place = if is_map { reply.defer_map() } else { reply.defer_set() };
            let mut len = 0;
            values.nil();
            while values.next_pair() {
                if is_map {
                    values.copy_before_last();
                    write(values, reply, protocol, depth + 1);
                    values.forget();
                    write(values, reply, protocol, depth + 1);
                    values.forget();
                } else {
                    values.forget();
                    write(values, reply, protocol, depth + 1);
                }
                len += 1;
            }
            reply.finish(place, len);
        }
        values.forget();
        if is_there {
            return;
        }
    }
    let place = reply.defer_array();
    let mut len = 0;
    loop {
        values.element(len + 1);
        let is_end = values.last() == Kind::Nil;
        if !is_end {
            write(values, reply, protocol, depth + 1);
            len += 1;
        }
        values.forget();
        if is_end {
            break;
        }
    }
    reply.finish(place, len);
}
