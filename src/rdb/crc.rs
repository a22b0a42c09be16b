//! CRC-64/REDIS: the Jones polynomial, reflected, nothing added before or after.
//!
//! Parts of a file that were written apart join by arithmetic: [`combine`].

use crc_fast::CrcAlgorithm::Crc64Redis;

/// A running checksum.
#[derive(Clone, Copy, Debug)]
pub struct Crc64(crc_fast::Digest);

impl Crc64 {
    pub fn new() -> Crc64 {
        Crc64(crc_fast::Digest::new(Crc64Redis))
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn value(&self) -> u64 {
        self.0.finalize()
    }
}

impl Default for Crc64 {
    fn default() -> Crc64 {
        Crc64::new()
    }
}

/// The checksum of all of `bytes`.
pub fn crc64(bytes: &[u8]) -> u64 {
    crc_fast::checksum(Crc64Redis, bytes)
}

/// The checksum of two parts one after the other, from the checksums of each. `second_len` is in bytes.
pub fn combine(first: u64, second: u64, second_len: u64) -> u64 {
    crc_fast::checksum_combine(Crc64Redis, first, second, second_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_crc_that_redis_writes() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc64(b""), 0);
    }

    #[test]
    fn parts_combine_to_the_whole_wherever_it_is_cut() {
        let bytes: Vec<u8> = (0..3000u32).map(|i| ((i * i) >> 3) as u8).collect();
        let whole = crc64(&bytes);
        for cut in [0, 1, 7, 64, 1000, 2999, 3000] {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(combine(crc64(first), crc64(second), second.len() as u64), whole, "cut at {cut}");
            let mut running = Crc64::new();
            running.update(first);
            running.update(second);
            assert_eq!(running.value(), whole, "cut at {cut}");
        }
    }
}
