//! A master's snapshot is loaded into a second store beside the one that serves. Only when all shards have found it whole do the two
//! change places, at a barrier: clients see the old data or the new, and what is no good costs nothing but the time.

use std::fs::File;
use std::io::{self, Read};

use crate::base::log::Level;
use crate::base::Stamp;
use crate::command::table::KeyAccess;
use crate::log;
use crate::log_text;
use crate::rdb::file::{Load, LoadOptions, Progress};
use crate::replication::{AsideReport, AsideSource, FollowEvent, IntakeReader, Told};
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
    /// What it is called in the log.
    name: String,
    store: Box<Store>,
    load: Load<Input>,
    /// It has all that has come so far.
    waits: bool,
    functions: Vec<Vec<u8>>,
    told: Told,
}

enum Input {
    File(File),
    Link(IntakeReader),
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Input::File(file) => file.read(buffer),
            Input::Link(link) => link.read(buffer),
        }
    }
}

impl Aside {
    pub fn is_busy(&self) -> bool {
        matches!(&self.state, State::Loading(loading) if !loading.waits) || self.old.is_some()
    }

    pub fn has_more(&mut self) {
        if let State::Loading(loading) = &mut self.state {
            loading.waits = false;
        }
    }
}

impl Shard {
    pub(super) fn load_aside(&mut self, source: AsideSource, told: Told) {
        self.drop_aside();
        let options = LoadOptions {
            keeps_expired: true,
            ..self.saving.load_options(&self.turn, &mut self.store, false)
        };
        let (name, input) = match source {
            AsideSource::File(path) => {
                let input = File::open(&path);
                let input =
                    input.map_err(|error| format!("Can't open {} for reading: {error}", path.display()));
                (path.display().to_string(), input.map(Input::File))
            }
            AsideSource::Link(intake) => ("stream".to_owned(), Ok(Input::Link(intake.reader()))),
        };
        match input {
            Ok(input) => {
                let store = Box::new(self.store.empty_like());
                let load = Load::begin(input, options);
                let loading = Loading { name, store, load, waits: false, functions: Vec::new(), told };
                self.replication.following.aside.state = State::Loading(Box::new(loading));
            }
            Err(why) => told(FollowEvent::LoadedAside { result: Err(why) }),
        }
    }

    pub(super) fn drop_aside(&mut self) {
        let store = match std::mem::take(&mut self.replication.following.aside.state) {
            State::Nothing => return,
            State::Loading(mut loading) => {
                if self.turn.is_leader() {
                    // The link was lost in the midst of it.
                    let failure = loading.load.interrupt();
                    failure.log_lines().iter().for_each(|line| log!(Level::Warning, "{line}"));
                }
                loading.store
            }
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
        loading.load.set_delay(self.turn.config.persistence.key_load_delay);
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
            Err(failure) if failure.is_pause() => {
                loading.waits = true;
                self.replication.following.aside.state = State::Loading(loading);
            }
            Err(failure) => {
                if self.turn.is_leader() {
                    failure.log_lines().iter().for_each(|line| log!(Level::Warning, "{line}"));
                    log!(Level::Warning, "The file is {}: {failure}", loading.name);
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
