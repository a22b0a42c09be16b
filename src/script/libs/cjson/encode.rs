//! From Lua values to JSON text.

use mlua::{LightUserData, Lua, Table, Value};

use super::super::arguments::{to_i32, type_name};
use super::super::raise::Failure;
use super::super::walk::{for_each, Next, Walk};
use super::super::work::Work;
use super::config::{Config, INVALID_NUMBERS_AS_THEY_ARE, INVALID_NUMBERS_FAIL};
use super::number::write_general;
use super::STACK_VALUES_MAX;

/// How many elements that it does not have an array may be written with, whatever the settings allow.
const HOLES_MAX: usize = 16 << 20;

/// A table that is being written.
enum Open {
    Array { table: Table, written: usize, length: usize },
    Object { walk: Walk, is_empty: bool },
}

pub fn encode(lua: &Lua, config: &Config, next: &Next, value: &Value) -> Result<Vec<u8>, Failure> {
    let mut encoder = Encoder { config, text: Vec::new(), stack_values: 1, work: Work::new(lua) };
    let mut open = Vec::new();
    match encoder.encode(&mut open, next, value) {
        // What mlua can hold at once is used up by tables that are inside of each other.
        Err(Failure::Lua(mlua::Error::StackError)) => Err(too_deep(open.len() + 1)),
        Err(failure) => Err(failure),
        Ok(()) => Ok(encoder.text),
    }
}

fn too_deep(depth: usize) -> Failure {
    Failure::message(format!("Cannot serialise, excessive nesting ({depth})"))
}

struct Encoder<'a> {
    config: &'a Config,
    text: Vec<u8>,
    /// What the original would have on its stack.
    stack_values: usize,
    work: Work<'a>,
}

