//! `bit`: operations on the 32 low bits of numbers, as LuaBitOp 1.0.2 has them.

use mlua::{Lua, Table};

use super::arguments::Arguments;
use super::raise::{function_that_may_fail, Failure};

pub fn library(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    let set = |name: &str, operation: fn(&Lua, &Arguments) -> Result<u32, Failure>| {
        let function = function_that_may_fail(lua, move |lua, arguments: Arguments| {
            Ok(f64::from(operation(lua, &arguments)? as i32))
        })?;
        library.set(name, function)
    };
    set("tobit", |lua, arguments| bits(lua, arguments, 1))?;
    set("bnot", |lua, arguments| Ok(!bits(lua, arguments, 1)?))?;
    set("bswap", |lua, arguments| Ok(bits(lua, arguments, 1)?.swap_bytes()))?;
    set("band", |lua, arguments| fold(lua, arguments, |left, right| left & right))?;
    set("bor", |lua, arguments| fold(lua, arguments, |left, right| left | right))?;
    set("bxor", |lua, arguments| fold(lua, arguments, |left, right| left ^ right))?;
    set("lshift", |lua, arguments| shift(lua, arguments, u32::wrapping_shl))?;
    set("rshift", |lua, arguments| shift(lua, arguments, u32::wrapping_shr))?;
    set("arshift", |lua, arguments| shift(lua, arguments, |bits, by| (bits as i32).wrapping_shr(by) as u32))?;
    set("rol", |lua, arguments| shift(lua, arguments, u32::rotate_left))?;
    set("ror", |lua, arguments| shift(lua, arguments, u32::rotate_right))?;
    library.set("tohex", function_that_may_fail(lua, hexadecimal)?)?;
    Ok(library)
}

/// The low bits of an argument, which is rounded to an integer.
fn bits(lua: &Lua, arguments: &Arguments, number: usize) -> Result<u32, Failure> {
    /// Added to a double, it leaves no bits for a fraction, and the low bits of the integer in those of the mantissa:
    /// 2^52 + 2^51.
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    Ok((arguments.number(lua, number)? + MAGIC).to_bits() as u32)
}

/// From the last argument to the second, so that the last wrong one is the one that is complained of.
fn fold(lua: &Lua, arguments: &Arguments, operation: fn(u32, u32) -> u32) -> Result<u32, Failure> {
    let first = bits(lua, arguments, 1)?;
    (2..=arguments.count())
        .rev()
        .try_fold(first, |result, number| Ok(operation(result, bits(lua, arguments, number)?)))
}

fn shift(lua: &Lua, arguments: &Arguments, operation: fn(u32, u32) -> u32) -> Result<u32, Failure> {
    Ok(operation(bits(lua, arguments, 1)?, bits(lua, arguments, 2)? & 31))
}

/// The last digits of a number in base 16: 8, or as many as the second argument says; in upper case if it is negative.
fn hexadecimal(lua: &Lua, arguments: Arguments) -> Result<String, Failure> {
    let number = bits(lua, &arguments, 1)?;
    let wanted = if arguments.count() < 2 { 8 } else { bits(lua, &arguments, 2)? as i32 };
    let digits = if wanted < 0 { format!("{number:08X}") } else { format!("{number:08x}") };
    let count = wanted.unsigned_abs().min(8) as usize;
    Ok(digits[8 - count..].to_owned())
}

#[cfg(test)]
mod tests {
    use crate::script::libs::testing::check;

    #[test]
    fn numbers_become_signed_integers_of_32_bits() {
        check(&[
            ("bit.tobit(1)", "1"),
            ("bit.tobit(0xffffffff)", "-1"),
            ("bit.tobit(0x80000000)", "-2147483648"),
            ("bit.tobit(2^40 + 1234)", "1234"),
            ("bit.tobit(2.5), bit.tobit(3.5), bit.tobit(-2.5)", "2 4 -2"),
            ("bit.tobit(2^53 + 5), bit.tobit(-2^60 - 1), bit.tobit(0/0)", "2 0 0"),
            ("bit.tobit('0x10')", "16"),
        ]);
    }

    #[test]
    fn operations() {
        check(&[
            ("bit.bnot(0), bit.bnot(0x12345678)", "-1 -305419897"),
            ("bit.band(1), bit.bxor(1, 2), bit.bor(1, 2, 4, 8, 16, 32, 64, 128)", "1 3 255"),
            ("bit.band(0x12345678, 0xff, 0x70)", "112"),
            ("bit.lshift(1, 31), bit.lshift(1, 32), bit.lshift(1, -1)", "-2147483648 1 -2147483648"),
            ("bit.rshift(-256, 8), bit.arshift(-256, 8), bit.rshift(256, 40)", "16777215 -1 1"),
            ("bit.rol(0x12345678, 12), bit.ror(0x12345678, 12), bit.rol(1, 0)", "1164411171 1736516421 1"),
            ("bit.bswap(0x12345678)", "2018915346"),
        ]);
    }

    #[test]
    fn hexadecimal_digits() {
        check(&[
            ("bit.tohex(1), bit.tohex(-1), bit.tohex(0x87654321, 4)", "00000001 ffffffff 4321"),
            ("bit.tohex(-1, -2), bit.tohex(0xabc, -100), bit.tohex(5, 0) == ''", "FF 00000ABC true"),
            ("bit.tohex(65535, -2147483648)", "0000FFFF"),
        ]);
    }

    #[test]
    fn arguments_must_be_numbers() {
        check(&[
            ("bit.tobit()", "! user_script:1: bad argument #1 to 'tobit' (number expected, got no value)"),
            (
                "bit.band('12', 'x', {})",
                "! user_script:1: bad argument #3 to 'band' (number expected, got table)",
            ),
            ("bit.lshift(1)", "! user_script:1: bad argument #2 to 'lshift' (number expected, got no value)"),
            ("bit.tohex(1, nil)", "! user_script:1: bad argument #2 to 'tohex' (number expected, got nil)"),
        ]);
    }
}
