//! A master's snapshot is loaded into a second store beside the one that serves. Only when all shards have found it whole do the two
//! change places, at a barrier: clients see the old data or the new, and what is no good costs nothing but the time.

use std::fs::File;
use std::path::PathBuf;

use crate::base::log::Level;
use crate::base::Stamp;
use crate::command::table::KeyAccess;
use crate::log;
use crate::log_text;
use crate::rdb::file::{Load, LoadOptions, Progress};
use crate::replication::{AsideReport, FollowEvent, Told};
use crate::script::Libraries;
use crate::shard::transactions::{Answers, BarrierWork, Phase};
use crate::shard::Shard;
use crate::store::{parse_integer, Store};

/// The longest slice: clients are served meanwhile.
const SLICE_NANOS: u64 = 1_000_000;
/// Objects of the old data freed between two looks at the clock.
const FREE_AT_ONCE: usize = 64;

#[derive(Default)]
pub(super) struct Aside {
    state: State,
    /// What was replaced, and is freed in slices.
    old: Option<Box<Store>>,
}

#[derive(Default)]
enum State {
    #[default]
    Nothing,
    Loading(Box<Loading>),
    Whole {
        store: Box<Store>,
        /// The leader's: those of the snapshot.
        libraries: Option<Box<Libraries>>,
    },
}

struct Loading {
    path: PathBuf,
    store: Box<Store>,
    load: Load<File>,
    functions: Vec<Vec<u8>>,
    told: Told,
}

impl Aside {
    pub fn is_busy(&self) -> bool {
        matches!(self.state, State::Loading(_)) || self.old.is_some()
    }
}

impl Shard {
    pub(super) fn load_aside(&mut self, path: PathBuf, told: Told) {
        let options = LoadOptions {
            keeps_expired: true,
            ..self.saving.load_options(&self.turn, &mut self.store, false)
        };
        let load = File::open(&path)
            .map_err(|error| format!("Can't open {} for reading: {error}", path.display()))
            .and_then(|file| Load::new(file, options).map_err(|failure| failure.to_string()));
        match load {
            Ok(load) => {
                let store = Box::new(self.store.empty_like());
                let loading = Loading { path, store, load, functions: Vec::new(), told };
                self.replication.following.aside.state = State::Loading(Box::new(loading));
            }
            Err(why) => {
                self.replication.following.aside.state = State::Nothing;
                told(FollowEvent::LoadedAside { result: Err(why) });
            }
        }
    }

    pub(super) fn drop_aside(&mut self) {
        let store = match std::mem::take(&mut self.replication.following.aside.state) {
            State::Nothing => return,
            State::Loading(loading) => loading.store,
            State::Whole { store, .. } => store,
        };
        self.free_store(store);
    }

    /// Frees a store that serves nobody, in slices.
    fn free_store(&mut self, mut store: Box<Store>) {
        store.clear(None);
        if let Some(mut earlier) = self.replication.following.aside.old.replace(store) {
            while earlier.free_some(usize::MAX) {}
        }
    }

    pub(super) fn aside_slice(&mut self) -> bool {
        let started = Stamp::now();
        let until = move || Stamp::now().nanos_since(started) > SLICE_NANOS;
        if let State::Loading(_) = &self.replication.following.aside.state {
            self.load_aside_some(&until);
        }
        if let Some(old) = &mut self.replication.following.aside.old {
            let mut has_more = true;
            while has_more && !until() {
                has_more = old.free_some(FREE_AT_ONCE);
            }
            if !has_more {
                self.replication.following.aside.old = None;
            }
        }
        self.replication.following.aside.is_busy()
    }

    fn load_aside_some(&mut self, until: &dyn Fn() -> bool) {
        let State::Loading(mut loading) = std::mem::take(&mut self.replication.following.aside.state) else {
            return;
        };
        loading.store.set_time(self.turn.now_ms());
        let progress = loading.load.step(&mut loading.store, until);
        for note in loading.load.take_notes() {
            if self.turn.is_leader() || note.is_of_key {
                log_text!(note.level, note.text);
            }
        }
        loading.functions.append(&mut loading.load.take_functions());
        match progress {
            Ok(Progress::More) => self.replication.following.aside.state = State::Loading(loading),
            Ok(Progress::Done) => self.loaded_aside(*loading),
            Err(failure) => {
                if self.turn.is_leader() {
                    failure.log_lines().iter().for_each(|line| log!(Level::Warning, "{line}"));
                    log!(Level::Warning, "The file is {}: {failure}", loading.path.display());
                }
                let result = Err(failure.to_string());
                self.free_store(loading.store);
                (loading.told)(FollowEvent::LoadedAside { result });
            }
        }
    }

    /// The keys are whole; so must the functions be.
    fn loaded_aside(&mut self, loading: Loading) {
        let Loading { store, load, functions, told, .. } = loading;
        let libraries = match self.turn.is_leader() {
            true => match self.scripts.libraries_of(&functions) {
                Ok(libraries) => Some(Box::new(libraries)),
                Err(why) => {
                    let result = Err(format!(
                        "a library of functions cannot be loaded: {}",
                        String::from_utf8_lossy(&why)
                    ));
                    self.free_store(store);
                    return told(FollowEvent::LoadedAside { result });
                }
            },
            false => None,
        };
        let stream_db = load.facts().field("repl-stream-db").and_then(parse_integer);
        let stream_db = stream_db.and_then(|db| usize::try_from(db).ok());
        let report = AsideReport { counts: load.counts(), stream_db };
        self.replication.following.aside.state = State::Whole { store, libraries };
        told(FollowEvent::LoadedAside { result: Ok(report) });
    }

    /// The leader: all shards have loaded the snapshot. What is being saved is of the data that goes, and so is the log.
    pub(super) fn take_over(&mut self, told: Told) {
        let give_up = |shard: &mut Shard, _: Answers| {
            shard.give_up_snapshots();
            shard.suspend_aof();
            false
        };
        let done = move |shard: &mut Shard, _: Answers| {
            shard.switch_aof(false);
            told(FollowEvent::TookOver);
            false
        };
        let phases = [Phase::here(give_up), Phase::Each(BarrierWork::ExchangeStores), Phase::here(done)];
        self.at_barrier(KeyAccess::Write, phases);
    }

    /// At a barrier: what was loaded takes the place of what was here.
    pub(in crate::shard) fn exchange_with_aside(&mut self) {
        let State::Whole { mut store, libraries } =
            std::mem::take(&mut self.replication.following.aside.state)
        else {
            return;
        };
        if let Some(libraries) = libraries {
            self.shared.scripts.publish_libraries(*libraries);
        }
        self.replication.following.own_expiries = Default::default();
        self.store.exchange(&mut store);
        self.free_store(store);
        self.subscribers.all_copies_are_outdated(&self.turn, &mut self.peers);
        for db in 0..self.store.databases() {
            self.show_len(db);
        }
    }
}