impl Encoder<'_> {
    fn encode(&mut self, open: &mut Vec<Open>, next: &Next, value: &Value) -> Result<(), Failure> {
        match value {
            Value::Table(table) => self.open(open, table)?,
            value => self.scalar(value)?,
        }
        while let Some(innermost) = open.last_mut() {
            match self.proceed(innermost, next)? {
                Some(table) => self.open(open, &table)?,
                None => self.close(open),
            }
        }
        Ok(())
    }

    fn open(&mut self, open: &mut Vec<Open>, table: &Table) -> Result<(), Failure> {
        let depth = open.len() + 1;
        if depth > self.config.encode_max_depth.get() as usize || self.stack_values + 3 > STACK_VALUES_MAX {
            return Err(too_deep(depth));
        }
        let table = table.clone();
        // A few tables that are each other's elements many times over say more than fits anywhere.
        self.work.step(self.text.len())?;
        match self.array_length(&table)? {
            0 => {
                self.text.push(b'{');
                self.stack_values += 2;
                open.push(Open::Object { walk: Walk::new(table), is_empty: true });
            }
            length => {
                self.text.push(b'[');
                self.stack_values += 1;
                open.push(Open::Array { table, written: 0, length });
            }
        }
        Ok(())
    }

    fn close(&mut self, open: &mut Vec<Open>) {
        match open.pop() {
            Some(Open::Array { .. }) => {
                self.text.push(b']');
                self.stack_values -= 1;
            }
            Some(Open::Object { .. }) => {
                self.text.push(b'}');
                self.stack_values -= 2;
            }
            None => {}
        }
    }

    /// Writes elements up to a table, which is to be written before the others, or to the end.
    fn proceed(&mut self, open: &mut Open, next: &Next) -> Result<Option<Table>, Failure> {
        match open {
            Open::Array { table, written, length } => {
                while *written < *length {
                    if *written > 0 {
                        self.text.push(b',');
                    }
                    *written += 1;
                    match table.raw_get(*written)? {
                        Value::Table(inner) => return Ok(Some(inner)),
                        value => self.scalar(&value)?,
                    }
                }
                Ok(None)
            }
            Open::Object { walk, is_empty } => walk.advance(next, |key, value| {
                if !std::mem::take(is_empty) {
                    self.text.push(b',');
                }
                match key {
                    Value::String(key) => self.string(&key.as_bytes()),
                    Value::Integer(_) | Value::Number(_) => {
                        self.text.push(b'"');
                        self.scalar(key)?;
                        self.text.push(b'"');
                    }
                    key => return Err(cannot(key, "table key must be a number or string")),
                }
                self.text.push(b':');
                match value {
                    Value::Table(inner) => return Ok(Some(inner.clone())),
                    value => self.scalar(value)?,
                }
                Ok(None)
            }),
        }
    }

    /// The number of elements to write if a table is an array, and 0 if it is an object.
    fn array_length(&mut self, table: &Table) -> Result<usize, Failure> {
        let (mut highest, mut count, mut is_object) = (0i32, 0i32, false);
        for_each(table, |key, _value: bool| {
            self.work.step(0)?;
            let key = match key {
                Value::Integer(key) => key as f64,
                Value::Number(key) => key,
                _ => 0.0,
            };
            is_object = key < 1.0 || key.floor() != key;
            if key > f64::from(highest) {
                highest = to_i32(key);
            }
            count = count.wrapping_add(1);
            Ok(!is_object)
        })?;
        if is_object || highest <= 0 {
            return Ok(0);
        }
        let ratio = self.config.encode_sparse_ratio.get();
        let is_sparse = ratio > 0
            && highest > count.wrapping_mul(ratio)
            && highest > self.config.encode_sparse_safe.get();
        let holes = (highest as usize).saturating_sub(count as usize);
        if is_sparse && self.config.encode_sparse_convert.get() != 0 {
            return Ok(0);
        }
        if is_sparse || holes > HOLES_MAX {
            return Err(Failure::message("Cannot serialise table: excessively sparse array"));
        }
        Ok(highest as usize)
    }

    /// Writes anything but a table.
    fn scalar(&mut self, value: &Value) -> Result<(), Failure> {
        self.work.step(self.text.len())?;
        match value {
            Value::Nil => self.text.extend_from_slice(b"null"),
            Value::LightUserData(LightUserData(pointer)) if pointer.is_null() => {
                self.text.extend_from_slice(b"null");
            }
            Value::Boolean(true) => self.text.extend_from_slice(b"true"),
            Value::Boolean(false) => self.text.extend_from_slice(b"false"),
            Value::Integer(integer) => self.number(*integer as f64)?,
            Value::Number(number) => self.number(*number)?,
            Value::String(string) => self.string(&string.as_bytes()),
            value => return Err(cannot(value, "type not supported")),
        }
        Ok(())
    }

    fn number(&mut self, number: f64) -> Result<(), Failure> {
        if !number.is_finite() {
            match self.config.encode_invalid_numbers.get() {
                INVALID_NUMBERS_FAIL => {
                    return Err(cannot(&Value::Number(number), "must not be NaN or Inf"));
                }
                INVALID_NUMBERS_AS_THEY_ARE => {}
                _ => {
                    self.text.extend_from_slice(b"null");
                    return Ok(());
                }
            }
        }
        write_general(number, self.config.encode_number_precision.get() as usize, &mut self.text);
        Ok(())
    }

    fn string(&mut self, mut string: &[u8]) {
        self.text.reserve(string.len() + 2);
        self.text.push(b'"');
        while let Some(at) = string.iter().position(|&byte| must_be_escaped(byte)) {
            self.text.extend_from_slice(&string[..at]);
            self.escape(string[at]);
            string = &string[at + 1..];
        }
        self.text.extend_from_slice(string);
        self.text.push(b'"');
    }

    fn escape(&mut self, byte: u8) {
        let letter = match byte {
            b'"' | b'\\' | b'/' => byte,
            8 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            12 => b'f',
            b'\r' => b'r',
            _ => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                let (high, low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
                return self.text.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
        };
        self.text.extend_from_slice(&[b'\\', letter]);
    }
}

fn must_be_escaped(byte: u8) -> bool {
    matches!(byte, 0..=31 | b'"' | b'/' | b'\\' | 127)
}

fn cannot(value: &Value, reason: &str) -> Failure {
    Failure::message(format!("Cannot serialise {}: {reason}", type_name(value)))
}
