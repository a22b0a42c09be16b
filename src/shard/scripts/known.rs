//! The scripts that the server knows, and those that take long: what all shards share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::base::Stamp;
use crate::base::Token;
use crate::command::CommandError;
use crate::script::{Libraries, Script, Sha};
use crate::txn::message::OwnedArgs;

/// Which keys a script was seen to touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It has not run yet.
    Unknown,
    /// Those that it names.
    Named,
    /// Others, too.
    Everything,
}

/// What is remembered of a script or a function.
#[derive(Debug, Default)]
pub struct Memory {
    reach: AtomicU8,
}

impl Memory {
    pub fn reach(&self) -> Reach {
        match self.reach.load(Ordering::Relaxed) {
            0 => Reach::Unknown,
            1 => Reach::Named,
            _ => Reach::Everything,
        }
    }

    /// What touches everything once may do so again.
    pub fn learn(&self, is_everything: bool) {
        self.reach.fetch_max(if is_everything { 2 } else { 1 }, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub struct Known {
    pub script: Arc<Script>,
    pub memory: Arc<Memory>,
}

/// A script that has taken so long that others got their turn.
#[derive(Debug)]
pub struct Slow {
    pub is_function: bool,
    pub name: String,
    /// By which it was called.
    pub command: OwnedArgs,
    pub started: Stamp,
    /// The shard that serves its client, and the client there.
    pub home: Option<usize>,
    pub connection: Token,
    pub has_written: AtomicBool,
    pub is_killed: AtomicBool,
}

/// Why no script is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unkillable {
    NotBusy,
    HasWritten,
    /// SCRIPT KILL is for scripts, FUNCTION KILL for functions: what runs is a function, or is none.
    OtherKind {
        is_function: bool,
    },
}

impl Unkillable {
    pub fn error(self) -> CommandError {
        CommandError::other(match self {
            Unkillable::NotBusy => "NOTBUSY No scripts in execution right now.",
            Unkillable::HasWritten => {
                "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the \
                 script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command."
            }
            Unkillable::OtherKind { is_function: true } => {
                "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."
            }
            Unkillable::OtherKind { is_function: false } => {
                "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
            }
        })
    }
}

#[derive(Debug)]
pub struct KnownScripts {
    by_sha: Mutex<HashMap<Sha, Arc<Known>, foldhash::fast::RandomState>>,
    /// Changes when scripts are forgotten, or libraries change.
    version: AtomicU64,
    /// Changes when scripts are forgotten.
    epoch: AtomicU64,
    slow: Mutex<Vec<Arc<Slow>>>,
    libraries: Mutex<Arc<Libraries>>,
    /// Of functions, by their names in lower case, for as long as the libraries are the same.
    functions: Mutex<HashMap<Box<[u8]>, Arc<Memory>>>,
    /// Of each shard: how many scripts hold it up for longer than `busy-reply-threshold`.
    busy: Vec<AtomicU32>,
    /// A script that has written waits for everything, and keeps what it has.
    is_reaching: AtomicBool,
    /// DEBUG SET-DISABLE-DENY-SCRIPTS: also what is not meant for scripts.
    pub may_call_all: AtomicBool,
}

impl KnownScripts {
    pub fn new(shards: usize) -> KnownScripts {
        KnownScripts {
            by_sha: Mutex::default(),
            version: AtomicU64::new(1),
            epoch: AtomicU64::new(0),
            slow: Mutex::default(),
            libraries: Mutex::default(),
            functions: Mutex::default(),
            busy: (0..shards).map(|_| AtomicU32::new(0)).collect(),
            is_reaching: AtomicBool::new(false),
            may_call_all: AtomicBool::new(false),
        }
    }

    /// Whether a script may wait for everything while it keeps what it has: no other one does. If so, until `end_reaching`.
    pub fn begin_reaching(&self) -> bool {
        self.is_reaching.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    pub fn end_reaching(&self) {
        self.is_reaching.store(false, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Sha, Arc<Known>, foldhash::fast::RandomState>> {
        self.by_sha.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub fn get(&self, sha: &Sha) -> Option<Arc<Known>> {
        self.lock().get(sha).cloned()
    }

    /// Adds a script; whoever was first wins.
    pub fn add(&self, script: Arc<Script>) -> Arc<Known> {
        self.lock()
            .entry(script.sha)
            .or_insert_with(|| Arc::new(Known { script, memory: Arc::default() }))
            .clone()
    }

    pub fn flush(&self) {
        self.lock().clear();
        self.epoch.fetch_add(1, Ordering::Release);
        self.version.fetch_add(1, Ordering::Release);
    }

    pub fn libraries(&self) -> Arc<Libraries> {
        self.libraries.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    pub fn publish_libraries(&self, libraries: Libraries) {
        *self.libraries.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(libraries);
        self.functions.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clear();
        self.version.fetch_add(1, Ordering::Release);
    }

    /// What is remembered of a function.
    pub fn memory_of_function(&self, name: &[u8]) -> Arc<Memory> {
        let mut functions = self.functions.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        functions.entry(name.to_ascii_lowercase().into()).or_default().clone()
    }

    /// How many, and the bytes of their texts.
    pub fn size(&self) -> (usize, usize) {
        let scripts = self.lock();
        (scripts.len(), scripts.values().map(|known| known.script.text.len() + size_of::<Known>()).sum())
    }

    #[inline]
    pub fn is_busy(&self, shard: usize) -> bool {
        self.busy[shard].load(Ordering::Relaxed) != 0
    }

    /// Whether a shard is held up by a script.
    pub fn is_any_busy(&self) -> bool {
        self.busy.iter().any(|busy| busy.load(Ordering::Relaxed) != 0)
    }

    pub fn change_busy(&self, shards: impl Iterator<Item = usize>, begins: bool) {
        for shard in shards {
            if begins {
                self.busy[shard].fetch_add(1, Ordering::Relaxed);
            } else {
                self.busy[shard].fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn slow(&self) -> MutexGuard<'_, Vec<Arc<Slow>>> {
        self.slow.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn add_slow(&self, slow: Slow) -> Arc<Slow> {
        let slow = Arc::new(slow);
        self.slow().push(slow.clone());
        slow
    }

    /// The one that has been running for longest.
    pub fn slowest(&self) -> Option<Arc<Slow>> {
        self.slow().first().cloned()
    }

    /// Those of clients that this shard serves.
    pub fn slow_of(&self, shard: usize) -> Vec<Arc<Slow>> {
        self.slow().iter().filter(|slow| slow.home == Some(shard)).cloned().collect()
    }

    pub fn remove_slow(&self, slow: &Arc<Slow>) {
        self.slow().retain(|other| !Arc::ptr_eq(other, slow));
    }

    /// Whether a script has been running for long.
    pub fn is_any_slow(&self) -> bool {
        !self.slow().is_empty()
    }

    /// Whether the busy ones are functions.
    pub fn is_function_busy(&self) -> bool {
        self.slow().first().is_some_and(|slow| slow.is_function)
    }

    /// Has a slow script end, if it has not written anything.
    pub fn kill(&self, functions: bool) -> Result<(), Unkillable> {
        let mut why = Unkillable::NotBusy;
        for slow in self.slow().iter() {
            if slow.has_written.load(Ordering::Relaxed) {
                why = Unkillable::HasWritten;
            } else if slow.is_function != functions {
                why = Unkillable::OtherKind { is_function: slow.is_function };
            } else {
                slow.is_killed.store(true, Ordering::Relaxed);
                return Ok(());
            }
        }
        Err(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_was_seen_to_touch_only_grows() {
        let scripts = KnownScripts::new(2);
        let known = scripts.add(Script::new(b"return 1").unwrap());
        let memory = &known.memory;
        assert_eq!(memory.reach(), Reach::Unknown);
        memory.learn(false);
        assert_eq!(memory.reach(), Reach::Named);
        memory.learn(true);
        memory.learn(false);
        assert_eq!(scripts.get(&known.script.sha).unwrap().memory.reach(), Reach::Everything);
        let version = scripts.version();
        scripts.flush();
        assert!(scripts.get(&known.script.sha).is_none() && scripts.version() > version);
    }

    fn slow_script() -> Slow {
        Slow {
            is_function: false,
            name: String::new(),
            command: OwnedArgs::default(),
            started: Stamp::now(),
            home: None,
            connection: Token { index: 0, generation: 0 },
            has_written: AtomicBool::new(false),
            is_killed: AtomicBool::new(false),
        }
    }

    #[test]
    fn only_what_has_not_written_is_killed() {
        let scripts = KnownScripts::new(1);
        assert_eq!(scripts.kill(false), Err(Unkillable::NotBusy));
        let slow = scripts.add_slow(slow_script());
        assert_eq!(scripts.kill(true), Err(Unkillable::OtherKind { is_function: false }));
        slow.has_written.store(true, Ordering::Relaxed);
        assert_eq!(scripts.kill(false), Err(Unkillable::HasWritten));
        let other = scripts.add_slow(slow_script());
        assert_eq!(scripts.kill(false), Ok(()));
        assert!(other.is_killed.load(Ordering::Relaxed) && !slow.is_killed.load(Ordering::Relaxed));
        scripts.remove_slow(&slow);
        scripts.remove_slow(&other);
        assert_eq!(scripts.kill(false), Err(Unkillable::NotBusy));
    }
}
