//! ACL: users and what they may do.

use super::arg::{integer, one_of, string, token};
use super::flags::Flag::*;
use super::role::Role;
use super::spec::{command, container, CommandSpec, Group};

const fn acl(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::Server, name, arity).flags(&[NoScript, Loading, Stale, Sentinel]).since("6.0.0")
}

/// For those who look after the server.
const fn admin(name: &'static str, arity: i16) -> CommandSpec {
    acl(name, arity).flags(&[Admin, NoScript, Loading, Stale, Sentinel])
}

const FOR_ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

pub const COMMANDS: &[CommandSpec] = &[
    container(Group::Server, "acl").flags(&[Sentinel]).since("6.0.0").summary("Manages users."),
    acl("acl|cat", -2)
        .complexity("O(1): the categories and commands are fixed.")
        .summary("Lists the categories of commands, or the commands of one.")
        .args(&[string("category").optional()]),
    admin("acl|deluser", -3)
        .tips(FOR_ALL_NODES)
        .complexity("O(N), N users.")
        .summary("Deletes users, and closes their connections.")
        .args(&[string("username").multiple()]),
    admin("acl|dryrun", -4)
        .since("7.0.0")
        .complexity("O(1)")
        .summary("Tells whether a user may run a command, without running it.")
        .args(&[string("username"), string("command"), string("arg").optional().multiple()]),
    acl("acl|genpass", -2)
        .complexity("O(1)")
        .summary("Makes a password that nobody can guess.")
        .args(&[integer("bits").optional()]),
    admin("acl|getuser", 3)
        .history(&[
            ("6.2.0", "Channel patterns."),
            ("7.0.0", "Selectors; key and channel patterns as rules instead of lists."),
        ])
        .complexity("O(N), N rules of the user.")
        .summary("Returns a user's rules.")
        .args(&[string("username")]),
    acl("acl|help", 2)
        .flags(&[Loading, Stale, Sentinel])
        .complexity("O(1)")
        .summary("Explains the subcommands."),
    admin("acl|list", 2).complexity("O(N), N users.").summary("Returns all users as lines of an ACL file."),
    admin("acl|load", 2).complexity("O(N), N users.").summary("Replaces the users by those of the ACL file."),
    admin("acl|log", -2)
        .history(&[("7.2.0", "The entry's number, and when it was made and last updated.")])
        .complexity("O(N), N entries returned.")
        .summary("Returns what users were denied lately, or forgets it.")
        .args(&[one_of("operation", &[integer("count"), token("reset", "RESET")]).optional()]),
    admin("acl|save", 2)
        .tips(FOR_ALL_NODES)
        .complexity("O(N), N users.")
        .summary("Writes the users to the ACL file."),
    admin("acl|setuser", -3)
        .role(Role::AclSetUser)
        .tips(FOR_ALL_NODES)
        .history(&[("6.2.0", "Channel patterns."), ("7.0.0", "Selectors and permissions by key.")])
        .complexity("O(N), N rules.")
        .summary("Makes a user, or changes one by rules.")
        .args(&[string("username"), string("rule").optional().multiple()]),
    admin("acl|users", 2).complexity("O(N), N users.").summary("Returns the names of all users."),
    acl("acl|whoami", 2).complexity("O(1)").summary("Returns the name of the connection's user."),
];
