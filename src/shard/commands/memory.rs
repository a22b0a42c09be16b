//! MEMORY STATS DOCTOR PURGE MALLOC-STATS HELP. (MEMORY USAGE asks a key and is in `command/object.rs`.)

use super::{help, Handler};
use crate::client::Connection;
use crate::command::{Args, CommandError};
use crate::resp::Reply;
use crate::runtime::alloc;
use crate::shard::housekeeping::PublishGauges;
use crate::shard::memory_figures::{human, Memory};
use crate::shard::scatter::Question;
use crate::shard::{Flow, Shard};
use crate::ALLOCATOR;

pub const COMMANDS: &[(&str, Handler)] = &[
    ("memory|stats", stats),
    ("memory|doctor", doctor),
    ("memory|purge", purge),
    ("memory|malloc-stats", malloc_stats),
    ("memory|help", print_help),
];

/// About what a key takes in its table, and about what its expiry adds, bytes.
const TABLE_BYTES_PER_KEY: u64 = 12;
const EXPIRY_BYTES_PER_KEY: u64 = 8;

const HELP: &[&str] = &[
    "DOCTOR",
    "    Look for problems with memory.",
    "MALLOC-STATS",
    "    Show the allocator's own figures.",
    "PURGE",
    "    Have the allocator give unused memory back to the system.",
    "STATS",
    "    Show where memory is used.",
    "USAGE <key> [SAMPLES <count>]",
    "    Show how many bytes a key and its value take.",
];

type Outcome = Result<Flow, CommandError>;

fn stats(shard: &mut Shard, c: &mut Connection, _: &mut Reply, _: Args) -> Outcome {
    shard.ask_all_for(c, PublishGauges, |shard, _, reply| write_stats(shard, reply));
    Ok(Flow::Later)
}

fn write_stats(shard: &Shard, reply: &mut Reply) {
    let memory = Memory::now(&shard.shared);
    let databases: Vec<(usize, u64, u64)> = (0..shard.store.databases())
        .map(|db| {
            let sum = |volatile: bool| -> u64 {
                let parts = shard.shared.stats.iter().map(|stats| &stats.databases[db]);
                parts.map(|part| if volatile { part.volatile_keys.get() } else { part.keys.get() }).sum()
            };
            (db, sum(false), sum(true))
        })
        .filter(|(_, keys, _)| *keys > 0)
        .collect();
    let (allocator, resident, all) =
        (memory.allocator_fragmentation(), memory.allocator_resident(), memory.fragmentation());

    enum Figure {
        Count(u64),
        Bytes(i64),
        Ratio(f64),
    }
    use Figure::{Bytes, Count, Ratio};
    let head = [
        ("peak.allocated", Count(memory.peak)),
        ("total.allocated", Count(memory.used)),
        ("startup.allocated", Count(memory.startup)),
        ("replication.backlog", Count(0)),
        ("clients.slaves", Count(0)),
        ("clients.normal", Count(memory.clients)),
        ("cluster.links", Count(0)),
        ("aof.buffer", Count(0)),
        ("lua.caches", Count(0)),
        ("functions.caches", Count(0)),
    ];
    let tail = [
        ("overhead.total", Count(memory.overhead())),
        ("keys.count", Count(memory.keys)),
        ("keys.bytes-per-key", Count(memory.bytes_per_key())),
        ("dataset.bytes", Count(memory.dataset)),
        ("dataset.percentage", Ratio(memory.dataset_percent())),
        ("peak.percentage", Ratio(memory.peak_percent())),
        ("allocator.allocated", Count(memory.used)),
        ("allocator.active", Count(memory.active)),
        ("allocator.resident", Count(memory.resident)),
        ("allocator-fragmentation.ratio", Ratio(allocator.ratio)),
        ("allocator-fragmentation.bytes", Bytes(allocator.bytes)),
        ("allocator-rss.ratio", Ratio(resident.ratio)),
        ("allocator-rss.bytes", Bytes(resident.bytes)),
        ("rss-overhead.ratio", Ratio(1.0)),
        ("rss-overhead.bytes", Bytes(0)),
        ("fragmentation", Ratio(all.ratio)),
        ("fragmentation.bytes", Bytes(all.bytes)),
    ];
    let write = |reply: &mut Reply, (name, figure): (&str, Figure)| {
        reply.bulk(name.as_bytes());
        match figure {
            Count(count) => reply.integer(count as i64),
            Bytes(bytes) => reply.integer(bytes),
            Ratio(ratio) => reply.double(ratio),
        }
    };
    reply.map(head.len() + databases.len() + tail.len());
    head.into_iter().for_each(|field| write(reply, field));
    for (db, keys, volatile) in databases {
        reply.bulk(format!("db.{db}").as_bytes());
        reply.map(3);
        reply.bulk(b"overhead.hashtable.main");
        reply.integer((keys * TABLE_BYTES_PER_KEY) as i64);
        reply.bulk(b"overhead.hashtable.expires");
        reply.integer((volatile * EXPIRY_BYTES_PER_KEY) as i64);
        reply.bulk(b"overhead.hashtable.slot-to-keys");
        reply.integer(0);
    }
    tail.into_iter().for_each(|field| write(reply, field));
}

fn doctor(shard: &mut Shard, c: &mut Connection, _: &mut Reply, _: Args) -> Outcome {
    shard.ask_all_for(c, PublishGauges, |shard, _, reply| {
        let report = Memory::now(&shard.shared).report(shard.turn.config.memory.maxmemory);
        reply.verbatim("txt", report.as_bytes());
    });
    Ok(Flow::Later)
}

fn purge(shard: &mut Shard, c: &mut Connection, _: &mut Reply, _: Args) -> Outcome {
    shard.ask_all_for(c, PurgeMemory, |_, _, reply| reply.ok());
    Ok(Flow::Later)
}

/// A thread's own pages can be given back by that thread only.
#[derive(Clone)]
pub struct PurgeMemory;

impl Question for PurgeMemory {
    type Answer = ();

    fn answer(self, _: &mut Shard) {
        alloc::purge();
    }
}

fn malloc_stats(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    let memory = Memory::now(&shard.shared);
    let text = format!(
        "{ALLOCATOR}\nallocated: {} ({})\ncommitted: {} ({})\nresident: {} ({})\npeak: {} ({})\n",
        memory.used,
        human(memory.used),
        memory.active,
        human(memory.active),
        memory.resident,
        human(memory.resident),
        memory.peak,
        human(memory.peak),
    );
    reply.verbatim("txt", text.as_bytes());
    Ok(Flow::Done)
}

fn print_help(_: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    help(reply, "MEMORY", HELP);
    Ok(Flow::Done)
}
