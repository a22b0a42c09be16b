//! `struct`: numbers and strings in the layout of C structures, as the library struct 0.2 has it.
//!
//! A format is read letter by letter: `b B` a byte, `h H` two, `l L T` eight, `i I` four or as many as the digits behind
//! it say (signed in lower case), `f d` floats, `x` a byte of padding, `c` as many characters as the digits say, `s` a
//! string with a NUL behind it. `<` and `>` choose the order of bytes, `!` the largest alignment.

use mlua::{Lua, LuaString, MultiValue, Table, Value};

use super::arguments::{to_i64, to_u64, up_to_nul, Arguments};
use super::raise::{function_that_may_fail, Failure};

/// The most bytes that an integer may have.
const INTEGER_BYTES_MAX: usize = 32;
/// Alignment when `!` does not say it.
const NATIVE_ALIGNMENT: usize = 8;
/// Values that a C function may have on its stack; a few are left to the way out.
const RESULTS_MAX: usize = 7_900;

pub fn library(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    library.set("pack", function_that_may_fail(lua, pack)?)?;
    library.set("unpack", function_that_may_fail(lua, unpack)?)?;
    library.set("size", function_that_may_fail(lua, size)?)?;
    Ok(library)
}

/// A format, and what its options so far have set.
struct Format<'a> {
    rest: &'a [u8],
    is_big_endian: bool,
    alignment: usize,
}

/// One letter of a format, with the size in bytes that it has by itself.
struct Item {
    letter: u8,
    size: usize,
}

impl<'a> Format<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { rest: up_to_nul(text), is_big_endian: false, alignment: 1 }
    }

    fn next(&mut self) -> Result<Option<Item>, Failure> {
        let Some((&letter, rest)) = self.rest.split_first() else { return Ok(None) };
        self.rest = rest;
        let size = match letter {
            b'b' | b'B' | b'x' => 1,
            b'h' | b'H' => 2,
            b'l' | b'L' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.digits(1)?,
            b'i' | b'I' => {
                let size = self.digits(4)?;
                if size > INTEGER_BYTES_MAX {
                    let text = format!("integral size {size} is larger than limit of {INTEGER_BYTES_MAX}");
                    return Err(Failure::message(text));
                }
                size
            }
            _ => 0,
        };
        Ok(Some(Item { letter, size }))
    }

    /// The number at the front of what is left.
    fn digits(&mut self, default: usize) -> Result<usize, Failure> {
        let length = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length == 0 {
            return Ok(default);
        }
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        let number = digits
            .iter()
            .try_fold(0i32, |number, digit| number.checked_mul(10)?.checked_add((digit - b'0').into()));
        number.map(|number| number as usize).ok_or_else(|| Failure::message("integral size overflow"))
    }

    /// The bytes of padding in front of an item that is to stand at `position`.
    fn padding(&self, position: usize, item: &Item) -> usize {
        if item.size == 0 || item.letter == b'c' {
            return 0;
        }
        let size = item.size.min(self.alignment);
        (size - (position & (size - 1))) & (size - 1)
    }

    /// Does what a letter says that stands for no value.
    fn set_option(&mut self, letter: u8) -> Result<(), Failure> {
        match letter {
            b' ' => {}
            b'>' => self.is_big_endian = true,
            b'<' => self.is_big_endian = false,
            b'!' => {
                let alignment = self.digits(NATIVE_ALIGNMENT)?;
                if !alignment.is_power_of_two() {
                    return Err(Failure::message(format!("alignment {alignment} is not a power of 2")));
                }
                self.alignment = alignment;
            }
            _ => {
                return Err(Failure::argument(1, [b"invalid format option '", &[letter][..], b"'"].concat()))
            }
        }
        Ok(())
    }

    /// Appends bytes that are in little-endian order.
    fn put(&self, packed: &mut Vec<u8>, bytes: &[u8]) {
        let start = packed.len();
        packed.extend_from_slice(bytes);
        if self.is_big_endian {
            packed[start..].reverse();
        }
    }

    /// A copy of bytes that are as long as this array, in little-endian order.
    fn get<const N: usize>(&self, bytes: &[u8]) -> [u8; N] {
        let mut copy = [0; N];
        copy.copy_from_slice(bytes);
        if self.is_big_endian {
            copy.reverse();
        }
        copy
    }
}

