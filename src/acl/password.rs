//! Passwords, which are known by their SHA-256 hash only.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const HASH_LEN: usize = 64;

/// A hash in lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hash(Box<str>);

impl Hash {
    pub fn of(password: &[u8]) -> Hash {
        let digits: String = Sha256::digest(password).iter().map(|byte| format!("{byte:02x}")).collect();
        Hash(digits.into())
    }

    /// None: it is not 64 lower-case hexadecimal digits.
    pub fn parse(text: &[u8]) -> Option<Hash> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != HASH_LEN || !text.iter().all(is_digit) {
            return None;
        }
        std::str::from_utf8(text).ok().map(|text| Hash(text.into()))
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// Takes the same time wherever the two differ, so that the time does not tell the password.
    pub fn is_same(&self, other: &Hash) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_sha_256_and_nothing_else_is_taken_for_one() {
        let hash = Hash::of(b"secret");
        assert_eq!(hash.text(), "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b");
        assert!(hash.is_same(&Hash::parse(hash.text().as_bytes()).unwrap()));
        assert!(!hash.is_same(&Hash::of(b"Secret")));
        for wrong in [&hash.text()[1..], &hash.text().to_uppercase(), &format!("{}g", &hash.text()[1..])] {
            assert!(Hash::parse(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }
}
