//! Keyspace notifications: which classes are wanted, and the queue of events that a command raised.
//!
//! Commands raise events here without knowing whether anyone listens; the shard's owner drains the queue after each
//! command (or slice of housekeeping) and publishes. With `notify-keyspace-events ""`, the default, raising costs one
//! test. The queue's bound is that draining: one command raises at most a few events per key that it names, and
//! each slice of housekeeping is bounded by its budget.

use std::ops::BitOr;

/// A set of notification classes; each letter of `notify-keyspace-events` is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventClass(u16);

impl EventClass {
    pub const NONE: EventClass = EventClass(0);
    /// `K`: publish to `__keyspace@<db>__:<key>`.
    pub const KEYSPACE: EventClass = EventClass(1 << 0);
    /// `E`: publish to `__keyevent@<db>__:<event>`.
    pub const KEYEVENT: EventClass = EventClass(1 << 1);
    /// `g`
    pub const GENERIC: EventClass = EventClass(1 << 2);
    /// `$`
    pub const STRING: EventClass = EventClass(1 << 3);
    /// `l`
    pub const LIST: EventClass = EventClass(1 << 4);
    /// `s`
    pub const SET: EventClass = EventClass(1 << 5);
    /// `h`
    pub const HASH: EventClass = EventClass(1 << 6);
    /// `z`
    pub const ZSET: EventClass = EventClass(1 << 7);
    /// `x`
    pub const EXPIRED: EventClass = EventClass(1 << 8);
    /// `e`
    pub const EVICTED: EventClass = EventClass(1 << 9);
    /// `t`
    pub const STREAM: EventClass = EventClass(1 << 10);
    /// `m`: a read of an absent key. Not part of `A`.
    pub const KEY_MISS: EventClass = EventClass(1 << 11);
    /// `d`
    pub const MODULE: EventClass = EventClass(1 << 12);
    /// `n`: a key came into being. Not part of `A`.
    pub const NEW: EventClass = EventClass(1 << 13);
    /// `A`: every class but `m` and `n`.
    pub const ALL: EventClass = EventClass(0b1_0111_1111_1100);

    pub const fn contains(self, other: EventClass) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn intersects(self, other: EventClass) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for EventClass {
    type Output = EventClass;
    fn bitor(self, other: EventClass) -> EventClass {
        EventClass(self.0 | other.0)
    }
}

/// Messages in the order in which CONFIG GET answers them. `A` stands for the first ten.
const LETTERS: [(u8, EventClass); 14] = [
    (b'g', EventClass::GENERIC),
    (b'$', EventClass::STRING),
    (b'l', EventClass::LIST),
    (b's', EventClass::SET),
    (b'h', EventClass::HASH),
    (b'z', EventClass::ZSET),
    (b'x', EventClass::EXPIRED),
    (b'e', EventClass::EVICTED),
    (b't', EventClass::STREAM),
    (b'd', EventClass::MODULE),
    (b'n', EventClass::NEW),
    (b'K', EventClass::KEYSPACE),
    (b'E', EventClass::KEYEVENT),
    (b'm', EventClass::KEY_MISS),
];

/// Something that happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspaceEvent {
    pub db: usize,
    pub class: EventClass,
    /// As in Redis: "set", "del", "expired".
    pub name: &'static str,
    pub key: Vec<u8>,
}

/// The classes wanted and the events raised since the last drain.
#[derive(Debug, Default)]
pub struct Events {
    wanted: EventClass,
    queue: Vec<KeyspaceEvent>,
}

impl Events {
    /// Reads `notify-keyspace-events`; `None` when a letter means nothing.
    pub fn parse(letters: &[u8]) -> Option<EventClass> {
        letters.iter().try_fold(EventClass::NONE, |classes, &letter| {
            if letter == b'A' {
                return Some(classes | EventClass::ALL);
            }
            let (_, class) = LETTERS.iter().find(|(l, _)| *l == letter)?;
            Some(classes | *class)
        })
    }

    /// The letters of `classes`, as CONFIG GET shows them. As in Redis 7.2, `A` hides `n`.
    #[cfg(test)]
    pub fn format(classes: EventClass) -> String {
        let mut text = String::new();
        let all = classes.contains(EventClass::ALL);
        if all {
            text.push('A');
        }
        for (letter, class) in LETTERS {
            let hidden = all && (EventClass::ALL | EventClass::NEW).contains(class);
            if !hidden && classes.contains(class) {
                text.push(letter as char);
            }
        }
        text
    }

    /// What is published from now on.
    pub fn set_classes(&mut self, wanted: EventClass) {
        self.wanted = wanted;
    }

    pub fn classes(&self) -> EventClass {
        self.wanted
    }

    /// Whether events of this class go anywhere.
    #[inline]
    pub fn wants(&self, class: EventClass) -> bool {
        self.wanted.intersects(class) && self.wanted.intersects(EventClass::KEYSPACE | EventClass::KEYEVENT)
    }

    /// Queues an event if its class is wanted.
    #[inline]
    pub fn raise(&mut self, db: usize, class: EventClass, name: &'static str, key: &[u8]) {
        if self.wants(class) {
            self.queue.push(KeyspaceEvent { db, class, name, key: key.to_vec() });
        }
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The events raised since the last call, oldest first.
    pub fn take(&mut self) -> Vec<KeyspaceEvent> {
        std::mem::take(&mut self.queue)
    }

    /// As `take`, keeping the queue's memory.
    #[cfg(test)]
    pub fn drain(&mut self) -> impl Iterator<Item = KeyspaceEvent> + '_ {
        self.queue.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_round_trip_as_config_get_shows_them() {
        for (set, shown) in [
            ("", ""),
            ("KEA", "AKE"),
            ("AKE", "AKE"),
            ("Kn$", "$nK"),
            ("g$lshzxetdKEm", "AKEm"),
            ("nAK", "AK"),
            ("Em", "Em"),
            ("xK", "xK"),
        ] {
            let classes = Events::parse(set.as_bytes()).unwrap();
            assert_eq!(Events::format(classes), shown, "{set}");
        }
        assert_eq!(Events::parse(b"KEq"), None);
    }

    #[test]
    fn nothing_is_queued_without_k_or_e_or_the_class() {
        let mut events = Events::default();
        for (letters, queued) in [("", 0), ("$", 0), ("Kg", 0), ("K$", 1), ("EA", 1), ("K", 0)] {
            events.set_classes(Events::parse(letters.as_bytes()).unwrap());
            events.raise(3, EventClass::STRING, "set", b"k");
            assert_eq!(events.take().len(), queued, "{letters}");
        }
    }

    #[test]
    fn misses_and_new_keys_must_be_asked_for() {
        let mut events = Events::default();
        events.set_classes(Events::parse(b"KEA").unwrap());
        assert!(!events.wants(EventClass::KEY_MISS));
        assert!(!events.wants(EventClass::NEW));
        assert!(events.wants(EventClass::MODULE));
    }
}