fn pack(lua: &Lua, arguments: Arguments) -> Result<LuaString, Failure> {
    let text = arguments.string(lua, 1)?;
    let text = text.as_bytes();
    let mut format = Format::new(&text);
    let mut packed = Vec::new();
    let mut number = 2;
    while let Some(item) = format.next()? {
        packed.resize(packed.len() + format.padding(packed.len(), &item), 0);
        match item.letter {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let value = argument(&arguments, number, "number", |number| arguments.number(lua, number))?;
                let value = if value < 0.0 { to_i64(value) as u64 } else { to_u64(value) };
                let mut bytes = [0; INTEGER_BYTES_MAX];
                bytes[..8].copy_from_slice(&value.to_le_bytes());
                format.put(&mut packed, &bytes[..item.size]);
                number += 1;
            }
            b'x' => packed.push(0),
            b'f' => {
                let value = argument(&arguments, number, "number", |number| arguments.number(lua, number))?;
                format.put(&mut packed, &(value as f32).to_le_bytes());
                number += 1;
            }
            b'd' => {
                let value = argument(&arguments, number, "number", |number| arguments.number(lua, number))?;
                format.put(&mut packed, &value.to_le_bytes());
                number += 1;
            }
            b'c' | b's' => {
                let string = argument(&arguments, number, "string", |number| arguments.string(lua, number))?;
                let string = string.as_bytes();
                number += 1;
                let size = if item.size == 0 { string.len() } else { item.size };
                let Some(string) = string.get(..size) else {
                    return Err(Failure::argument(number, "string too short"));
                };
                packed.extend_from_slice(string);
                if item.letter == b's' {
                    packed.push(0);
                }
            }
            letter => format.set_option(letter)?,
        }
    }
    Ok(lua.create_string(packed)?)
}

/// An argument of `pack`. One that is missing is called nil there, because of what the original has on its stack.
fn argument<T>(
    arguments: &Arguments,
    number: usize,
    expected: &str,
    get: impl FnOnce(usize) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if number > arguments.count() {
        return Err(Failure::argument(number, format!("{expected} expected, got nil")));
    }
    get(number)
}

fn unpack(lua: &Lua, arguments: Arguments) -> Result<MultiValue, Failure> {
    let text = arguments.string(lua, 1)?;
    let data = arguments.string(lua, 2)?;
    let start = arguments.integer_or(lua, 3, 1)?;
    if start == 0 {
        return Err(Failure::argument(3, "offset must be 1 or greater"));
    }
    let (text, data) = (text.as_bytes(), data.as_bytes());
    let mut format = Format::new(&text);
    // A negative one is as good as one beyond the end.
    let mut position = (start as usize).wrapping_sub(1);
    let mut results = Vec::new();
    while let Some(item) = format.next()? {
        position = position.wrapping_add(format.padding(position, &item));
        let mut bytes = slice(&data, position, item.size)?;
        if results.len() + arguments.count() + 2 > RESULTS_MAX {
            return Err(Failure::message("stack overflow (too many results)"));
        }
        match item.letter {
            b'b' | b'h' | b'l' | b'i' => results.push(Value::Number(signed(bytes, format.is_big_endian))),
            b'B' | b'H' | b'L' | b'T' | b'I' => {
                results.push(Value::Number(unsigned(bytes, format.is_big_endian) as f64));
            }
            b'x' => {}
            b'f' => results.push(Value::Number(f32::from_le_bytes(format.get(bytes)).into())),
            b'd' => results.push(Value::Number(f64::from_le_bytes(format.get(bytes)))),
            b'c' => {
                if item.size == 0 {
                    let size =
                        results.last().map(|size| lua.coerce_number(size.clone())).transpose()?.flatten();
                    let Some(size) = size else {
                        return Err(Failure::message("format 'c0' needs a previous size"));
                    };
                    results.pop();
                    bytes = slice(&data, position, to_u64(size) as usize)?;
                }
                results.push(Value::String(lua.create_string(bytes)?));
            }
            b's' => {
                let rest = &data[position..];
                let Some(length) = memchr::memchr(0, rest) else {
                    return Err(Failure::message("unfinished string in data"));
                };
                results.push(Value::String(lua.create_string(&rest[..length])?));
                bytes = &rest[..=length];
            }
            letter => format.set_option(letter)?,
        }
        position += bytes.len();
    }
    results.push(Value::Number((position as i64).wrapping_add(1) as f64));
    Ok(MultiValue::from_vec(results))
}

