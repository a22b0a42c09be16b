//! MIGRATE: moves keys to another server.
//!
//! It runs as a transaction over its keys, in three steps, all under the intents on them: the owners of the keys serialise
//! them; a thread of its own delivers them (`crate::migrate`); and the owners delete those that the other server has
//! acknowledged. So nobody sees a key that is half gone, no change is lost between the copy and the deletion, and while
//! the network takes its time everything but these keys goes on.

use super::Handler;
use crate::client::{Connection, Flag};
use crate::command::migrate::Request;
use crate::command::table::{self, CommandSpec};
use crate::command::{Args, Caller, CommandError};
use crate::migrate::{Delivery, Failure, Job, PackedKey, Target};
use crate::resp::{c_text, Reply, Text};
use crate::shard::message::Message;
use crate::shard::scatter::Question;
use crate::shard::transactions::Later;
use crate::shard::{Flow, Shard};
use crate::txn::locks::Number;
use crate::txn::message::{OwnedArgs, OwnedCommand, Slices};
use crate::{rdb, text};
use std::sync::Arc;

pub const COMMANDS: &[(&str, Handler)] = &[("migrate", migrate)];

type Outcome = Result<Flow, CommandError>;

/// What is needed again when the keys have been delivered.
struct Move {
    later: Later,
    spec: Option<&'static CommandSpec>,
    db: usize,
    caller: Caller,
    keys: Arc<Vec<Vec<u8>>>,
    copy: bool,
    /// The transaction that holds the keys, and its time.
    number: Option<Number>,
    at_us: i64,
}

fn migrate(shard: &mut Shard, c: &mut Connection, _: &mut Reply, args: Args) -> Outcome {
    let request = Request::parse(args)?;
    if !shard.transactions.is_inside_transaction() {
        if !c.may_begin_transaction() {
            return Ok(Flow::NotYet);
        }
        // Set by who calls this.
        let spec = c.last_command.expect("a command is running");
        let command = OwnedCommand::new(spec, c.db, OwnedArgs::from_slices(args));
        shard.begin_transaction(c, vec![command], Vec::new(), false);
        return Ok(Flow::Begun);
    }
    let moving = Move {
        later: shard.transactions.reply_later(c),
        spec: c.last_command,
        db: c.db,
        caller: Caller { is_extra_part: true, ..shard.turn.caller_of(c) },
        keys: Arc::new(request.keys.iter().map(|key| key.to_vec()).collect()),
        copy: request.copy,
        number: shard.transactions.locks.acting(),
        at_us: shard.turn.now_us,
    };
    let job = Job {
        target: Target { host: args[1].to_vec(), port: args[2].to_vec() },
        credentials: request.credentials,
        database: request.database,
        timeout: request.timeout,
        replace: request.replace,
        keys: moving.keys.clone(),
        packed: Vec::new(),
    };
    let pack = PackOwn {
        db: moving.db,
        keys: moving.keys.clone(),
        no_touch: c.flags.has(Flag::NoTouch),
        number: moving.number,
        at_us: moving.at_us,
    };
    shard.ask_all(pack, move |shard, parts| {
        let mut packed: Vec<PackedKey> = parts.into_iter().flatten().collect();
        packed.sort_unstable_by_key(|key| key.key);
        shard.send_off(moving, Job { packed, ..job });
    });
    Ok(Flow::Later)
}

/// What became of the keys of a MIGRATE.
pub struct Delivered {
    moving: Move,
    delivery: Delivery,
}

/// Serialise those of the keys that are yours.
#[derive(Clone)]
pub struct PackOwn {
    db: usize,
    keys: Arc<Vec<Vec<u8>>>,
    no_touch: bool,
    number: Option<Number>,
    at_us: i64,
}

impl Question for PackOwn {
    type Answer = Vec<PackedKey>;

    fn answer(self, shard: &mut Shard) -> Vec<PackedKey> {
        let PackOwn { db, keys, no_touch, number, at_us } = self;
        shard.act_for(number, |shard| shard.at_instant(at_us, |shard| shard.pack_own(db, &keys, no_touch)))
    }
}

