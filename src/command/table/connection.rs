//! Commands about the connection itself, and about other connections.

use super::arg::{block, integer, one_of, string, token};
use super::flags::{Category, Flag::*};
use super::role::Role;
use super::spec::{command, container, CommandSpec, Group};

const fn connection(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::Connection, name, arity).acl(&[Category::Connection])
}

const fn client(name: &'static str, arity: i16) -> CommandSpec {
    connection(name, arity).role(Role::Client)
}

pub const COMMANDS: &[CommandSpec] = &[
    connection("auth", -2).role(Role::Auth)
        .flags(&[NoScript, Loading, Stale, Fast, NoAuth, AllowBusy, Sentinel])
        .since("1.0.0")
        .history(&[("6.0.0", "A user name before the password.")])
        .complexity("O(N), N passwords of the user.")
        .summary("Logs the connection in.")
        .args(&[string("username").since("6.0.0").optional(), string("password")]),
    connection("hello", -1).role(Role::Hello)
        .flags(&[NoScript, Loading, Stale, Fast, NoAuth, AllowBusy, Sentinel])
        .since("6.0.0")
        .history(&[("6.2.0", "Without arguments, describes the connection as it is.")])
        .complexity("O(1)")
        .summary("Switches the protocol version, optionally logging in and naming the connection, and describes the server.")
        .args(&[block("arguments", &[integer("protover"), block("auth", &[string("username"), string("password")]).token("AUTH").optional(), string("clientname").token("SETNAME").optional()]).optional()]),
    connection("ping", -1).role(Role::Ping)
        .flags(&[Quick, Fast, Sentinel])
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .since("1.0.0")
        .complexity("O(1)")
        .summary("Answers PONG, or the given message.")
        .args(&[string("message").optional()]),
    connection("echo", 2)
        .flags(&[Quick, Loading, Stale, Fast])
        .since("1.0.0")
        .complexity("O(1)")
        .summary("Answers with the given message.")
        .args(&[string("message")]),
    connection("select", 2).role(Role::Select)
        .flags(&[Quick, Loading, Stale, Fast])
        .since("1.0.0")
        .complexity("O(1)")
        .summary("Chooses the connection's database.")
        .args(&[integer("index")]),
    connection("quit", -1).role(Role::Quit)
        .flags(&[NoScript, Loading, Stale, Fast, NoAuth, AllowBusy])
        .since("1.0.0")
        .deprecated("7.2.0", "closing the connection")
        .complexity("O(1)")
        .summary("Answers OK and closes the connection."),
    connection("reset", 1).role(Role::Reset)
        .flags(&[NoScript, Loading, Stale, Fast, NoAuth, AllowBusy])
        .since("6.2.0")
        .complexity("O(1)")
        .summary("Puts the connection back into the state of a new one."),
    container(Group::Connection, "client")
        .flags(&[Sentinel])
        .since("2.4.0")
        .summary("Looks at and controls connections."),
    client("client|id", 2)
        .flags(&[NoScript, Loading, Stale, Sentinel])
        .since("5.0.0")
        .complexity("O(1)")
        .summary("Returns the number that identifies this connection."),
    client("client|info", 2)
        .flags(&[NoScript, Loading, Stale, Sentinel])
        .tips(&["nondeterministic_output"])
        .since("6.2.0")
        .complexity("O(1)")
        .summary("Describes this connection in the format of CLIENT LIST."),
    client("client|list", -2)
        .flags(&[Admin, NoScript, Loading, Stale, Sentinel])
        .tips(&["nondeterministic_output"])
        .since("2.4.0")
        .history(&[("2.8.12", "The field `id`."), ("5.0.0", "`TYPE`."), ("6.0.0", "The field `user`."), ("6.2.0", "The fields `argv-mem`, `tot-mem`, `laddr`, `redir`; `ID`."), ("7.0.0", "The fields `resp`, `multi-mem`, `rbs`, `rbp`."), ("7.0.3", "The field `ssub`.")])
        .complexity("O(N), N connections.")
        .summary("Describes all connections, or the chosen ones, a line each.")
        .args(&[one_of("client-type", &[token("normal", "NORMAL"), token("master", "MASTER"), token("replica", "REPLICA"), token("pubsub", "PUBSUB")]).token("TYPE").since("5.0.0").optional(), integer("client-id").token("ID").since("6.2.0").optional().multiple()]),
    client("client|kill", -3)
        .flags(&[Admin, NoScript, Loading, Stale, Sentinel])
        .since("2.4.0")
        .history(&[("2.8.12", "Filters."), ("2.8.12", "`ID`."), ("3.2.0", "The type `master`."), ("5.0.0", "The type `replica`, of which `slave` is the old name."), ("6.2.0", "`LADDR`.")])
        .complexity("O(N), N connections.")
        .summary("Closes connections by address or by filters.")
        .args(&[one_of("filter", &[string("old-format").display("ip:port").deprecated_since("2.8.12"), one_of("new-format", &[integer("client-id").token("ID").since("2.8.12").optional(), one_of("client-type", &[token("normal", "NORMAL"), token("master", "MASTER").since("3.2.0"), token("slave", "SLAVE"), token("replica", "REPLICA").since("5.0.0"), token("pubsub", "PUBSUB")]).token("TYPE").since("2.8.12").optional(), string("username").token("USER").optional(), string("addr").token("ADDR").display("ip:port").optional(), string("laddr").token("LADDR").display("ip:port").since("6.2.0").optional(), one_of("skipme", &[token("yes", "YES"), token("no", "NO")]).token("SKIPME").optional()]).multiple()])]),
    client("client|getname", 2)
        .flags(&[NoScript, Loading, Stale, Sentinel])
        .since("2.6.9")
        .complexity("O(1)")
        .summary("Returns this connection's name."),
    client("client|setname", 3)
        .flags(&[NoScript, Loading, Stale, Sentinel])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .since("2.6.9")
        .complexity("O(1)")
        .summary("Names this connection.")
        .args(&[string("connection-name")]),
    client("client|setinfo", 4)
        .flags(&[NoScript, Loading, Stale, Sentinel])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .since("7.2.0")
        .complexity("O(1)")
        .summary("Tells the server the name or version of the client library.")
        .args(&[one_of("attr", &[string("libname").token("LIB-NAME"), string("libver").token("LIB-VER")])]),
    client("client|tracking", -3)
        .flags(&[NoScript, Loading, Stale, Sentinel])
        .since("6.0.0")
        .complexity("O(1). More with many prefixes.")
        .summary("Has the connection told when what it has read changes.")
        .args(&[one_of("status", &[token("on", "ON"), token("off", "OFF")]), integer("client-id").token("REDIRECT").optional(), string("prefix").token("PREFIX").optional().multiple().multiple_token(), token("bcast", "BCAST").optional(), token("optin", "OPTIN").optional(), token("optout", "OPTOUT").optional(), token("noloop", "NOLOOP").optional()]),
    client("client|caching", 3)
        .flags(&[NoScript, Loading, Stale, Sentinel])
        .since("6.0.0")
        .complexity("O(1)")
        .summary("Chooses whether what the next command reads is tracked.")
        .args(&[one_of("mode", &[token("yes", "YES"), token("no", "NO")])]),
    client("client|trackinginfo", 2)
        .flags(&[NoScript, Loading, Stale, Sentinel])
        .since("6.2.0")
        .complexity("O(1)")
        .summary("Tells what is tracked for the connection."),
    client("client|getredir", 2)
        .flags(&[NoScript, Loading, Stale, Sentinel])
        .since("6.0.0")
        .complexity("O(1)")
        .summary("Returns the connection that invalidations for this one are redirected to."),
    client("client|no-evict", 3)
        .flags(&[Admin, NoScript, Loading, Stale, Sentinel])
        .since("7.0.0")
        .complexity("O(1)")
        .summary("Exempts this connection from client eviction, or not.")
        .args(&[one_of("enabled", &[token("on", "ON"), token("off", "OFF")])]),
    client("client|no-touch", 3)
        .flags(&[NoScript, Loading, Stale])
        .since("7.2.0")
        .complexity("O(1)")
        .summary("Keeps this connection's reads from counting as use of a key, or not.")
        .args(&[one_of("enabled", &[token("on", "ON"), token("off", "OFF")])]),
    client("client|reply", 3)
        .flags(&[NoScript, Loading, Stale, Sentinel])
        .since("3.2.0")
        .complexity("O(1)")
        .summary("Switches replies to this connection on or off, or skips the next one.")
        .args(&[one_of("action", &[token("on", "ON"), token("off", "OFF"), token("skip", "SKIP")])]),
    client("client|pause", -3)
        .flags(&[Admin, NoScript, Loading, Stale, Sentinel])
        .since("3.0.0")
        .history(&[("6.2.0", "`WRITE` and `ALL`.")])
        .complexity("O(1)")
        .summary("Holds back the commands of all clients for some time.")
        .args(&[integer("timeout"), one_of("mode", &[token("write", "WRITE"), token("all", "ALL")]).since("6.2.0").optional()]),
    client("client|unpause", 2)
        .flags(&[Admin, NoScript, Loading, Stale, Sentinel])
        .since("6.2.0")
        .complexity("O(N), N paused clients.")
        .summary("Ends CLIENT PAUSE."),
    client("client|unblock", -3)
        .flags(&[Admin, NoScript, Loading, Stale, Sentinel])
        .since("5.0.0")
        .complexity("O(1)")
        .summary("Wakes another connection out of a blocking command.")
        .args(&[integer("client-id"), one_of("unblock-type", &[token("timeout", "TIMEOUT"), token("error", "ERROR")]).optional()]),
    client("client|help", 2)
        .flags(&[Loading, Stale, Sentinel])
        .since("5.0.0")
        .complexity("O(1)")
        .summary("Explains the subcommands."),
];