fn slice(data: &[u8], position: usize, size: usize) -> Result<&[u8], Failure> {
    let end = position.checked_add(size);
    end.and_then(|end| data.get(position..end)).ok_or_else(|| Failure::argument(2, "data string too short"))
}

/// The low 8 bytes of an integer of any size.
fn unsigned(bytes: &[u8], is_big_endian: bool) -> u64 {
    let add = |value: u64, &byte: &u8| value << 8 | u64::from(byte);
    if is_big_endian {
        bytes.iter().fold(0, add)
    } else {
        bytes.iter().rfold(0, add)
    }
}

/// As `unsigned`, and what is in front of the integer's sign bit filled with it. In one of more than 8 bytes that is a
/// bit that C's shifts find: the size in bits, modulo 64.
fn signed(bytes: &[u8], is_big_endian: bool) -> f64 {
    let value = unsigned(bytes, is_big_endian);
    let sign_and_above = u64::MAX.wrapping_shl((bytes.len() as u32 * 8).wrapping_sub(1));
    let value = if value & sign_and_above == 0 { value } else { value | sign_and_above };
    value as i64 as f64
}

fn size(lua: &Lua, arguments: Arguments) -> Result<f64, Failure> {
    let text = arguments.string(lua, 1)?;
    let text = text.as_bytes();
    let mut format = Format::new(&text);
    let mut position = 0usize;
    while let Some(item) = format.next()? {
        position += format.padding(position, &item);
        match item.letter {
            b's' => return Err(Failure::argument(1, "option 's' has no fixed size")),
            b'c' if item.size == 0 => return Err(Failure::argument(1, "option 'c0' has no fixed size")),
            letter if !letter.is_ascii_alphanumeric() => format.set_option(letter)?,
            _ => {}
        }
        position += item.size;
    }
    Ok(position as f64)
}

#[cfg(test)]
mod tests {
    use crate::script::libs::testing::{check, evaluate};

    #[test]
    fn integers() {
        check(&[
            ("struct.pack('b', -1) == '\\255', struct.pack('>h', 258) == '\\1\\2'", "true true"),
            (
                "struct.pack('<i3', 0x10203) == '\\3\\2\\1', struct.pack('>I2', -2) == '\\255\\254'",
                "true true",
            ),
            ("struct.pack('i12', -1) == string.rep('\\255', 8) .. string.rep('\\0', 4)", "true"),
            ("struct.unpack('bBhH', '\\255\\255\\255\\255\\255\\255')", "-1 255 -1 65535 7"),
            ("struct.unpack('>i3I3', '\\255\\255\\254\\1\\0\\0')", "-2 65536 7"),
            ("struct.unpack('i9', string.rep('\\1', 9)), struct.unpack('i0', '')", "-127 0 1"),
            ("struct.unpack('L', struct.pack('L', 2^63 + 4096))", "9.2233720368548e+18 9"),
            (
                "struct.unpack('L', struct.pack('L', 2^64)), struct.unpack('l', struct.pack('l', -2^70))",
                "0 -9.2233720368548e+18 9",
            ),
            ("struct.pack('b', '7') == '\\7'", "true"),
        ]);
    }

