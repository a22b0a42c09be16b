//! Which key a request names, and what that key and its value look like on the wire.
//!
//! Everything about a request follows from one 64-bit number, its draw: `Keys::pick(draw, nth)` is a pure
//! function. So a request in flight is remembered by its draw alone, and the reply can be checked against the
//! very value that a SET with any draw would have stored: values are a function of the key.

use rand::rngs::SmallRng;
use rand::SeedableRng;
use rand_distr::{Distribution as _, Zipf};

/// How keys are chosen from the key space.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Every key equally often.
    Uniform,
    /// Key k about as often as 1 / (k + 1)^exponent. Names are numbers, so the hot keys still spread over
    /// the hash slots.
    Zipf(f64),
    /// One after the other, from the first again after the last.
    Sequential,
}

impl std::str::FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':').unwrap_or((text, "0.99")) {
            ("uniform", _) => Ok(Self::Uniform),
            ("sequential", _) => Ok(Self::Sequential),
            ("zipf", exponent) => match exponent.parse::<f64>() {
                Ok(exponent) if exponent > 0.0 && exponent.is_finite() => Ok(Self::Zipf(exponent)),
                _ => Err(format!("'{exponent}' is not an exponent; zipf:0.99 is usual")),
            },
            _ => Err("expected uniform, sequential, zipf or zipf:EXPONENT".into()),
        }
    }
}

