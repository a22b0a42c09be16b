//! MEMORY, SLOWLOG and LATENCY: looking for what is large or slow.

use super::arg::{integer, key, string};
use super::flags::{Flag::*, KeyFlag::*};
use super::keys::KeySpec;
use super::spec::{command, container, CommandSpec, Group};
use super::Handler::Keys;
use super::Spread::RemoteValues;
use crate::command::object;

const fn server(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::Server, name, arity)
}

pub const COMMANDS: &[CommandSpec] = &[
    container(Group::Server, "memory").since("4.0.0").summary("Looks at memory usage."),
    server("memory|usage", -3)
        .run(Keys(object::memory_usage, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[KeySpec::at(2, &[Ro])])
        .since("4.0.0")
        .complexity("O(N), N elements sampled.")
        .summary("Estimates how many bytes a key and its value take.")
        .args(&[key("key"), integer("count").token("SAMPLES").optional()]),
    server("memory|doctor", 2)
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .since("4.0.0")
        .complexity("O(1)")
        .summary("Looks for memory problems and gives advice."),
    server("memory|stats", 2)
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .since("4.0.0")
        .complexity("O(1)")
        .summary("Breaks the server's memory usage down."),
    server("memory|purge", 2)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .since("4.0.0")
        .complexity("O(N), N pages that the allocator holds.")
        .summary("Asks the allocator to give free memory back to the system."),
    server("memory|malloc-stats", 2)
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .since("4.0.0")
        .complexity("O(N), N pages that the allocator holds.")
        .summary("Returns the allocator's own report."),
    server("memory|help", 2)
        .flags(&[Loading, Stale])
        .since("4.0.0")
        .complexity("O(1)")
        .summary("Explains the subcommands."),
    container(Group::Server, "slowlog").since("2.2.12").summary("Reads the log of slow commands."),
    server("slowlog|get", -2)
        .flags(&[Admin, Loading, Stale])
        .tips(&["request_policy:all_nodes", "nondeterministic_output"])
        .since("2.2.12")
        .history(&[("4.0.0", "The client's address and name in each entry.")])
        .complexity("O(N), N entries returned.")
        .summary("Returns the latest entries of the slow log.")
        .args(&[integer("count").optional()]),
    server("slowlog|len", 2)
        .flags(&[Admin, Loading, Stale])
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"])
        .since("2.2.12")
        .complexity("O(1)")
        .summary("Counts the entries of the slow log."),
    server("slowlog|reset", 2)
        .flags(&[Admin, Loading, Stale])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .since("2.2.12")
        .complexity("O(N), N entries.")
        .summary("Empties the slow log."),
    server("slowlog|help", 2)
        .flags(&[Loading, Stale])
        .since("6.2.0")
        .complexity("O(1)")
        .summary("Explains the subcommands."),
    container(Group::Server, "latency").since("2.8.13").summary("Looks at latency spikes and distributions."),
    server("latency|doctor", 2)
        .flags(&[Admin, NoScript, Loading, Stale])
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .since("2.8.13")
        .complexity("O(1)")
        .summary("Comments on the recorded latency spikes."),
    server("latency|graph", 3)
        .flags(&[Admin, NoScript, Loading, Stale])
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .since("2.8.13")
        .complexity("O(1)")
        .summary("Draws the latency spikes of an event.")
        .args(&[string("event")]),
    server("latency|histogram", -2)
        .flags(&[Admin, NoScript, Loading, Stale])
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .since("7.0.0")
        .complexity("O(N), N commands asked for.")
        .summary("Returns how the latencies of commands are distributed.")
        .args(&[string("command").optional().multiple()]),
    server("latency|history", 3)
        .flags(&[Admin, NoScript, Loading, Stale])
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .since("2.8.13")
        .complexity("O(1)")
        .summary("Returns the recorded latency spikes of an event.")
        .args(&[string("event")]),
    server("latency|latest", 2)
        .flags(&[Admin, NoScript, Loading, Stale])
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .since("2.8.13")
        .complexity("O(1)")
        .summary("Returns the latest latency spike of each event."),
    server("latency|reset", -2)
        .flags(&[Admin, NoScript, Loading, Stale])
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum"])
        .since("2.8.13")
        .complexity("O(1)")
        .summary("Forgets recorded latency spikes.")
        .args(&[string("event").optional().multiple()]),
    server("latency|help", 2)
        .flags(&[Loading, Stale])
        .since("2.8.13")
        .complexity("O(1)")
        .summary("Explains the subcommands."),
];
