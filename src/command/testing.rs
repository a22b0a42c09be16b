//! Runs commands in unit tests: one store that owns every slot, plain function calls, and whatever a command does to be looked
//! at afterwards (reply, log, events).

use std::sync::LazyLock;

use super::table::{Handler, KeysHandler, Names};
use super::{Blocking, Caller, Context};
use crate::command::context::Effect;
use crate::resp::{Protocol, Reply};
use crate::store::{Events, SlotSet, Store};

/// When tests begin, Unix time in milliseconds.
pub const START_MS: i64 = 1_700_000_000_000;
const DATABASES: usize = 16;

pub struct Bench {
    pub store: Store,
    pub db: usize,
    pub caller: Caller,
    pub protocol: Protocol,
    logged: Vec<String>,
    /// How the last command blocked, if it did.
    pub blocked: Option<Box<Blocking>>,
}

impl Bench {
    pub fn new() -> Bench {
        let mut store = Store::new(SlotSet::ALL, DATABASES);
        store.set_time(START_MS);
        store.log_enabled = true;
        let caller = Caller { bulk_len_max: 512 * 1024 * 1024, ..Caller::default() };
        Bench { store, db: 0, caller, protocol: Protocol::Resp2, logged: Vec::new(), blocked: None }
    }

    /// Runs a command whose arguments hold no spaces; `''` is an empty one. Returns the reply's bytes.
    pub fn run(&mut self, command: &str) -> String {
        let args: Vec<&[u8]> =
            command.split_whitespace().map(|word| if word == "''" { b"" } else { word.as_bytes() }).collect();
        self.run_args(&args)
    }

    pub fn run_args(&mut self, args: &[&[u8]]) -> String {
        let handler = handler(args);
        let dirty = self.store.dirty;
        let mut reply = Reply::new(self.protocol);
        let mut ctx = Context {
            store: &mut self.store,
            db: self.db,
            reply: &mut reply,
            caller: &self.caller,
            effect: Effect::default(),
            blocking: None,
        };
        let result = handler(&mut ctx, args);
        let effect = ctx.effect;
        self.blocked = ctx.blocking;
        if let Err(error) = result {
            reply.truncate(0);
            reply.error(&error.text());
        }
        self.logged = match effect {
            Effect::Instead(commands) => {
                commands.iter().map(|command| text(command.iter().map(Vec::as_slice))).collect()
            }
            Effect::Verbatim if self.store.dirty > dirty => vec![text(args.iter().copied())],
            Effect::Verbatim => Vec::new(),
        };
        let bytes: Vec<u8> = reply.segments().flatten().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What the last command sends to the log and the replicas.
    pub fn logged(&self) -> Vec<&str> {
        self.logged.iter().map(String::as_str).collect()
    }

    /// Wants keyspace events of these classes, and forgets those raised so far.
    pub fn listen(&mut self, classes: &str) {
        let classes = Events::parse(classes.as_bytes()).expect("classes as in notify-keyspace-events");
        self.store.events.set_classes(classes);
        self.store.events.take();
    }

    /// The events raised since the last call, as "db:name key".
    pub fn events(&mut self) -> Vec<String> {
        let events = self.store.events.take();
        events
            .iter()
            .map(|event| format!("{}:{} {}", event.db, event.name, String::from_utf8_lossy(&event.key)))
            .collect()
    }

    /// Lets time pass.
    pub fn wait_ms(&mut self, ms: i64) {
        let now_ms = self.store.now_ms();
        self.store.set_time(now_ms + ms);
    }
}

fn text<'a>(args: impl Iterator<Item = &'a [u8]>) -> String {
    args.map(|arg| String::from_utf8_lossy(arg)).collect::<Vec<_>>().join(" ")
}

static NAMES: LazyLock<Names> = LazyLock::new(Names::new);

fn handler(args: &[&[u8]]) -> KeysHandler {
    let name = String::from_utf8_lossy(args[0]);
    match NAMES.find(args).unwrap_or_else(|| panic!("there is no command {name}")).handler {
        Handler::Keys(run, _) | Handler::EveryShard(run, _) => run,
        Handler::Channel | Handler::Connection | Handler::Container | Handler::Script => {
            panic!("{name} needs more than keys")
        }
    }
}