    #[test]
    fn floats_and_strings() {
        check(&[
            ("struct.unpack('>fd', struct.pack('>fd', 1.5, 0.1))", "1.5 0.1 13"),
            ("struct.pack('>d', 1) == '\\63\\240\\0\\0\\0\\0\\0\\0'", "true"),
            ("struct.pack('sc0c2', 'ab', 'cd', 'xyz') == 'ab\\0cdxy'", "true"),
            ("struct.unpack('Bc0s', '\\3abcdef\\0rest')", "abc def 9"),
            ("struct.unpack('c1c0', '2abc')", "ab 4"),
            ("struct.unpack('c2', 'xabx', 2)", "ab 4"),
            ("struct.pack('s', 12) == '12\\0'", "true"),
        ]);
    }

    #[test]
    fn alignment_and_sizes() {
        check(&[
            ("struct.pack('!4 b i', 1, 2) == '\\1\\0\\0\\0\\2\\0\\0\\0'", "true"),
            ("struct.unpack('!bd', '\\1' .. string.rep('\\0', 15))", "1 0 17"),
            ("struct.size('!8bdx i3 c5'), struct.size('z'), struct.size('')", "27 0 0"),
            ("struct.size('!3')", "! user_script:1: alignment 3 is not a power of 2"),
            ("struct.size('!0')", "! user_script:1: alignment 0 is not a power of 2"),
        ]);
    }

    #[test]
    fn errors_are_those_of_the_original() {
        check(&[
            ("struct.pack()", "! user_script:1: bad argument #1 to 'pack' (string expected, got no value)"),
            ("struct.pack('ii', 1)", "! user_script:1: bad argument #3 to 'pack' (number expected, got nil)"),
            ("struct.pack('s')", "! user_script:1: bad argument #2 to 'pack' (string expected, got nil)"),
            ("struct.pack('c5', 'abc')", "! user_script:1: bad argument #3 to 'pack' (string too short)"),
            ("struct.pack('z')", "! user_script:1: bad argument #1 to 'pack' (invalid format option 'z')"),
            (
                "struct.pack('=i', 1)",
                "! user_script:1: bad argument #1 to 'pack' (invalid format option '=')",
            ),
            ("struct.pack('i33', 1)", "! user_script:1: integral size 33 is larger than limit of 32"),
            ("struct.pack('i99999999999', 1)", "! user_script:1: integral size overflow"),
            ("struct.size('s')", "! user_script:1: bad argument #1 to 'size' (option 's' has no fixed size)"),
            (
                "struct.size('c0')",
                "! user_script:1: bad argument #1 to 'size' (option 'c0' has no fixed size)",
            ),
            (
                "struct.unpack('i', 'abc')",
                "! user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
            (
                "struct.unpack('b', 'a', 0)",
                "! user_script:1: bad argument #3 to 'unpack' (offset must be 1 or greater)",
            ),
            (
                "struct.unpack('b', 'a', -5)",
                "! user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
            (
                "struct.unpack('bc0', '\\255')",
                "! user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
            ("struct.unpack('c0', 'a')", "! user_script:1: format 'c0' needs a previous size"),
            ("struct.unpack('s', 'abc')", "! user_script:1: unfinished string in data"),
            (
                "struct.unpack(('b'):rep(9000), ('b'):rep(9000))",
                "! user_script:1: stack overflow (too many results)",
            ),
            (
                "struct.unpack('c2147483647', 'x', 9007199254740992)",
                "! user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
        ]);
    }

    #[test]
    fn any_format_and_data_is_answered() {
        let answer = evaluate(
            "(function()
                math.randomseed(7)
                local letters = 'bBhHlLTiIfdxcs<>!= 0129z\\255'
                local function some(n)
                    local t = {}
                    for i = 1, math.random(0, n) do
                        local at = math.random(#letters)
                        t[i] = letters:sub(at, at)
                    end
                    return table.concat(t)
                end
                for i = 1, 20000 do
                    local format = some(8)
                    pcall(struct.size, format)
                    pcall(struct.unpack, format, some(30), math.random(-3, 20))
                    pcall(struct.pack, format, math.random(-300, 300), 1e300, some(9), 0/0, some(9))
                end
                return 'done'
            end)()",
        );
        assert_eq!(answer, "done");
    }
}
