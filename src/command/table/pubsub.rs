//! Publish/subscribe.

use super::arg::{pattern, string};
use super::flags::{Flag::*, KeyFlag::*};
use super::keys::KeySpec;
use super::role::Role;
use super::spec::{command, container, CommandSpec, Group};
use super::Handler;

const fn pubsub(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::PubSub, name, arity)
}

pub const COMMANDS: &[CommandSpec] = &[
    pubsub("publish", 3)
        .role(Role::Publish { is_sharded: false })
        .run(Handler::Channel)
        .flags(&[PubSub, Loading, Stale, Fast, MayReplicate, Sentinel])
        .since("2.0.0")
        .complexity("O(N+M), N subscribers of the channel, M patterns that somebody is subscribed to.")
        .summary("Sends a message to a channel.")
        .args(&[string("channel"), string("message")]),
    pubsub("subscribe", -2)
        .role(Role::Subscribe { by_pattern: false })
        .flags(&[PubSub, NoScript, Loading, Stale, Sentinel])
        .since("2.0.0")
        .complexity("O(N), N channels.")
        .summary("Listens to the messages of channels.")
        .args(&[string("channel").multiple()]),
    pubsub("unsubscribe", -1)
        .role(Role::Unsubscribe)
        .flags(&[PubSub, NoScript, Loading, Stale, Sentinel])
        .since("2.0.0")
        .complexity("O(N), N channels.")
        .summary("Ceases to listen to channels, or to all of them.")
        .args(&[string("channel").optional().multiple()]),
    pubsub("psubscribe", -2)
        .role(Role::Subscribe { by_pattern: true })
        .flags(&[PubSub, NoScript, Loading, Stale, Sentinel])
        .since("2.0.0")
        .complexity("O(N), N patterns.")
        .summary("Listens to the messages of all channels that match patterns.")
        .args(&[pattern("pattern").multiple()]),
    pubsub("punsubscribe", -1)
        .role(Role::Unsubscribe)
        .flags(&[PubSub, NoScript, Loading, Stale, Sentinel])
        .since("2.0.0")
        .complexity("O(N), N patterns.")
        .summary("Ceases to listen to patterns, or to all of them.")
        .args(&[pattern("pattern").optional().multiple()]),
    pubsub("spublish", 3)
        .role(Role::Publish { is_sharded: true })
        .run(Handler::Channel)
        .flags(&[PubSub, Loading, Stale, Fast, MayReplicate])
        .keys(&[KeySpec::at(1, &[NotKey])])
        .since("7.0.0")
        .complexity("O(N), N subscribers of the shard channel.")
        .summary("Sends a message to a shard channel.")
        .args(&[string("shardchannel"), string("message")]),
    pubsub("ssubscribe", -2)
        .role(Role::Subscribe { by_pattern: false })
        .flags(&[PubSub, NoScript, Loading, Stale])
        .keys(&[KeySpec::at(1, &[NotKey]).range(-1, 1, 0)])
        .since("7.0.0")
        .complexity("O(N), N shard channels.")
        .summary("Listens to the messages of shard channels.")
        .args(&[string("shardchannel").multiple()]),
    pubsub("sunsubscribe", -1)
        .role(Role::Unsubscribe)
        .flags(&[PubSub, NoScript, Loading, Stale])
        .keys(&[KeySpec::at(1, &[NotKey]).range(-1, 1, 0)])
        .since("7.0.0")
        .complexity("O(N), N shard channels.")
        .summary("Ceases to listen to shard channels, or to all of them.")
        .args(&[string("shardchannel").optional().multiple()]),
    container(Group::PubSub, "pubsub").since("2.8.0").summary("Tells what is subscribed to."),
    pubsub("pubsub|channels", -2)
        .flags(&[PubSub, Loading, Stale])
        .since("2.8.0")
        .complexity("O(N), N channels that somebody is subscribed to.")
        .summary("Lists the channels that somebody is subscribed to.")
        .args(&[pattern("pattern").optional()]),
    pubsub("pubsub|numpat", 2)
        .flags(&[PubSub, Loading, Stale])
        .since("2.8.0")
        .complexity("O(1)")
        .summary("Returns how many different patterns somebody is subscribed to."),
    pubsub("pubsub|numsub", -2)
        .flags(&[PubSub, Loading, Stale])
        .since("2.8.0")
        .complexity("O(N), N channels asked for.")
        .summary("Returns how many connections are subscribed to channels.")
        .args(&[string("channel").optional().multiple()]),
    pubsub("pubsub|shardchannels", -2)
        .flags(&[PubSub, Loading, Stale])
        .since("7.0.0")
        .complexity("O(N), N shard channels that somebody is subscribed to.")
        .summary("Lists the shard channels that somebody is subscribed to.")
        .args(&[pattern("pattern").optional()]),
    pubsub("pubsub|shardnumsub", -2)
        .flags(&[PubSub, Loading, Stale])
        .since("7.0.0")
        .complexity("O(N), N shard channels asked for.")
        .summary("Returns how many connections are subscribed to shard channels.")
        .args(&[string("shardchannel").optional().multiple()]),
    pubsub("pubsub|help", 2)
        .flags(&[Loading, Stale])
        .since("6.2.0")
        .complexity("O(1)")
        .summary("Describes the subcommands."),
];
