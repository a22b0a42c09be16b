//! Whether a user may run a request.

use super::selector::Selector;
use super::user::User;
use crate::command::table::{CommandSpec, Flag, KeyFlag, KeyPositions, Role};
use crate::command::Args;
use crate::resp::Text;
use crate::text;

/// What a user lacks. The order tells which of several selectors came closest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Command,
    Key,
    Auth,
    Channel,
}

impl Reason {
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Auth => "auth",
            Reason::Channel => "channel",
        }
    }
}

/// A request is refused because of its argument `index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denial {
    pub reason: Reason,
    pub index: usize,
}

impl Denial {
    /// For ACL LOG: the command, or the key or channel.
    pub fn object<'a>(&self, spec: &'static CommandSpec, args: Args<'a>) -> &'a [u8] {
        match self.reason {
            Reason::Command => spec.name.as_bytes(),
            _ => args[self.index],
        }
    }

    /// What the client is told; only ACL DRYRUN names the key.
    pub fn text(&self, user: &User, spec: &CommandSpec) -> Text {
        match self.reason {
            Reason::Command | Reason::Auth => {
                text!("User ", user.name, " has no permissions to run the '", spec.name, "' command")
            }
            Reason::Key => "No permissions to access a key".into(),
            Reason::Channel => "No permissions to access a channel".into(),
        }
    }

    pub fn long_text(&self, user: &User, spec: &CommandSpec, args: Args) -> Text {
        match self.reason {
            Reason::Command | Reason::Auth => self.text(user, spec),
            Reason::Key | Reason::Channel => text!(
                "User ",
                user.name,
                " has no permissions to access the '",
                args[self.index],
                "' ",
                self.reason.name()
            ),
        }
    }
}

impl User {
    /// Whether one selector allows the command with all its keys and channels.
    pub fn check(&self, spec: &CommandSpec, args: Args) -> Result<(), Denial> {
        let mut keys = None;
        let mut worst = Denial { reason: Reason::Command, index: 0 };
        for selector in self.selectors() {
            match selector.check(spec, args, &mut keys) {
                Ok(()) => return Ok(()),
                Err(denial) => worst = worst.max(denial),
            }
        }
        Err(worst)
    }

    /// Whether the command may run, and may besides read keys that it does not name.
    pub fn may_read_all_keys(&self, spec: &CommandSpec, args: Args) -> bool {
        let mut keys = None;
        let mut selectors = self.selectors().iter();
        selectors.any(|s| s.reads_all_keys() && s.check(spec, args, &mut keys).is_ok())
    }

    /// Whether a connection may stay subscribed to the channel, whatever command it came by.
    pub fn may_hear(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.selectors().iter().any(|selector| selector.allows_channel(channel, is_pattern))
    }

    /// Whether all channels that `before` had are this user's, too.
    pub fn hears_all_of(&self, before: &User) -> bool {
        let has = |channel: &[u8]| {
            self.selectors().iter().any(|s| s.channels().iter().any(|known| **known == *channel))
        };
        self.selectors().iter().any(|selector| selector.all_channels)
            || before.selectors().iter().all(|selector| {
                !selector.all_channels && selector.channels().iter().all(|channel| has(channel))
            })
    }
}

impl Selector {
    /// `keys` are those of the request, once they were looked for.
    fn check(&self, spec: &CommandSpec, args: Args, keys: &mut Option<KeyPositions>) -> Result<(), Denial> {
        if !spec.is(Flag::NoAuth) && !self.allows_command(spec, args) {
            return Err(Denial { reason: Reason::Command, index: 0 });
        }
        if !self.all_keys && spec.has_keys() {
            let keys = keys.get_or_insert_with(|| {
                let mut keys = KeyPositions::new();
                spec.key_positions(args, &mut keys);
                keys
            });
            let named = keys.iter().filter(|key| !key.flags.contains(KeyFlag::NotKey));
            let denied = named.into_iter().find(|key| !self.allows_key(args[key.index], key.flags));
            if let Some(key) = denied {
                return Err(Denial { reason: Reason::Key, index: key.index });
            }
        }
        if !self.all_channels {
            let (channels, is_pattern) = channels(spec, args.len());
            let mut channels = channels.into_iter();
            if let Some(index) = channels.find(|index| !self.allows_channel(args[*index], is_pattern)) {
                return Err(Denial { reason: Reason::Channel, index });
            }
        }
        Ok(())
    }
}

/// The arguments that name channels to be published to or subscribed to, and whether they are patterns.
fn channels(spec: &CommandSpec, args_len: usize) -> (std::ops::Range<usize>, bool) {
    match spec.role {
        Role::Publish { .. } => (1..2, false),
        Role::Subscribe { by_pattern } => (1..args_len, by_pattern),
        _ => (0..0, false),
    }
}
