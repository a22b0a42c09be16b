use super::*;
use crate::resp::Protocol;

type Command = fn(&mut Reply, &Names, Args) -> CommandResult;

fn run_in(protocol: Protocol, names: &Names, command: Command, request: &str) -> String {
    let args: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
    let mut reply = Reply::new(protocol);
    if let Err(error) = command(&mut reply, names, &args) {
        reply.error(&error.text());
    }
    let bytes: Vec<u8> = reply.segments().flatten().copied().collect();
    String::from_utf8(bytes).unwrap().replace("\r\n", " ")
}

fn run(command: Command, request: &str) -> String {
    run_in(Protocol::Resp2, &Names::new(), command, request)
}

fn run_resp3(command: Command, request: &str) -> String {
    run_in(Protocol::Resp3, &Names::new(), command, request)
}

const INFO: Command = |reply, names, args| {
    info(reply, names, args);
    Ok(())
};
const DOCS: Command = |reply, names, args| {
    docs(reply, names, args);
    Ok(())
};
const COUNT: Command = |reply, names, _| {
    count(reply, names);
    Ok(())
};

/// The strings in a reply, whatever holds them.
fn words(reply: &str) -> Vec<&str> {
    reply
        .split(' ')
        .filter(|word| !word.starts_with(['$', '*', '~', '%', ':']))
        .filter(|word| !word.is_empty())
        .collect()
}

#[test]
fn info_describes_a_command_in_ten_elements() {
    assert_eq!(
        run(INFO, "command info GET"),
        "*1 *10 $3 get :2 *2 +readonly +fast :1 :1 :1 *3 +@read +@string +@fast *0 \
         *1 *6 $5 flags *2 +RO +access \
         $12 begin_search *4 $4 type $5 index $4 spec *2 $5 index :1 \
         $9 find_keys *4 $4 type $5 range $4 spec *6 $7 lastkey :0 $7 keystep :1 $5 limit :0 *0 "
    );
    assert_eq!(
        run_resp3(INFO, "command info get"),
        "*1 *10 $3 get :2 ~2 +readonly +fast :1 :1 :1 ~3 +@read +@string +@fast ~0 \
         ~1 %3 $5 flags ~2 +RO +access \
         $12 begin_search %2 $4 type $5 index $4 spec %1 $5 index :1 \
         $9 find_keys %2 $4 type $5 range $4 spec %3 $7 lastkey :0 $7 keystep :1 $5 limit :0 ~0 "
    );
}

#[test]
fn info_lists_subcommands_in_an_array_and_finds_them_by_their_full_name() {
    let client = run_resp3(INFO, "command info client");
    assert!(client.starts_with("*1 *10 $6 client :-2 ~0 :0 :0 :0 ~1 +@slow ~0 ~0 *"), "{client}");
    assert!(client.contains(" *10 $9 client|id :2 ~3 +noscript +loading +stale "), "{client}");
    assert!(run(INFO, "command info Client|ID").starts_with("*1 *10 $9 client|id :2 "));
}

#[test]
fn info_answers_null_for_what_is_no_command() {
    assert_eq!(run(INFO, "command info nope get|key config|get|key | config|"), "*5 $-1 $-1 $-1 $-1 $-1 ");
    assert_eq!(run_resp3(INFO, "command info nope"), "*1 _ ");
}

#[test]
fn every_top_level_command_is_counted_and_described_under_its_original_name() {
    let mut names = Names::new();
    let all = crate::command::table::all().filter(|spec| !spec.name.contains('|')).count();
    assert_eq!(run_in(Protocol::Resp2, &names, COUNT, "command count"), format!(":{all} "));
    names.rename(b"get", b"fetch").unwrap();
    names.rename(b"set", b"").unwrap();
    assert_eq!(run_in(Protocol::Resp2, &names, COUNT, "command count"), format!(":{} ", all - 1));
    assert!(run_in(Protocol::Resp2, &names, INFO, "command info").starts_with(&format!("*{} *10 ", all - 1)));
    let renamed = run_in(Protocol::Resp2, &names, INFO, "command info fetch get set");
    assert!(renamed.starts_with("*3 *10 $3 get ") && renamed.ends_with(" $-1 $-1 "), "{renamed}");
}

