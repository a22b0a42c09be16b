//! What a connection with CLIENT TRACKING wants to be told of.

use crate::base::Token;

/// Whether the client says which reads it keeps copies of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Of all.
    #[default]
    All,
    /// Of those behind CLIENT CACHING YES.
    OptIn,
    /// Of all but those behind CLIENT CACHING NO.
    OptOut,
}

/// Another connection that gets the invalidations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect {
    pub id: u64,
    pub shard: usize,
    pub token: Token,
}

#[derive(Debug, Default)]
pub struct Tracking {
    pub choice: Choice,
    /// CLIENT CACHING was called for the next command.
    pub has_chosen: bool,
    /// It is told of all keys with these prefixes, whether it has read them or not.
    pub is_broadcast: bool,
    pub prefixes: Vec<Box<[u8]>>,
    /// Not of its own changes.
    pub no_loop: bool,
    pub redirect: Option<Redirect>,
    /// The connection that it is redirected to has gone.
    pub is_broken: bool,
}

impl Tracking {
    pub fn memory_bytes(&self) -> usize {
        let names: usize = self.prefixes.iter().map(|prefix| prefix.len() + size_of::<Box<[u8]>>()).sum();
        size_of::<Self>() + names
    }

    /// Whether the keys of the next read are remembered.
    pub fn remembers_reads(&self) -> bool {
        !self.is_broadcast
            && match self.choice {
                Choice::All => true,
                Choice::OptIn => self.has_chosen,
                Choice::OptOut => !self.has_chosen,
            }
    }
}
