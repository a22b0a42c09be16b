//! Eviction.

/// A key that eviction removed: to be logged as a DEL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evicted {
    pub db: usize,
    pub key: Vec<u8>,
}
