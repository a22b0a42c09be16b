//! Replies as Lua values, and Lua values as replies.

use mlua::{Lua, Table, Value};

use crate::command::double::lenient_double;
use crate::resp::{Protocol, Reply};
use crate::runtime::lua::Values;

/// Deeper nested values become an error, as they do in Redis when Lua's stack is full. Each takes some of the script's stack.
const DEPTH_MAX: usize = 500;

/// The error table that scripts get: `text` has a code in front after a `-`, or none.
pub fn error_table(lua: &Lua, text: &[u8]) -> mlua::Result<Table> {
    let line = match text.strip_prefix(b"-") {
        Some(line) if line.contains(&b' ') => line.to_vec(),
        Some(line) => [b"ERR ", line].concat(),
        None => [b"ERR ", text].concat(),
    };
    let table = lua.create_table()?;
    table.raw_set("err", lua.create_string(line.trim_ascii_end())?)?;
    Ok(table)
}

/// Puts a command's reply, encoded by this server, as scripts see it.
pub fn put_reply(values: &Values, encoded: &[u8]) {
    match encoded.strip_prefix(b"-") {
        // The command has been counted as failed already.
        Some(mut rest) => put_error(values, line(&mut rest), true),
        None => put_value(values, &mut &encoded[..]),
    }
}

/// Puts an error table. `line` begins with a code, unless it is a single word.
pub fn put_error(values: &Values, line: &[u8], is_counted: bool) {
    let line = line.trim_ascii_end();
    values.table(0, if is_counted { 2 } else { 1 });
    values.text(b"err");
    if line.contains(&b' ') {
        values.text(line);
    } else {
        values.text(b"ERR ");
        values.text(line);
        values.join();
    }
    values.field();
    if is_counted {
        values.text(b"ignore_error_stats_update");
        values.boolean(true);
        values.field();
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
fn single(values: &Values, name: &str, put: impl FnOnce(&Values)) {
    values.table(0, 1);
    values.text(name.as_bytes());
    put(values);
    values.field();
}

fn put_value(values: &Values, rest: &mut &[u8]) {
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
                    values.element(index);
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
                    values.field();
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
                    values.field();
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
                    values.field();
                }
            })
        }
        _ => values.nil(),
    }
}

/// What a script returns, as a reply. `script_protocol`: what it has chosen by `setresp`. Returns the error that the whole reply is,
/// if it is one, and whether that has been counted already.
pub fn lua_to_reply(
    reply: &mut Reply,
    value: &Value,
    script_protocol: Protocol,
) -> mlua::Result<Option<(Vec<u8>, bool)>> {
    if let Value::Table(table) = value {
        if let Value::String(text) = table.raw_get("err")? {
            let is_counted = table.raw_get::<Value>("ignore_error_stats_update")? == Value::Boolean(true);
            return Ok(Some((text.as_bytes().to_vec(), is_counted)));
        }
    }
    put(reply, value, script_protocol, 0)?;
    Ok(None)
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

fn one_line(text: &mlua::LuaString) -> Vec<u8> {
    text.as_bytes().iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect()
}

fn put(reply: &mut Reply, value: &Value, protocol: Protocol, depth: usize) -> mlua::Result<()> {
    if depth > DEPTH_MAX {
        reply.error("ERR reached lua stack limit");
        return Ok(());
    }
    match value {
        Value::String(text) => reply.bulk(&text.as_bytes()),
        Value::Boolean(is_true) if protocol == Protocol::Resp3 => reply.boolean(*is_true),
        Value::Boolean(true) => reply.integer(1),
        Value::Boolean(false) => reply.null(),
        Value::Integer(number) => reply.integer(*number),
        Value::Number(number) => reply.integer(truncated(*number)),
        Value::Table(table) => return put_table(reply, table, protocol, depth),
        _ => reply.null(),
    }
    Ok(())
}

fn put_table(reply: &mut Reply, table: &Table, protocol: Protocol, depth: usize) -> mlua::Result<()> {
    if let Value::String(text) = table.raw_get("err")? {
        reply.error_bytes(&one_line(&text));
        return Ok(());
    }
    if let Value::String(text) = table.raw_get("ok")? {
        reply.simple_bytes(&one_line(&text));
        return Ok(());
    }
    match table.raw_get("double")? {
        Value::Number(number) => {
            reply.double(number);
            return Ok(());
        }
        Value::Integer(number) => {
            reply.double(number as f64);
            return Ok(());
        }
        _ => {}
    }
    if let Value::String(digits) = table.raw_get("big_number")? {
        reply.big_number(&String::from_utf8_lossy(&one_line(&digits)));
        return Ok(());
    }
    if let Value::Table(verbatim) = table.raw_get("verbatim_string")? {
        let parts = (verbatim.raw_get("format")?, verbatim.raw_get("string")?);
        if let (Value::String(format), Value::String(text)) = parts {
            let format: Vec<u8> = format.as_bytes().iter().copied().chain(*b"   ").take(3).collect();
            reply.verbatim(&String::from_utf8_lossy(&format), &text.as_bytes());
            return Ok(());
        }
    }
    if let Value::Table(map) = table.raw_get("map")? {
        let place = reply.defer_map();
        let mut len = 0;
        for pair in map.pairs::<Value, Value>() {
            let (key, value) = pair?;
            put(reply, &key, protocol, depth + 1)?;
            put(reply, &value, protocol, depth + 1)?;
            len += 1;
        }
        reply.finish(place, len);
        return Ok(());
    }
    if let Value::Table(set) = table.raw_get("set")? {
        let place = reply.defer_set();
        let mut len = 0;
        for pair in set.pairs::<Value, Value>() {
            put(reply, &pair?.0, protocol, depth + 1)?;
            len += 1;
        }
        reply.finish(place, len);
        return Ok(());
    }
    let place = reply.defer_array();
    let mut len = 0;
    loop {
        let value: Value = table.raw_get(len + 1)?;
        if value.is_nil() {
            break;
        }
        put(reply, &value, protocol, depth + 1)?;
        len += 1;
    }
    reply.finish(place, len);
    Ok(())
}
