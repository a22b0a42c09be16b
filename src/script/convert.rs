//! Replies as Lua values, and Lua values as replies.

use mlua::{Lua, Table, Value};

use crate::command::double::lenient_double;
use crate::resp::{Protocol, Reply};

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

/// A command's reply, encoded by this server, as scripts see it.
pub fn reply_to_lua(lua: &Lua, encoded: &[u8]) -> mlua::Result<Value> {
    let mut rest = encoded;
    let is_error = encoded.first() == Some(&b'-');
    let value = next_value(lua, &mut rest)?;
    if let (true, Value::Table(table)) = (is_error, &value) {
        // The command has been counted as failed already.
        table.raw_set("ignore_error_stats_update", true)?;
    }
    Ok(value)
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

fn single(lua: &Lua, name: &str, value: impl mlua::IntoLua) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    table.raw_set(name, value)?;
    Ok(Value::Table(table))
}

fn next_value(lua: &Lua, rest: &mut &[u8]) -> mlua::Result<Value> {
    let Some(kind) = rest.first().copied() else { return Ok(Value::Nil) };
    *rest = &rest[1..];
    let head = line(rest);
    Ok(match kind {
        b'+' => single(lua, "ok", lua.create_string(head)?)?,
        b'-' => Value::Table(error_table(lua, &[b"-", head].concat())?),
        b':' => Value::Number(number(head) as f64),
        b'$' => match usize::try_from(number(head)) {
            Ok(len) => Value::String(lua.create_string(block(rest, len))?),
            Err(_) => Value::Boolean(false),
        },
        b'*' | b'>' => match usize::try_from(number(head)) {
            Ok(len) => {
                let table = lua.create_table_with_capacity(len, 0)?;
                for index in 1..=len {
                    table.raw_set(index, next_value(lua, rest)?)?;
                }
                Value::Table(table)
            }
            Err(_) => Value::Boolean(false),
        },
        b'%' => {
            let pairs = lua.create_table()?;
            for _ in 0..number(head) {
                let key = next_value(lua, rest)?;
                let value = next_value(lua, rest)?;
                if !key.is_nil() {
                    pairs.raw_set(key, value)?;
                }
            }
            single(lua, "map", pairs)?
        }
        b'~' => {
            let members = lua.create_table()?;
            for _ in 0..number(head) {
                let member = next_value(lua, rest)?;
                if !member.is_nil() {
                    members.raw_set(member, true)?;
                }
            }
            single(lua, "set", members)?
        }
        b'|' => {
            for _ in 0..2 * number(head) {
                next_value(lua, rest)?;
            }
            next_value(lua, rest)?
        }
        b'#' => Value::Boolean(head == b"t"),
        b',' => single(lua, "double", lenient_double(head).unwrap_or(f64::NAN))?,
        b'(' => single(lua, "big_number", lua.create_string(head)?)?,
        b'=' => {
            let text = block(rest, usize::try_from(number(head)).unwrap_or(0));
            let inner = lua.create_table()?;
            inner.raw_set("format", lua.create_string(text.get(..3).unwrap_or_default())?)?;
            inner.raw_set("string", lua.create_string(text.get(4..).unwrap_or_default())?)?;
            single(lua, "verbatim_string", inner)?
        }
        _ => Value::Nil,
    })
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
