//! The vocabularies of the command table: command flags, ACL categories and key flags, each a small set that prints
//! under Redis's names and in Redis's order.
//!
//! A set is a bit mask over an enum whose order is the order of printing. The enums make the table readable and
//! checked by the compiler; the masks make `contains` one instruction.

/// Defines an enum and the set of its members: `$Set` has `of`, `contains`, `names` and friends, all usable in constants.
macro_rules! flag_set {
    (
        $(#[$set_doc:meta])* $set:ident($repr:ty) of $(#[$enum_doc:meta])* $item:ident {
            $($(#[$doc:meta])* $member:ident = $name:literal,)*
        }
    ) => {
        $(#[$enum_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $item { $($(#[$doc])* $member,)* }

        impl $item {
            /// In the order of printing.
            pub const ALL: &'static [$item] = &[$($item::$member,)*];

            pub const fn name(self) -> &'static str {
                match self { $($item::$member => $name,)* }
            }
        }

        $(#[$set_doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $set($repr);

        impl $set {
            pub const EMPTY: $set = $set(0);

            pub const fn of(items: &[$item]) -> Self {
                let mut set = Self::EMPTY;
                let mut i = 0;
                while i < items.len() {
                    set = set.with(items[i]);
                    i += 1;
                }
                set
            }

            #[must_use]
            pub const fn with(self, item: $item) -> Self {
                $set(self.0 | 1 << item as u32)
            }

            #[must_use]
            pub const fn union(self, other: Self) -> Self {
                $set(self.0 | other.0)
            }

            pub const fn contains(self, item: $item) -> bool {
                self.0 & 1 << item as u32 != 0
            }

            pub const fn intersects(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            pub const fn bits(self) -> $repr {
                self.0
            }

            pub fn iter(self) -> impl Iterator<Item = $item> {
                $item::ALL.iter().copied().filter(move |item| self.contains(*item))
            }
        }
    };
}

flag_set! {
    /// What is true of a command as a whole.
    CommandFlags(u32) of
    /// Redis's command flags, in the order in which COMMAND INFO prints them. Those after `AllowBusy` are never printed.
    Flag {
        Write = "write",
        ReadOnly = "readonly",
        DenyOom = "denyoom",
        Admin = "admin",
        PubSub = "pubsub",
        NoScript = "noscript",
        Blocking = "blocking",
        Loading = "loading",
        Stale = "stale",
        SkipMonitor = "skip_monitor",
        SkipSlowlog = "skip_slowlog",
        Asking = "asking",
        Fast = "fast",
        NoAuth = "no_auth",
        NoMandatoryKeys = "no_mandatory_keys",
        NoAsyncLoading = "no_async_loading",
        NoMulti = "no_multi",
        /// The legacy first/last/step triple does not cover all keys. Derived from the key specs.
        MovableKeys = "movablekeys",
        AllowBusy = "allow_busy",
        MayReplicate = "may_replicate",
        /// Available in Sentinel mode too.
        Sentinel = "sentinel",
        OnlySentinel = "only_sentinel",
        /// Needs an `enable-...-command` directive.
        Protected = "protected",
        /// Reads keys that its arguments do not name.
        TouchesArbitraryKeys = "touches_arbitrary_keys",
        /// Blocks only where the option BLOCK says so.
        BlocksByOption = "blocks_by_option",
        /// Run by the connection, it answers at once, from what the connection's shard has: scripts may call it in one go.
        Quick = "quick",
        /// Concerns all shards, although it is no command on their keys: while a script holds up one of them it is refused.
        NeedsAllShards = "needs_all_shards",
    }
}

impl Flag {
    pub const fn is_printed(self) -> bool {
        self as u32 <= Flag::AllowBusy as u32
    }
}

flag_set! {
    /// The ACL categories of one command.
    Categories(u32) of
    /// ACL categories, in the order in which COMMAND INFO prints them (there with a leading `@`).
    Category {
        Keyspace = "keyspace",
        Read = "read",
        Write = "write",
        Set = "set",
        SortedSet = "sortedset",
        List = "list",
        Hash = "hash",
        String = "string",
        Bitmap = "bitmap",
        HyperLogLog = "hyperloglog",
        Geo = "geo",
        Stream = "stream",
        PubSub = "pubsub",
        Admin = "admin",
        Fast = "fast",
        Slow = "slow",
        Blocking = "blocking",
        Dangerous = "dangerous",
        Connection = "connection",
        Transaction = "transaction",
        Scripting = "scripting",
    }
}

impl Category {
    /// `name` without the `@`, in any case.
    pub fn by_name(name: &[u8]) -> Option<Category> {
        Category::ALL.iter().copied().find(|category| category.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

impl Categories {
    /// Adds the categories that follow from a command's flags.
    #[must_use]
    pub const fn with_implied_by(self, flags: CommandFlags) -> Self {
        let mut set = self;
        if flags.contains(Flag::Write) {
            set = set.with(Category::Write);
        }
        if flags.contains(Flag::ReadOnly) && !set.contains(Category::Scripting) {
            set = set.with(Category::Read);
        }
        if flags.contains(Flag::Admin) {
            set = set.with(Category::Admin).with(Category::Dangerous);
        }
        if flags.contains(Flag::PubSub) {
            set = set.with(Category::PubSub);
        }
        if flags.contains(Flag::Blocking) {
            set = set.with(Category::Blocking);
        }
        if flags.contains(Flag::Fast) {
            set = set.with(Category::Fast);
        }
        if !set.contains(Category::Fast) {
            set = set.with(Category::Slow);
        }
        set
    }
}

flag_set! {
    /// How one command treats the keys of one key spec.
    KeyFlags(u16) of
    /// Redis's key flags, in the order in which COMMAND INFO prints them.
    KeyFlag {
        /// The value is read, and not changed.
        Ro = "RO",
        /// The value is changed, depending on what it was.
        Rw = "RW",
        /// The value is replaced, whatever it was.
        Ow = "OW",
        /// The key is deleted.
        Rm = "RM",
        /// The value, or something computed from it, gets out: into the reply or into another key.
        Access = "access",
        /// Data of the value may be replaced by new data.
        Update = "update",
        /// Data is added and none is lost.
        Insert = "insert",
        /// Some of the value's data is deleted on purpose.
        Delete = "delete",
        /// Not a key, but routed like one (shard channels).
        NotKey = "not_key",
        /// The spec does not find every key.
        Incomplete = "incomplete",
        /// The other flags depend on the arguments: the command has a function that finds out.
        VariableFlags = "variable_flags",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_lists_it_in_printing_order() {
        let set = CommandFlags::of(&[Flag::Fast, Flag::Write]);
        assert!(set.contains(Flag::Write) && set.contains(Flag::Fast) && !set.contains(Flag::ReadOnly));
        assert_eq!(set.iter().collect::<Vec<_>>(), [Flag::Write, Flag::Fast]);
        assert_eq!(CommandFlags::EMPTY.iter().count(), 0);
    }

    #[test]
    fn categories_follow_from_flags_as_in_redis() {
        let of = |flags: &[Flag]| Categories::EMPTY.with_implied_by(CommandFlags::of(flags));
        assert_eq!(of(&[]), Categories::of(&[Category::Slow]));
        assert_eq!(of(&[Flag::ReadOnly, Flag::Fast]), Categories::of(&[Category::Read, Category::Fast]));
        assert_eq!(
            of(&[Flag::Admin, Flag::Write]),
            Categories::of(&[Category::Write, Category::Admin, Category::Dangerous, Category::Slow])
        );
        let scripting =
            Categories::of(&[Category::Scripting]).with_implied_by(CommandFlags::of(&[Flag::ReadOnly]));
        assert!(!scripting.contains(Category::Read));
    }

    #[test]
    fn categories_are_found_by_name_in_any_case() {
        for category in Category::ALL {
            assert_eq!(Category::by_name(category.name().to_uppercase().as_bytes()), Some(*category));
        }
        assert_eq!(Category::by_name(b"@read"), None);
    }
}
