//! Directives about who may do what.

use super::values::choices;
use std::path::PathBuf;

choices! {
    /// From where a dangerous action is allowed.
    ProtectedAction {
        No = "no",
        Yes = "yes",
        /// From connections of this machine.
        Local = "local",
    }
}

impl ProtectedAction {
    /// Whether a client may; `local`: it is connected from this machine.
    pub fn allows(self, local: bool) -> bool {
        match self {
            ProtectedAction::No => false,
            ProtectedAction::Yes => true,
            ProtectedAction::Local => local,
        }
    }
}

choices! {
    /// Which Pub/Sub channels a new user may use.
    AclPubsubDefault {
        AllChannels = "allchannels",
        ResetChannels = "resetchannels",
    }
}

super::directive::section! {
    /// Passwords, users and protected commands.
    Security in security {
        requirepass: Option<Vec<u8>> = None, "requirepass", SENSITIVE, Rule::Any;
        aclfile: PathBuf = PathBuf::new(), "aclfile", IMMUTABLE, Rule::Any;
        acl_pubsub_default: AclPubsubDefault = AclPubsubDefault::ResetChannels, "acl-pubsub-default", 0, Rule::Any;
        acllog_max_len: u64 = 128, "acllog-max-len", 0, int(0, LONG_MAX);
        enable_protected_configs: ProtectedAction = ProtectedAction::No, "enable-protected-configs", IMMUTABLE, Rule::Any;
        enable_debug_command: ProtectedAction = ProtectedAction::No, "enable-debug-command", IMMUTABLE, Rule::Any;
        enable_module_command: ProtectedAction = ProtectedAction::No, "enable-module-command", IMMUTABLE, Rule::Any;
    }
}
