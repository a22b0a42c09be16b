//! PFSELFTEST: on this machine, registers hold what is put into them, both encodings agree, and estimates are near the truth.

use super::layout::{self, Encoding, EMPTY, REGISTERS};
use super::{add, dense, sparse, Args, CommandError, CommandResult, Context, Histogram, Pattern, StringBuf};

const REGISTER_ROUNDS: usize = 100;
/// Redis goes ten times as far; the shard serves nobody meanwhile, and this keeps it under a tenth of a second.
const ELEMENTS: u64 = 1_000_000;
/// An estimate may be wrong by so many standard errors.
const ERROR_MAX: f64 = 6.0;

/// PFSELFTEST
pub fn pfselftest(ctx: &mut Context, _args: Args) -> CommandResult {
    // Any number will do; another one every time tests more.
    let mut random = Random(ctx.now_ms() as u64);
    test_registers(&mut random)?;
    test_estimates(random.next(), ctx.store.settings.hll_sparse_max_bytes)?;
    ctx.reply.ok();
    Ok(())
}

/// SplitMix64, by Sebastiano Vigna (public domain).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

fn test_registers(random: &mut Random) -> CommandResult {
    let mut value = layout::dense_with_header_of(&EMPTY);
    let mut expected = [0; REGISTERS];
    for _ in 0..REGISTER_ROUNDS {
        for (register, expected) in expected.iter_mut().enumerate() {
            *expected = random.next() as u8 & 63;
            dense::set(&mut value, register, *expected);
        }
        for (register, &expected) in expected.iter().enumerate() {
            let count = dense::get(&value, register);
            if count != expected {
                return Err(failed(format_args!("Register {register} should be {expected} but is {count}")));
            }
        }
    }
    Ok(())
}

fn test_estimates(seed: u64, sparse_len_max: usize) -> CommandResult {
    let standard_error = 1.04 / (REGISTERS as f64).sqrt();
    let mut value = StringBuf::default();
    value.assign(&EMPTY);
    let mut registers = layout::dense_with_header_of(&EMPTY);
    let mut checkpoint = 1;
    for number in 1..=ELEMENTS {
        let pattern = Pattern::of(&(number ^ seed).to_ne_bytes());
        if dense::get(&registers, pattern.register) < pattern.count {
            dense::set(&mut registers, pattern.register, pattern.count);
        }
        add(&mut value, pattern, sparse_len_max)?;
        if number != checkpoint {
            continue;
        }
        checkpoint *= 10;
        if number < sparse_len_max as u64 / 2 && layout::encoding(&value) != Encoding::Sparse {
            return Err(failed(format_args!("sparse encoding not used")));
        }
        let estimate = dense::histogram(&registers).estimate();
        if histogram(&value)?.estimate() != estimate {
            return Err(failed(format_args!("dense/sparse disagree")));
        }
        let error = estimate.abs_diff(number as i64);
        // Two of ten elements in the same register are not rare.
        let tolerated = if number == 10 { 1.0 } else { (standard_error * ERROR_MAX * number as f64).ceil() };
        if error as f64 > tolerated {
            return Err(failed(format_args!("Too big error. card:{number} abserr:{error}")));
        }
    }
    Ok(())
}

fn histogram(value: &[u8]) -> Result<Histogram, CommandError> {
    match layout::encoding(value) {
        Encoding::Dense => Ok(dense::histogram(value)),
        Encoding::Sparse => sparse::histogram(value),
    }
}

fn failed(what: std::fmt::Arguments) -> CommandError {
    CommandError::other(format!("ERR TESTFAILED {what}"))
}
