//! Roles: commands that the server treats in a way of their own, beside what their flags say.

/// What the code outside a command's handler knows it by. Names are for people; code asks for the role, or for a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// There is nothing special about it.
    Ordinary,
    // Connections.
    Auth,
    Hello,
    Ping,
    Select,
    Quit,
    Reset,
    /// Any subcommand of CLIENT.
    Client,
    // MULTI.
    Multi,
    Exec,
    Discard,
    Watch,
    // Messages.
    /// `is_sharded`: SPUBLISH.
    Publish {
        is_sharded: bool,
    },
    /// `by_pattern`: its arguments are patterns of names.
    Subscribe {
        by_pattern: bool,
    },
    Unsubscribe,
    // Scripts.
    /// It runs a script. `is_read_only`: one of the `_RO` forms.
    Script {
        by: ScriptBy,
        is_read_only: bool,
    },
    /// It changes the libraries of functions.
    Libraries(LibraryChange),
    // Keys.
    Copy,
    Restore,
    Migrate,
    FlushDb,
    FlushAll,
    // The server.
    ConfigSet,
    AclSetUser,
    /// Any subcommand of MODULE.
    Module,
}

/// What the first argument of a command says that runs a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptBy {
    /// The script itself.
    Text,
    /// The hash of one that the server knows.
    Hash,
    /// The name of a library's function.
    Function,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LibraryChange {
    Load,
    Delete,
    Flush,
    Restore,
}

impl Role {
    /// What a script is called by. Everything else is none.
    pub const fn script_by(self) -> Option<ScriptBy> {
        match self {
            Role::Script { by, .. } => Some(by),
            _ => None,
        }
    }

    /// It answers with messages, one for each name, and not with a reply.
    pub const fn answers_with_messages(self) -> bool {
        matches!(self, Role::Subscribe { .. } | Role::Unsubscribe)
    }
}