#[test]
fn docs_are_a_map_of_the_known_names() {
    assert_eq!(run_resp3(DOCS, "command docs nope get|key"), "%0 ");
    assert_eq!(run(DOCS, "command docs nope"), "*0 ");
    assert_eq!(
        run_resp3(DOCS, "command docs GET nope"),
        "%1 $3 get %5 $7 summary $27 Returns the value of a key. $5 since $5 1.0.0 $5 group $6 string \
         $10 complexity $4 O(1) $9 arguments \
         *1 %4 $4 name $3 key $4 type $3 key $12 display_text $3 key $14 key_spec_index :0 "
    );
}

#[test]
fn docs_tell_deprecation_history_options_and_subcommands() {
    let quit = run_resp3(DOCS, "command docs quit");
    assert!(
        quit.contains("$9 doc_flags ~1 +deprecated $16 deprecated_since $5 7.2.0 $11 replaced_by $"),
        "{quit}"
    );
    assert!(run_resp3(DOCS, "command docs debug").contains("$9 doc_flags ~1 +syscmd "));
    let set = run_resp3(DOCS, "command docs set");
    assert!(set.contains("$7 history ~4 *2 $6 2.6.12 $"), "{set}");
    assert!(
        set.contains(
            "%5 $4 name $9 condition $4 type $5 oneof $5 since $6 2.6.12 $5 flags ~1 +optional $9 arguments \
             *2 %4 $4 name $2 nx $4 type $10 pure-token $12 display_text $2 nx $5 token $2 NX "
        ),
        "{set}"
    );
    let client = run_resp3(DOCS, "command docs client");
    assert!(client.contains("$11 subcommands %") && client.contains(" $9 client|id %"), "{client}");
    let unasked = run_resp3(DOCS, "command docs");
    assert!(
        unasked.starts_with(&run_resp3(COUNT, "command count").replace(':', "%"))
            && unasked.contains(&client[3..])
    );
}

#[test]
fn list_names_all_commands_or_those_that_the_filter_lets_pass() {
    let all = run(list, "command list");
    assert!(all.starts_with(&format!("*{} ", crate::command::table::COUNT)));
    assert!(words(&all).contains(&"set") && words(&all).contains(&"client|list"));
    assert_eq!(run(list, "command list FilterBy Pattern SET"), "*1 $3 set ");
    assert_eq!(
        words(&run(list, "command list filterby pattern c*g|re*")),
        ["config|rewrite", "config|resetstat"]
    );
    assert_eq!(
        words(&run(list, "command list filterby aclcat Transaction")),
        ["multi", "exec", "discard", "watch", "unwatch"]
    );
    for request in ["aclcat nope", "module nope", "pattern nope*", "aclcat @read"] {
        assert_eq!(run(list, &format!("command list filterby {request}")), "*0 ", "{request}");
    }
    for request in ["bad", "filterby", "filterby pattern", "filterby bad x", "filterby pattern a b"] {
        assert_eq!(run(list, &format!("command list {request}")), "-ERR syntax error ", "{request}");
    }
}

#[test]
fn keys_are_found_in_a_request_with_what_is_done_to_them() {
    assert_eq!(run(get_keys, "command getkeys mset a 1 b 2"), "*2 $1 a $1 b ");
    assert_eq!(run(get_keys, "command getkeys OBJECT encoding a"), "*1 $1 a ");
    assert_eq!(run(get_keys_and_flags, "command getkeysandflags set a 1"), "*1 *2 $1 a *2 +OW +update ");
    assert_eq!(
        run_resp3(get_keys_and_flags, "command getkeysandflags set a 1 get"),
        "*1 *2 $1 a ~3 +RW +access +update "
    );
}

#[test]
fn requests_without_keys_are_refused_and_the_error_says_why() {
    let errors = [
        ("nope a", "-ERR Invalid command specified "),
        ("config nope", "-ERR Invalid command specified "),
        ("ping", "-ERR The command has no key arguments "),
        ("object", "-ERR The command has no key arguments "),
        ("get", "-ERR Invalid number of arguments specified for command "),
        ("get a b", "-ERR Invalid number of arguments specified for command "),
    ];
    for (request, error) in errors {
        assert_eq!(run(get_keys, &format!("command getkeys {request}")), error, "{request}");
        assert_eq!(
            run(get_keys_and_flags, &format!("command getkeysandflags {request}")),
            error,
            "{request}"
        );
    }
}
