//! LATENCY DOCTOR GRAPH HISTOGRAM HISTORY LATEST RESET HELP.

use super::{help, Handler};
use crate::client::Connection;
use crate::command::table::{self, CommandSpec};
use crate::command::{Args, CommandError};
use crate::resp::c_text;
use crate::resp::Reply;
use crate::runtime::clock;
use crate::shard::info::distribution_of;
use crate::shard::{Flow, Shard};
use crate::text;

pub const COMMANDS: &[(&str, Handler)] = &[
    ("latency|doctor", doctor),
    ("latency|graph", graph),
    ("latency|histogram", histogram),
    ("latency|history", history),
    ("latency|latest", latest),
    ("latency|reset", reset),
    ("latency|help", print_help),
];

const HELP: &[&str] = &[
    "DOCTOR",
    "    Comment on the spikes that were recorded.",
    "GRAPH <event>",
    "    Draw the spikes of an event.",
    "HISTOGRAM [<command> ...]",
    "    How many calls took how long, cumulated, by command.",
    "HISTORY <event>",
    "    Unix times and milliseconds of the spikes of an event.",
    "LATEST",
    "    The latest and the worst spike of every event.",
    "RESET [<event> ...]",
    "    Forget the spikes of these events, or of all.",
];

type Outcome = Result<Flow, CommandError>;

// These show the expiry that is under way, too: a client that sees that a key has gone sees what that has taken.

fn doctor(shard: &mut Shard, c: &mut Connection, _: &mut Reply, _: Args) -> Outcome {
    shard.after_expiry_for(c, |shard, reply| {
        let threshold = shard.turn.config.observing.latency_monitor_threshold;
        reply.verbatim("txt", shard.shared.server_stats.latency().report(threshold).as_bytes());
        Ok(())
    });
    Ok(Flow::Later)
}

fn graph(shard: &mut Shard, c: &mut Connection, _: &mut Reply, args: Args) -> Outcome {
    let wanted = args[2].to_vec();
    shard.after_expiry_for(c, move |shard, reply| {
        let events = shard.shared.server_stats.latency();
        let (name, event) = events.get(&wanted).ok_or_else(|| {
            CommandError::other(text!("ERR No samples available for event '", c_text(&wanted), "'"))
        })?;
        reply.verbatim("txt", event.graph(name, clock::unix_us() / 1_000_000).as_bytes());
        Ok(())
    });
    Ok(Flow::Later)
}

fn history(shard: &mut Shard, c: &mut Connection, _: &mut Reply, args: Args) -> Outcome {
    let wanted = args[2].to_vec();
    shard.after_expiry_for(c, move |shard, reply| {
        let events = shard.shared.server_stats.latency();
        let Some((_, event)) = events.get(&wanted) else {
            reply.array(0);
            return Ok(());
        };
        reply.array(event.spikes().len());
        for spike in event.spikes() {
            reply.array(2);
            reply.integer(spike.at_s);
            reply.integer(spike.latency_ms as i64);
        }
        Ok(())
    });
    Ok(Flow::Later)
}

fn latest(shard: &mut Shard, c: &mut Connection, _: &mut Reply, _: Args) -> Outcome {
    shard.after_expiry_for(c, |shard, reply| {
        let events = shard.shared.server_stats.latency();
        reply.array(events.iter().len());
        for (name, event) in events.iter() {
            let latest = event.latest();
            reply.array(4);
            reply.bulk(name.as_bytes());
            reply.integer(latest.map_or(0, |spike| spike.at_s));
            reply.integer(latest.map_or(0, |spike| spike.latency_ms as i64));
            reply.integer(event.max_ms() as i64);
        }
        Ok(())
    });
    Ok(Flow::Later)
}

fn reset(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let forgotten = shard.shared.server_stats.latency().reset(&args[2..]);
    reply.integer(forgotten as i64);
    Ok(Flow::Done)
}

fn histogram(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let mut commands: Vec<&'static CommandSpec> = Vec::new();
    if args.len() == 2 {
        commands.extend(table::all());
    }
    for name in &args[2..] {
        if let Some(spec) = table::original_names().lookup_full(name) {
            commands.push(spec);
            commands.extend(spec.subcommands());
        }
    }
    let place = reply.defer_map();
    let mut shown = 0;
    for spec in commands {
        let Some(distribution) = distribution_of(&shard.shared, spec) else { continue };
        shown += 1;
        reply.bulk(spec.name.as_bytes());
        reply.map(2);
        reply.bulk(b"calls");
        reply.integer(distribution.total() as i64);
        reply.bulk(b"histogram_usec");
        let steps = distribution.cumulative_by_doubling();
        reply.map(steps.len());
        for (us, calls) in steps {
            reply.integer(us as i64);
            reply.integer(calls as i64);
        }
    }
    reply.finish(place, shown);
    Ok(Flow::Done)
}

fn print_help(_: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    help(reply, "LATENCY", HELP);
    Ok(Flow::Done)
}
