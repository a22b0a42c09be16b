//! Commands that scripts call, in the place of the client: the same rules hold for what comes back through Lua.

use super::generate::Args;
use super::play::{is_scan, name_is};
use super::support::Random;

/// How the commands of a step are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Plain,
    /// By a script that names all words of the command as keys.
    Script,
    /// By a script that names none.
    ScriptWithoutKeys,
}

/// What needs the connection itself, or the answer as it is.
const NEVER: [&str; 8] = ["MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH", "DUMP", "RESTORE", "CONFIG"];
/// What looks at other keys than those that it names; a script that does so is another one from then on.
const REACHING: [&str; 8] =
    ["KEYS", "DBSIZE", "FLUSHALL", "FLUSHDB", "SWAPDB", "RANDOMKEY", "SORT", "SORT_RO"];

/// What scripts may not call before 7.2.
const MODERN: [&str; 8] =
    ["BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BLMPOP", "BZPOPMIN", "BZPOPMAX", "BZMPOP"];

const SCRIPT: &[u8] = b"return redis.call(unpack(ARGV))";
const SCRIPT_WITHOUT_KEYS: &[u8] = b"return redis.call(unpack(ARGV)) --";

impl Way {
    /// `modern`: for servers of version 7.2.
    pub fn random(random: &mut Random, commands: &[Args], modern: bool) -> Way {
        let is_one = |names: &[&str]| {
            commands.iter().any(|args| names.iter().any(|name| name_is(args, name)) || is_scan(args))
        };
        let may_be = !is_one(&NEVER) && (modern || !is_one(&MODERN));
        match random.below(16) {
            0 if may_be && !is_one(&REACHING) => Way::Script,
            1 if may_be => Way::ScriptWithoutKeys,
            _ => Way::Plain,
        }
    }

    /// The request by which `args` are sent.
    pub fn request(self, args: Args) -> Args {
        let (script, keys) = match self {
            Way::Plain => return args,
            Way::Script => (SCRIPT, args[1..].to_vec()),
            Way::ScriptWithoutKeys => (SCRIPT_WITHOUT_KEYS, Vec::new()),
        };
        let mut request = vec![b"EVAL".to_vec(), script.to_vec(), keys.len().to_string().into_bytes()];
        request.extend(keys);
        request.extend(args);
        request
    }
}
