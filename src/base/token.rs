//! A reference to something in a slot that others occupy later.

/// Names the occupant of a slot: the slot's index, and the generation of its occupant. A late answer for an occupant that has
/// gone is recognised by its generation and dropped. Where a token travels through the ring 24 bits of the generation are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    pub index: u32,
    pub generation: u32,
}

impl Token {}
