//! Commands on keys of any type, and on whole databases.

use super::glob::glob_match;
use super::parse::{database, small_integer};
use super::{Args, CommandError, CommandResult, Context};
use crate::store::EventClass;

/// Objects that a synchronous FLUSHDB or FLUSHALL frees per call into the store.
const FREED_PER_STEP: usize = 1024;

/// DEL key [key ...]
pub fn del(ctx: &mut Context, args: Args) -> CommandResult {
    let mut count = 0;
    for key in &args[1..] {
        if ctx.store.remove(ctx.db, key) {
            ctx.changed(key, EventClass::GENERIC, "del");
            count += 1;
        }
    }
    ctx.reply.integer(count);
    Ok(())
}

/// UNLINK key [key ...]: as DEL, which frees large values step by step too.
pub fn unlink(ctx: &mut Context, args: Args) -> CommandResult {
    del(ctx, args)
}

/// EXISTS key [key ...]: a key counts as often as it is named.
pub fn exists(ctx: &mut Context, args: Args) -> CommandResult {
    let mut count = 0;
    for key in &args[1..] {
        let found = ctx.store.exists(ctx.db, key);
        ctx.count_read(key, found);
        count += i64::from(found);
    }
    ctx.reply.integer(count);
    Ok(())
}

/// TYPE key
pub fn type_of(ctx: &mut Context, args: Args) -> CommandResult {
    let key = args[1];
    let name = ctx.store.peek(ctx.db, key).map(|value| value.value_type().name());
    ctx.count_read(key, name.is_some());
    ctx.reply.simple(name.unwrap_or("none"));
    Ok(())
}

/// TOUCH key [key ...]
pub fn touch(ctx: &mut Context, args: Args) -> CommandResult {
    let mut count = 0;
    for key in &args[1..] {
        let found = ctx.store.touch(ctx.db, key);
        ctx.count_read(key, found);
        count += i64::from(found);
    }
    ctx.reply.integer(count);
    Ok(())
}

/// RENAME key newkey
pub fn rename(ctx: &mut Context, args: Args) -> CommandResult {
    let (from, to) = (args[1], args[2]);
    if !ctx.store.exists(ctx.db, from) {
        return Err(CommandError::NoSuchKey);
    }
    if from != to {
        ctx.store.remove(ctx.db, to);
        move_value(ctx, from, to);
    }
    ctx.reply.ok();
    Ok(())
}

/// RENAMENX key newkey
pub fn renamenx(ctx: &mut Context, args: Args) -> CommandResult {
    let (from, to) = (args[1], args[2]);
    if !ctx.store.exists(ctx.db, from) {
        return Err(CommandError::NoSuchKey);
    }
    let free = !ctx.store.exists(ctx.db, to);
    if free {
        move_value(ctx, from, to);
    }
    ctx.reply.integer(i64::from(free));
    Ok(())
}

/// `from` exists, `to` does not.
fn move_value(ctx: &mut Context, from: &[u8], to: &[u8]) {
    if let Some(value) = ctx.store.take(ctx.db, from) {
        ctx.store.put(ctx.db, to, value);
        ctx.changed(from, EventClass::GENERIC, "rename_from");
        ctx.also_changed(ctx.db, to, EventClass::GENERIC, "rename_to");
    }
}

/// What follows COPY's keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CopyOptions {
    /// The destination's, when it is not the client's.
    database: Option<usize>,
    replace: bool,
}

