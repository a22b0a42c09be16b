//! The scripts that the server knows, and those that take long: what all shards share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::script::{Script, Sha};

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

#[derive(Debug)]
pub struct Known {
    pub script: Arc<Script>,
    reach: AtomicU8,
}

impl Known {
    pub fn new(script: Arc<Script>) -> Arc<Known> {
        Arc::new(Known { script, reach: AtomicU8::new(0) })
    }

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

/// A script that has taken so long that others got their turn.
#[derive(Debug)]
pub struct Slow {
    pub is_function: bool,
    pub has_written: AtomicBool,
    pub is_killed: AtomicBool,
}

/// Why no script is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unkillable {
    NotBusy,
    HasWritten,
    /// SCRIPT KILL is for scripts, FUNCTION KILL for functions.
    OtherKind,
}

#[derive(Debug)]
pub struct KnownScripts {
    by_sha: Mutex<HashMap<Sha, Arc<Known>, foldhash::fast::RandomState>>,
    /// Changes when scripts are forgotten.
    version: AtomicU64,
    slow: Mutex<Vec<Arc<Slow>>>,
    /// Of each shard: how many scripts hold it up for longer than `busy-reply-threshold`.
    busy: Vec<AtomicU32>,
    /// DEBUG SET-DISABLE-DENY-SCRIPTS: also what is not meant for scripts.
    pub may_call_all: AtomicBool,
}

impl KnownScripts {
    pub fn new(shards: usize) -> KnownScripts {
        KnownScripts {
            by_sha: Mutex::default(),
            version: AtomicU64::new(1),
            slow: Mutex::default(),
            busy: (0..shards).map(|_| AtomicU32::new(0)).collect(),
            may_call_all: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Sha, Arc<Known>, foldhash::fast::RandomState>> {
        self.by_sha.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub fn get(&self, sha: &Sha) -> Option<Arc<Known>> {
        self.lock().get(sha).cloned()
    }

    /// Adds a script; whoever was first wins.
    pub fn add(&self, script: Arc<Script>) -> Arc<Known> {
        self.lock().entry(script.sha).or_insert_with(|| Known::new(script)).clone()
    }

    pub fn flush(&self) {
        self.lock().clear();
        self.version.fetch_add(1, Ordering::Release);
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

    pub fn add_slow(&self, is_function: bool, has_written: bool) -> Arc<Slow> {
        let slow = Arc::new(Slow {
            is_function,
            has_written: AtomicBool::new(has_written),
            is_killed: AtomicBool::new(false),
        });
        self.slow().push(slow.clone());
        slow
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
                why = Unkillable::OtherKind;
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
        assert_eq!(known.reach(), Reach::Unknown);
        known.learn(false);
        assert_eq!(known.reach(), Reach::Named);
        known.learn(true);
        known.learn(false);
        assert_eq!(scripts.get(&known.script.sha).unwrap().reach(), Reach::Everything);
        let version = scripts.version();
        scripts.flush();
        assert!(scripts.get(&known.script.sha).is_none() && scripts.version() > version);
    }

    #[test]
    fn only_what_has_not_written_is_killed() {
        let scripts = KnownScripts::new(1);
        assert_eq!(scripts.kill(false), Err(Unkillable::NotBusy));
        let slow = scripts.add_slow(false, false);
        assert_eq!(scripts.kill(true), Err(Unkillable::OtherKind));
        slow.has_written.store(true, Ordering::Relaxed);
        assert_eq!(scripts.kill(false), Err(Unkillable::HasWritten));
        let other = scripts.add_slow(false, false);
        assert_eq!(scripts.kill(false), Ok(()));
        assert!(other.is_killed.load(Ordering::Relaxed) && !slow.is_killed.load(Ordering::Relaxed));
        scripts.remove_slow(&slow);
        scripts.remove_slow(&other);
        assert_eq!(scripts.kill(false), Err(Unkillable::NotBusy));
    }
}
