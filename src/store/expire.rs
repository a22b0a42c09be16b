//! Expiry.

/// Where the active expiry cycle is.
#[derive(Debug, Default)]
pub struct ExpireCycle {}