impl CopyOptions {
    fn parse(args: Args, databases: usize) -> Result<CopyOptions, CommandError> {
        let mut options = CopyOptions::default();
        let mut rest = args[3..].iter();
        while let Some(option) = rest.next() {
            if option.eq_ignore_ascii_case(b"replace") {
                options.replace = true;
            } else if option.eq_ignore_ascii_case(b"db") {
                let index = rest.next().ok_or(CommandError::Syntax)?;
                options.database = Some(database(index, databases)?);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }
}

/// The database of COPY's destination. None: the client's.
pub fn copy_database(args: Args, databases: usize) -> Option<usize> {
    CopyOptions::parse(args, databases).ok()?.database
}

/// COPY source destination [DB index] [REPLACE]
pub fn copy(ctx: &mut Context, args: Args) -> CommandResult {
    let (from, to) = (args[1], args[2]);
    let CopyOptions { database, replace } = CopyOptions::parse(args, ctx.store.databases())?;
    let to_db = database.unwrap_or(ctx.db);
    if to_db == ctx.db && from == to {
        return Err(CommandError::SameObject);
    }
    let found = ctx.store.read(ctx.db, from).is_some();
    if !found || (!replace && ctx.store.exists(to_db, to)) {
        ctx.reply.integer(0);
        return Ok(());
    }
    if let Some(value) = ctx.store.clone_value(ctx.db, from) {
        ctx.store.remove(to_db, to);
        ctx.store.put(to_db, to, value);
        ctx.changed_in(to_db, to, EventClass::GENERIC, "copy_to");
    }
    ctx.reply.integer(1);
    Ok(())
}

/// MOVE key db
pub fn move_to(ctx: &mut Context, args: Args) -> CommandResult {
    let key = args[1];
    let to_db = database(args[2], ctx.store.databases())?;
    if to_db == ctx.db {
        return Err(CommandError::SameObject);
    }
    if !ctx.store.exists(ctx.db, key) || ctx.store.exists(to_db, key) {
        ctx.reply.integer(0);
        return Ok(());
    }
    if let Some(value) = ctx.store.take(ctx.db, key) {
        ctx.store.put(to_db, key, value);
        ctx.changed(key, EventClass::GENERIC, "move_from");
        ctx.also_changed(to_db, key, EventClass::GENERIC, "move_to");
    }
    ctx.reply.integer(1);
    Ok(())
}

/// SWAPDB index1 index2
pub fn swapdb(ctx: &mut Context, args: Args) -> CommandResult {
    let first = small_integer(args[1]).map_err(|_| CommandError::other("ERR invalid first DB index"))?;
    let second = small_integer(args[2]).map_err(|_| CommandError::other("ERR invalid second DB index"))?;
    let databases = ctx.store.databases();
    let existing = |index: i32| {
        usize::try_from(index).ok().filter(|&index| index < databases).ok_or(CommandError::DbIndexOutOfRange)
    };
    let (first, second) = (existing(first)?, existing(second)?);
    if first != second {
        ctx.store.swap(first, second);
    }
    ctx.store.dirty += 1;
    ctx.reply.ok();
    Ok(())
}

/// KEYS pattern
pub fn keys(ctx: &mut Context, args: Args) -> CommandResult {
    let pattern = args[1];
    let every = pattern == b"*";
    let now_ms = ctx.now_ms();
    let place = ctx.reply.defer_array();
    let mut count = 0;
    let reply = &mut *ctx.reply;
    ctx.store.for_each_key(ctx.db, &mut |key, _, expire_at| {
        let alive = expire_at.is_none_or(|at_ms| now_ms <= at_ms);
        if alive && (every || glob_match(pattern, key, false)) {
            reply.bulk(key);
            count += 1;
        }
        true
    });
    ctx.reply.finish(place, count);
    Ok(())
}

/// RANDOMKEY
pub fn randomkey(ctx: &mut Context, _: Args) -> CommandResult {
    match ctx.store.random_key(ctx.db) {
        Some(key) => ctx.reply.bulk(&key),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// DBSIZE
pub fn dbsize(ctx: &mut Context, _: Args) -> CommandResult {
    ctx.reply.integer(ctx.store.len(ctx.db) as i64);
    Ok(())
}

/// FLUSHDB [ASYNC | SYNC]
pub fn flushdb(ctx: &mut Context, args: Args) -> CommandResult {
    flush(ctx, args, Some(ctx.db))
}

/// FLUSHALL [ASYNC | SYNC]
pub fn flushall(ctx: &mut Context, args: Args) -> CommandResult {
    flush(ctx, args, None)
}

fn flush(ctx: &mut Context, args: Args, db: Option<usize>) -> CommandResult {
    let in_steps = match args[1..] {
        [] => ctx.caller.lazyfree_lazy_user_flush,
        [option] if option.eq_ignore_ascii_case(b"async") => true,
        [option] if option.eq_ignore_ascii_case(b"sync") => false,
        _ => return Err(CommandError::Syntax),
    };
    ctx.store.dirty += ctx.store.clear(db);
    // Bounded by what was there: nothing is added meanwhile.
    while !in_steps && ctx.store.free_some(FREED_PER_STEP) {}
    // Also when nothing was there to delete: replicas may hold keys that expired here.
    ctx.log_instead(args);
    ctx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;

    #[test]
    fn keys_are_deleted_counted_and_typed() {
        let mut bench = Bench::new();
        bench.run("MSET a 1 b 2 c 3");
        assert_eq!(bench.run("EXISTS a a x b"), ":3\r\n");
        assert_eq!(bench.run("TOUCH a x b"), ":2\r\n");
        assert_eq!(bench.run("TYPE a"), "+string\r\n");
        assert_eq!(bench.run("TYPE x"), "+none\r\n");
        bench.listen("AKE");
        assert_eq!(bench.run("DEL a a x"), ":1\r\n");
        assert_eq!(bench.events(), ["0:del a"]);
        assert_eq!(bench.run("UNLINK b c"), ":2\r\n");
        assert_eq!(bench.run("DBSIZE"), ":0\r\n");
        assert_eq!(bench.run("DEL a"), ":0\r\n");
        assert!(bench.logged().is_empty());
    }

    #[test]
    fn reads_that_do_not_touch_are_counted_as_hits_and_misses() {
        let mut bench = Bench::new();
        bench.run("SET k v");
        for command in ["EXISTS k x", "TOUCH k x"] {
            let (hits, misses) = (bench.store.stats.keyspace_hits, bench.store.stats.keyspace_misses);
            bench.run(command);
            assert_eq!(bench.store.stats.keyspace_hits, hits + 1, "{command}");
            assert_eq!(bench.store.stats.keyspace_misses, misses + 1, "{command}");
        }
        bench.listen("KEAm");
        for command in ["TYPE x", "TTL x", "EXISTS x", "TOUCH x"] {
            bench.run(command);
            assert_eq!(bench.events(), ["0:keymiss x"], "{command}");
        }
        bench.run("OBJECT ENCODING x");
        assert!(bench.events().is_empty());
    }

    #[test]
    fn renaming_takes_value_and_ttl_along() {
        let mut bench = Bench::new();
        bench.run("SET a v EX 100");
        bench.run("SET b old");
        bench.listen("AKEn");
        let dirty = bench.store.dirty;
        assert_eq!(bench.run("RENAME a b"), "+OK\r\n");
        assert_eq!(bench.events(), ["0:new b", "0:rename_from a", "0:rename_to b"]);
        assert_eq!(bench.store.dirty, dirty + 1);
        assert_eq!(bench.run("GET b"), "$1\r\nv\r\n");
        assert_eq!(bench.run("TTL b"), ":100\r\n");
        assert_eq!(bench.run("RENAME a b"), "-ERR no such key\r\n");
        assert_eq!(bench.run("RENAME a a"), "-ERR no such key\r\n");
        assert_eq!(bench.run("RENAME b b"), "+OK\r\n");
        assert!(bench.logged().is_empty());
        bench.run("SET a w");
        assert_eq!(bench.run("RENAMENX a b"), ":0\r\n");
        assert_eq!(bench.run("RENAMENX a a"), ":0\r\n");
        assert_eq!(bench.run("RENAMENX a c"), ":1\r\n");
        assert_eq!(bench.run("MGET a c"), "*2\r\n$-1\r\n$1\r\nw\r\n");
    }

    #[test]
    fn copies_live_on_their_own() {
        let mut bench = Bench::new();
        bench.run("SET a v EX 100");
        bench.listen("AKE");
        assert_eq!(bench.run("COPY a b"), ":1\r\n");
        assert_eq!(bench.run("COPY a b"), ":0\r\n");
        assert_eq!(bench.run("COPY a a DB 3 replace"), ":1\r\n");
        assert_eq!(bench.events(), ["0:copy_to b", "3:copy_to a"]);
        bench.run("APPEND b x");
        assert_eq!(bench.run("MGET a b"), "*2\r\n$1\r\nv\r\n$2\r\nvx\r\n");
        assert_eq!(bench.run("COPY b a REPLACE"), ":1\r\n");
        assert_eq!(bench.run("TTL a"), ":100\r\n");
        bench.db = 3;
        assert_eq!(bench.run("GET a"), "$1\r\nv\r\n");
        assert_eq!(bench.run("COPY x y"), ":0\r\n");
        for (command, error) in [
            ("COPY a a", "ERR source and destination objects are the same"),
            ("COPY a a DB 3", "ERR source and destination objects are the same"),
            ("COPY a b DB 16", "ERR DB index is out of range"),
            ("COPY a b DB x", "ERR value is not an integer or out of range"),
            ("COPY a b DB", "ERR syntax error"),
            ("COPY a b NX", "ERR syntax error"),
        ] {
            assert_eq!(bench.run(command), format!("-{error}\r\n"), "{command}");
        }
    }

    #[test]
    fn moving_leaves_what_is_in_the_way() {
        let mut bench = Bench::new();
        bench.run("SET k v");
        bench.listen("AKE");
        assert_eq!(bench.run("MOVE k 1"), ":1\r\n");
        assert_eq!(bench.events(), ["0:move_from k", "1:move_to k"]);
        assert_eq!(bench.run("MOVE k 1"), ":0\r\n");
        bench.run("SET k w");
        assert_eq!(bench.run("MOVE k 1"), ":0\r\n");
        assert_eq!(bench.run("MOVE k 0"), "-ERR source and destination objects are the same\r\n");
        assert_eq!(bench.run("MOVE k 99"), "-ERR DB index is out of range\r\n");
    }

    #[test]
    fn databases_swap_and_empty() {
        let mut bench = Bench::new();
        bench.run("SET k zero");
        assert_eq!(bench.run("SWAPDB 0 1"), "+OK\r\n");
        assert_eq!(bench.run("GET k"), "$-1\r\n");
        bench.db = 1;
        assert_eq!(bench.run("GET k"), "$4\r\nzero\r\n");
        assert_eq!(bench.run("SWAPDB x 1"), "-ERR invalid first DB index\r\n");
        assert_eq!(bench.run("SWAPDB 0 y"), "-ERR invalid second DB index\r\n");
        assert_eq!(bench.run("SWAPDB 0 16"), "-ERR DB index is out of range\r\n");
        bench.db = 0;
        bench.run("SET k v");
        let dirty = bench.store.dirty;
        assert_eq!(bench.run("FLUSHDB"), "+OK\r\n");
        assert_eq!(bench.store.dirty, dirty + 1);
        assert_eq!(bench.run("DBSIZE"), ":0\r\n");
        bench.db = 1;
        assert_eq!(bench.run("DBSIZE"), ":1\r\n");
        assert_eq!(bench.run("FLUSHALL async"), "+OK\r\n");
        assert_eq!(bench.run("DBSIZE"), ":0\r\n");
        assert_eq!(bench.run("FLUSHALL SYNC"), "+OK\r\n");
        assert_eq!(bench.logged(), ["FLUSHALL SYNC"], "even when nothing was there");
        assert_eq!(bench.run("FLUSHALL NOW"), "-ERR syntax error\r\n");
        assert_eq!(bench.run("FLUSHDB SYNC ASYNC"), "-ERR syntax error\r\n");
    }

    #[test]
    fn a_synchronous_flush_leaves_no_memory_behind() {
        let mut bench = Bench::new();
        let empty = bench.store.used_memory();
        for i in 0..5000 {
            bench.run(&format!("SET key:{i} {}", "v".repeat(100)));
        }
        bench.run("FLUSHALL");
        assert!(!bench.store.free_some(1));
        assert_eq!(bench.store.used_memory(), empty);
    }

    #[test]
    fn keys_match_the_pattern_and_are_alive() {
        let mut bench = Bench::new();
        bench.run("MSET hello 1 hallo 2 other 3");
        bench.run("SET hxllo 4 PX 10");
        bench.wait_ms(11);
        let sorted = |reply: String| {
            let mut lines: Vec<String> = reply.lines().skip(2).step_by(2).map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(bench.run("KEYS h*llo")), ["hallo", "hello"]);
        assert_eq!(sorted(bench.run("KEYS *")), ["hallo", "hello", "other"]);
        assert_eq!(bench.run("KEYS nothing"), "*0\r\n");
    }

    #[test]
    fn a_random_key_is_one_that_is_alive() {
        let mut bench = Bench::new();
        assert_eq!(bench.run("RANDOMKEY"), "$-1\r\n");
        bench.run("SET short v PX 10");
        bench.run("SET long v");
        bench.wait_ms(11);
        for _ in 0..20 {
            assert_eq!(bench.run("RANDOMKEY"), "$4\r\nlong\r\n");
        }
    }
}