/// Delete those of the keys that are yours and have arrived.
#[derive(Clone)]
pub struct DeleteOwn {
    db: usize,
    keys: Arc<Vec<Vec<u8>>>,
    /// Which of the keys.
    gone: Arc<Vec<usize>>,
    caller: Caller,
    number: Option<Number>,
    at_us: i64,
}

impl Question for DeleteOwn {
    type Answer = ();

    fn answer(self, shard: &mut Shard) {
        let DeleteOwn { db, keys, gone, caller, number, at_us } = self;
        let gone = gone.iter().map(|index| keys[*index].as_slice());
        shard.act_for(number, |shard| shard.at_instant(at_us, |shard| shard.delete_own(db, gone, &caller)));
    }
}

impl Shard {
    /// Those of the keys that are here, serialised.
    fn pack_own(&mut self, db: usize, keys: &[Vec<u8>], no_touch: bool) -> Vec<PackedKey> {
        let format = self.turn.rdb_format();
        self.store.no_touch = no_touch;
        let mut packed = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            if self.turn.slots.shard_of(key) != self.id {
                continue;
            }
            let Some(value) = self.store.read(db, key) else { continue };
            let payload = rdb::dump(&value, format);
            let expire_at_ms = self.store.expire_at(db, key).flatten();
            packed.push(PackedKey { key: index, payload, expire_at_ms });
        }
        // Keys that had expired are gone now.
        self.show_len(db);
        self.subscribers.publish_events(&self.turn, &mut self.store, &mut self.peers, &mut self.journal);
        self.subscribers.tell_changes(&self.turn, &mut self.store, &mut self.peers, &mut self.journal, 0);
        packed
    }

    fn send_off(&mut self, moving: Move, job: Job) {
        if job.packed.is_empty() {
            let mut reply = Reply::default();
            reply.simple("NOKEY");
            self.complete(moving.later, reply);
            return;
        }
        let (shared, home) = (self.shared.clone(), self.id);
        self.shared.migrator.send(job, move |delivery| {
            shared.thread_inbox.post(home, Message::Delivered(Box::new(Delivered { moving, delivery })));
        });
    }

    /// The thread is done.
    pub(in crate::shard) fn delivered(&mut self, Delivered { moving, delivery }: Delivered) {
        let Move { later, spec, db, caller, keys, copy, number, at_us } = moving;
        let outcome = delivery.failure.map_or(Ok(()), |failure| Err(error(failure)));
        if copy || delivery.acknowledged.is_empty() {
            self.complete_with(later, spec, outcome);
            return;
        }
        let gone = Arc::new(delivery.acknowledged);
        let delete = DeleteOwn { db, keys, gone, caller, number, at_us };
        self.ask_all(delete, move |shard, _| shard.complete_with(later, spec, outcome));
    }

    /// Deletes those of the keys that are here, which is logged as the DEL that it is.
    fn delete_own<'a>(&mut self, db: usize, keys: impl Iterator<Item = &'a [u8]>, caller: &Caller) {
        let Some(spec) = table::lookup(b"del") else { return };
        let mut args = Slices::from_slice(&[b"DEL"]);
        args.extend(keys.filter(|key| self.turn.slots.shard_of(key) == self.id));
        if args.len() > 1 {
            let del = OwnedCommand::new(spec, db, OwnedArgs::from_slices(&args));
            self.call_in_longer(&del, caller, &mut Reply::default());
        }
    }
}

fn error(failure: Failure) -> CommandError {
    CommandError::other(match failure {
        Failure::Connecting => Text::from("IOERR error or timeout connecting to the client"),
        Failure::Writing => "IOERR error or timeout writing to target instance".into(),
        Failure::Reading => "IOERR error or timeout reading to target instance".into(),
        Failure::TooManyTransfers => "IOERR too many keys wait for their way to other servers".into(),
        Failure::Refused(text) => text!("ERR Target instance replied with error: ", c_text(&text)),
    })
}
