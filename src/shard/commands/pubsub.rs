//! SUBSCRIBE, its like, and PUBSUB. (PUBLISH runs on the owner of its channel: `shard/pubsub`.)

use super::{help, Handler};
use crate::base::glob::glob_match;
use crate::client::{Connection, Topic};
use crate::command::{subcommand_syntax, Args, CommandError};
use crate::resp::Reply;
use crate::shard::pubsub::Change;
use crate::shard::scatter::Question;
use crate::shard::{Flow, Shard};

pub const COMMANDS: &[(&str, Handler)] = &[
    ("subscribe", |shard, c, reply, args| change(shard, c, reply, args, Topic::Channel, "subscribe")),
    ("psubscribe", |shard, c, reply, args| change(shard, c, reply, args, Topic::Pattern, "psubscribe")),
    ("ssubscribe", |shard, c, reply, args| change(shard, c, reply, args, Topic::ShardChannel, "ssubscribe")),
    ("unsubscribe", |shard, c, reply, args| change(shard, c, reply, args, Topic::Channel, "unsubscribe")),
    ("punsubscribe", |shard, c, reply, args| change(shard, c, reply, args, Topic::Pattern, "punsubscribe")),
    ("sunsubscribe", |shard, c, reply, args| {
        change(shard, c, reply, args, Topic::ShardChannel, "sunsubscribe")
    }),
    ("pubsub|channels", |shard, c, _, args| channels(shard, c, args, Topic::Channel)),
    ("pubsub|shardchannels", |shard, c, _, args| channels(shard, c, args, Topic::ShardChannel)),
    ("pubsub|numsub", |shard, c, _, args| subscriber_counts(shard, c, args, Topic::Channel)),
    ("pubsub|shardnumsub", |shard, c, _, args| subscriber_counts(shard, c, args, Topic::ShardChannel)),
    ("pubsub|numpat", pattern_count),
    ("pubsub|help", print_help),
];

const HELP: &[&str] = &[
    "CHANNELS [<pattern>]",
    "    List the channels that somebody is subscribed to (that match <pattern>).",
    "NUMPAT",
    "    Return how many different patterns somebody is subscribed to.",
    "NUMSUB [<channel> ...]",
    "    Return how many connections are subscribed to each of the channels, patterns aside.",
    "SHARDCHANNELS [<pattern>]",
    "    List the shard channels that somebody is subscribed to (that match <pattern>).",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Return how many connections are subscribed to each of the shard channels.",
];

type Outcome = Result<Flow, CommandError>;

/// Whether the command's answers are messages of Pub/Sub, which come also when replies are switched off.
fn change(
    shard: &mut Shard,
    c: &mut Connection,
    reply: &mut Reply,
    args: Args,
    topic: Topic,
    what: &'static str,
) -> Outcome {
    if what == "ssubscribe" && shard.transactions.is_inside_transaction() {
        return Err(CommandError::other("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client"));
    }
    let change = if what.ends_with("unsubscribe") { Change::End } else { Change::Begin };
    let names = match &args[1..] {
        // Only to end all.
        [] => Shard::names_of(c.subscriptions.as_deref(), topic),
        names => names.iter().map(|name| (*name).into()).collect(),
    };
    Ok(shard.subscribe(c, reply, topic, change, names, what))
}

fn channels(shard: &mut Shard, c: &mut Connection, args: Args, topic: Topic) -> Outcome {
    let pattern = match args {
        [_, _] => None,
        [_, _, pattern] => Some(Box::<[u8]>::from(*pattern)),
        _ => return Err(subcommand_syntax("PUBSUB", args)),
    };
    shard.ask_all_for(c, ChannelNames { topic, pattern }, |_, answers, reply| {
        reply.array(answers.iter().map(Vec::len).sum());
        answers.iter().flatten().for_each(|name| reply.bulk(name));
    });
    Ok(Flow::Later)
}

/// Those of your channels that match.
#[derive(Clone)]
pub struct ChannelNames {
    topic: Topic,
    pattern: Option<Box<[u8]>>,
}

impl Question for ChannelNames {
    type Answer = Vec<Box<[u8]>>;

    fn answer(self, shard: &mut Shard) -> Self::Answer {
        let names = shard.subscribers.pubsub.tallies[self.topic].iter().map(|(name, _)| name);
        let is_wanted =
            |name: &&[u8]| self.pattern.as_ref().is_none_or(|pattern| glob_match(pattern, name, false));
        names.filter(is_wanted).map(Box::<[u8]>::from).collect()
    }
}

/// How many subscribe to each. A shard knows nothing of channels that others own.
#[derive(Clone)]
pub struct SubscriberCounts {
    topic: Topic,
    names: Vec<Box<[u8]>>,
}

impl Question for SubscriberCounts {
    type Answer = Vec<u64>;

    fn answer(self, shard: &mut Shard) -> Vec<u64> {
        let tally = &shard.subscribers.pubsub.tallies[self.topic];
        self.names.iter().map(|name| tally.count(name)).collect()
    }
}

fn subscriber_counts(shard: &mut Shard, c: &mut Connection, args: Args, topic: Topic) -> Outcome {
    let names: Vec<Box<[u8]>> = args[2..].iter().map(|name| (*name).into()).collect();
    let question = SubscriberCounts { topic, names: names.clone() };
    shard.ask_all_for(c, question, move |_, answers, reply| {
        reply.array(names.len() * 2);
        for (index, name) in names.iter().enumerate() {
            reply.bulk(name);
            reply.integer(answers.iter().map(|counts| counts[index]).sum::<u64>() as i64);
        }
    });
    Ok(Flow::Later)
}

fn pattern_count(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    reply.integer(shard.subscribers.pubsub.tallies[Topic::Pattern].len() as i64);
    Ok(Flow::Done)
}

fn print_help(_: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    help(reply, "PUBSUB", HELP);
    Ok(Flow::Done)
}