/// Scrambles a counter into 64 uniform bits (splitmix64, Steele et al. 2014).
pub fn scramble(counter: u64) -> u64 {
    let mut z = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Chooses key numbers below the size of the key space.
#[derive(Clone, Debug)]
pub struct Keys {
    distribution: Distribution,
    space: u64,
    zipf: Option<Zipf<f64>>,
}

impl Keys {
    /// `space` is the number of distinct keys, at least one.
    pub fn new(distribution: Distribution, space: u64) -> Result<Self, String> {
        if space == 0 {
            return Err("the key space is empty".into());
        }
        let zipf = match distribution {
            Distribution::Zipf(exponent) => {
                Some(Zipf::new(space as f64, exponent).map_err(|error| error.to_string())?)
            }
            _ => None,
        };
        Ok(Self { distribution, space, zipf })
    }

    /// The draw of request number `number` out of a run with this seed. A request that names several keys
    /// counts for as many numbers.
    pub fn draw(&self, seed: u64, number: u64) -> u64 {
        match self.distribution {
            Distribution::Sequential => number,
            _ => scramble(seed).wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        }
    }

    /// The `nth` key of the request with this draw.
    pub fn pick(&self, draw: u64, nth: u32) -> u64 {
        match &self.zipf {
            Some(zipf) => {
                let seed = draw.wrapping_add(u64::from(nth).wrapping_mul(0xd1b5_4a32_d192_ed03));
                let rank = zipf.sample(&mut SmallRng::seed_from_u64(seed));
                (rank as u64 - 1).min(self.space - 1)
            }
            None if self.distribution == Distribution::Sequential => {
                draw.wrapping_add(u64::from(nth)) % self.space
            }
            None => {
                let bits = scramble(draw.wrapping_add(u64::from(nth).wrapping_mul(0xd1b5_4a32_d192_ed03)));
                ((u128::from(bits) * u128::from(self.space)) >> 64) as u64
            }
        }
    }
}

/// How key names are spelled: a prefix and a zero-padded decimal number, together of a fixed length.
#[derive(Clone, Debug)]
pub struct KeyNames {
    prefix: Vec<u8>,
    length: usize,
}

impl KeyNames {
    /// Fails when numbers below `space` do not fit.
    pub fn new(prefix: &str, length: usize, space: u64) -> Result<Self, String> {
        let digits = (space.max(1) - 1).to_string().len();
        if prefix.len() + digits > length {
            return Err(format!(
                "{space} keys do not fit names of {length} bytes with the prefix '{prefix}': \
                 make --key-length at least {}",
                prefix.len() + digits
            ));
        }
        Ok(Self { prefix: prefix.into(), length })
    }

    /// Bytes in every name.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Appends the name of key `index`.
    pub fn append(&self, index: u64, out: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(index).as_bytes();
        out.extend_from_slice(&self.prefix);
        out.resize(out.len() + self.length - self.prefix.len() - digits.len(), b'0');
        out.extend_from_slice(digits);
    }
}

/// Values: slices of one pool of noise, their place and length a function of the key.
#[derive(Clone, Debug)]
pub struct Values {
    pool: Vec<u8>,
    min: usize,
    max: usize,
}

/// Distinct places in the pool: small enough to stay in the second-level cache.
const POOL_OFFSETS: usize = 16 * 1024;

impl Values {
    /// Lengths are uniform over `min..=max` bytes.
    pub fn new(min: usize, max: usize) -> Self {
        let pool =
            (0..(POOL_OFFSETS + max) as u64).map(|place| b'!' + (scramble(place) % 94) as u8).collect();
        Self { pool, min, max }
    }

    /// The value of key `index`.
    pub fn of(&self, index: u64) -> &[u8] {
        let bits = scramble(index ^ 0x5bd1_e995);
        let offset = bits as usize % POOL_OFFSETS;
        let length = self.min + (bits >> 32) as usize % (self.max - self.min + 1);
        &self.pool[offset..offset + length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(distribution: Distribution, space: u64, draws: u64) -> Vec<u64> {
        let keys = Keys::new(distribution, space).unwrap();
        let mut counts = vec![0; space as usize];
        for number in 0..draws {
            counts[keys.pick(keys.draw(7, number), 0) as usize] += 1;
        }
        counts
    }

    #[test]
    fn uniform_keys_are_equally_frequent() {
        let counts = counts(Distribution::Uniform, 100, 1_000_000);
        let chi_squared: f64 = counts.iter().map(|&n| (n as f64 - 10_000.0).powi(2) / 10_000.0).sum();
        // 99 degrees of freedom: above 160 has a chance of one in ten thousand, and the seed is fixed.
        assert!(chi_squared < 160.0, "{chi_squared}");
    }

    #[test]
    fn zipf_frequencies_follow_the_exponent() {
        let counts = counts(Distribution::Zipf(0.99), 1000, 1_000_000);
        let harmonic: f64 = (1..=1000).map(|k| f64::from(k).powf(-0.99)).sum();
        for rank in [1_u32, 2, 10, 100] {
            let expected = 1e6 * f64::from(rank).powf(-0.99) / harmonic;
            let found = counts[rank as usize - 1] as f64;
            assert!((found / expected - 1.0).abs() < 0.05, "rank {rank}: {found}, expected {expected}");
        }
        assert!(counts[999] > 0, "the last key is never drawn");
    }

    #[test]
    fn sequential_keys_cover_the_space_exactly() {
        assert!(counts(Distribution::Sequential, 1000, 3000).iter().all(|&n| n == 3));
    }

    #[test]
    fn keys_of_one_request_differ_from_each_other() {
        for distribution in [Distribution::Uniform, Distribution::Zipf(0.5)] {
            let keys = Keys::new(distribution, 1 << 40).unwrap();
            let first = keys.pick(keys.draw(1, 1), 0);
            assert!((1..10).all(|nth| keys.pick(keys.draw(1, 1), nth) != first));
        }
    }

    #[test]
    fn names_have_the_length_asked_for() {
        let names = KeyNames::new("k:", 11, 1_000_000_000).unwrap();
        let mut out = Vec::new();
        names.append(42, &mut out);
        names.append(999_999_999, &mut out);
        assert_eq!(out, b"k:000000042k:999999999");
        assert!(KeyNames::new("k:", 10, 1_000_000_000).is_err());
    }

    #[test]
    fn a_value_is_a_function_of_its_key_and_lengths_reach_both_bounds() {
        let values = Values::new(10, 12);
        let lengths: std::collections::BTreeSet<_> = (0..1000).map(|key| values.of(key).len()).collect();
        assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [10, 11, 12]);
        assert_eq!(values.of(5), values.of(5));
        assert_ne!(values.of(5), values.of(6));
    }

    #[test]
    fn distributions_parse() {
        assert_eq!("uniform".parse(), Ok(Distribution::Uniform));
        assert_eq!("zipf".parse(), Ok(Distribution::Zipf(0.99)));
        assert_eq!("zipf:1.2".parse(), Ok(Distribution::Zipf(1.2)));
        assert!("zipf:-1".parse::<Distribution>().is_err());
        assert!("gauss".parse::<Distribution>().is_err());
    }
}
