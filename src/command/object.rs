//! How a key is held: OBJECT and MEMORY USAGE. Looking does not count as a use of the key.

use super::parse::integer;
use super::{Args, CommandError, CommandResult, Context};
use crate::store::Description;

const HELP: [&str; 15] = [
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    "HELP",
    "    Print this help.",
];

/// OBJECT HELP
pub fn help(ctx: &mut Context, _: Args) -> CommandResult {
    ctx.reply.array(HELP.len());
    for line in HELP {
        ctx.reply.simple(line);
    }
    Ok(())
}

/// OBJECT ENCODING key
pub fn encoding(ctx: &mut Context, args: Args) -> CommandResult {
    match describe(ctx, args[2]) {
        Some(description) => ctx.reply.bulk(description.kind.encoding().name().as_bytes()),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// OBJECT FREQ key
pub fn freq(ctx: &mut Context, args: Args) -> CommandResult {
    let Some(description) = describe(ctx, args[2]) else {
        ctx.reply.null();
        return Ok(());
    };
    if !ctx.store.settings.maxmemory_policy.is_lfu() {
        return Err(CommandError::other(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
             switching between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    ctx.reply.integer(i64::from(description.frequency));
    Ok(())
}

/// OBJECT IDLETIME key
pub fn idletime(ctx: &mut Context, args: Args) -> CommandResult {
    let Some(description) = describe(ctx, args[2]) else {
        ctx.reply.null();
        return Ok(());
    };
    if ctx.store.settings.maxmemory_policy.is_lfu() {
        return Err(CommandError::other(
            "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
             between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    ctx.reply.integer(description.idle_s as i64);
    Ok(())
}

/// OBJECT REFCOUNT key
pub fn refcount(ctx: &mut Context, args: Args) -> CommandResult {
    match describe(ctx, args[2]) {
        Some(description) => ctx.reply.integer(description.refcount),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// OBJECT's look-up: a read in the statistics, but no event when it misses.
fn describe(ctx: &mut Context, key: &[u8]) -> Option<Description> {
    let description = ctx.store.describe(ctx.db, key);
    match description {
        Some(_) => ctx.store.stats.keyspace_hits += 1,
        None => ctx.store.stats.keyspace_misses += 1,
    }
    description
}

/// MEMORY USAGE key [SAMPLES count]. The count bounds how many elements of a nested value Redis looks at; sizes are exact
/// here, so that it is checked and has no effect.
pub fn memory_usage(ctx: &mut Context, args: Args) -> CommandResult {
    let mut rest = args[3..].iter();
    while let Some(option) = rest.next() {
        let samples =
            rest.next().filter(|_| option.eq_ignore_ascii_case(b"samples")).ok_or(CommandError::Syntax)?;
        if integer(samples)? < 0 {
            return Err(CommandError::Syntax);
        }
    }
    match ctx.store.describe(ctx.db, args[2]) {
        Some(description) => ctx.reply.integer(description.memory_bytes as i64),
        None => ctx.reply.null(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;
    use crate::store::MaxmemoryPolicy;

    #[test]
    fn encodings_are_named_as_redis_names_them() {
        let mut bench = Bench::new();
        for (value, encoding) in [
            ("12", "int"),
            ("-9223372036854775808", "int"),
            ("012", "embstr"),
            ("", "embstr"),
            (&"x".repeat(44), "embstr"),
            (&"x".repeat(45), "raw"),
            (&"x".repeat(100_000), "raw"),
        ] {
            bench.run_args(&[b"SET", b"k", value.as_bytes()]);
            let expected = format!("${}\r\n{encoding}\r\n", encoding.len());
            assert_eq!(bench.run("OBJECT ENCODING k"), expected, "{value}");
        }
        assert_eq!(bench.run("OBJECT ENCODING absent"), "$-1\r\n");
        assert_eq!(bench.run("OBJECT HELP").lines().count(), 16);
    }

    #[test]
    fn small_integers_look_shared_only_where_redis_shares_them() {
        let mut bench = Bench::new();
        bench.run("MSET small 9999 large 10000");
        assert_eq!(bench.run("OBJECT REFCOUNT small"), ":2147483647\r\n");
        assert_eq!(bench.run("OBJECT REFCOUNT large"), ":1\r\n");
        bench.store.settings.maxmemory = 1 << 30;
        bench.store.settings.maxmemory_policy = MaxmemoryPolicy::AllKeysLru;
        assert_eq!(bench.run("OBJECT REFCOUNT small"), ":1\r\n");
    }

    #[test]
    fn idle_time_and_frequency_need_the_right_policy() {
        let mut bench = Bench::new();
        bench.run("SET k v");
        bench.wait_ms(5000);
        assert_eq!(bench.run("OBJECT IDLETIME k"), ":5\r\n");
        assert!(bench
            .run("OBJECT FREQ k")
            .starts_with("-ERR An LFU maxmemory policy is not selected, access"));
        bench.run("GET k");
        assert_eq!(bench.run("OBJECT IDLETIME k"), ":0\r\n");
        bench.store.settings.maxmemory_policy = MaxmemoryPolicy::AllKeysLfu;
        bench.run("SET fresh v");
        assert_eq!(bench.run("OBJECT FREQ fresh"), ":5\r\n");
        assert!(bench.run("OBJECT IDLETIME k").starts_with("-ERR An LFU maxmemory policy is selected, idle"));
        assert_eq!(bench.run("OBJECT FREQ absent"), "$-1\r\n");
    }

    #[test]
    fn memory_usage_grows_with_the_value() {
        let mut bench = Bench::new();
        assert_eq!(bench.run("MEMORY USAGE absent"), "$-1\r\n");
        let mut usage = |len: usize| {
            bench.run(&format!("SET k {}", "v".repeat(len)));
            let reply = bench.run("MEMORY USAGE k SAMPLES 0");
            reply[1..].trim_end().parse::<usize>().expect("an integer reply")
        };
        let (small, large) = (usage(1), usage(100_000));
        assert!((10..100).contains(&small), "{small}");
        assert!((100_000..150_000).contains(&large), "{large}");
        assert_eq!(bench.run("MEMORY USAGE k SAMPLES"), "-ERR syntax error\r\n");
        assert_eq!(bench.run("MEMORY USAGE k SAMPLES -1"), "-ERR syntax error\r\n");
        assert_eq!(bench.run("MEMORY USAGE k BAD 1"), "-ERR syntax error\r\n");
    }
}
