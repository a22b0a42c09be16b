//! Every string and key command answers as Redis does, on any number of shards.
//!
//! Random sequences of commands run against redis-server and against Gyre; their replies, and all keys in the end,
//! must be the same. A sequence that shows a difference is cut down to the shortest that still does, and printed.
//! Replies are compared byte by byte, but for those that Redis leaves open: the order of KEYS and SCAN, which key
//! RANDOMKEY picks, and the time that passes while TTL is asked.
//!
//! Longer or different runs: DIFFERENTIAL_COMMANDS (for each number of shards), DIFFERENTIAL_SEED.

mod generate;
#[path = "../support/mod.rs"]
mod support;

use generate::{Generator, Step, CONNECTIONS, DATABASES};
use support::{parse_reply, redis_server, seed, setting, Client, Random, Server, Value};

const SEQUENCE: usize = 150;
/// A difference that does not show again is a matter of time; it is still reported, whole.
const SHRINK_ATTEMPTS_MAX: usize = 1_500;
/// After so many sequences that differ, the rest would say the same.
const DIFFERENCES_MAX: usize = 8;
/// Between the two servers, and while a sequence runs. Times to live are further apart than that.
const TIME_TOLERANCE_MS: i64 = 30_000;
const SCAN_CALLS_MAX: usize = 10_000;

struct Difference {
    what: String,
    redis: String,
    gyre: String,
}

/// What a server answered to a step: the bytes, or something put in their place that can be compared.
type Answer = Vec<u8>;

fn is(args: &[Vec<u8>], verb: &str) -> bool {
    args[0].eq_ignore_ascii_case(verb.as_bytes())
}

fn shown(step: &Step) -> String {
    let args: Vec<String> =
        step.args.iter().map(|arg| format!("{:?}", String::from_utf8_lossy(arg))).collect();
    format!("{}> {}", step.connection, args.join(" "))
}

/// Whether only a round trip of its own gives what can be compared.
fn asks_again(step: &Step) -> bool {
    is(&step.args, "scan") || is(&step.args, "randomkey")
}

/// Continues a SCAN to its end, and tells whether RANDOMKEY's key exists.
fn finish(client: &mut Client, step: &Step, answer: Answer) -> Answer {
    let Ok(Some((value, _))) = parse_reply(&answer) else { return answer };
    if is(&step.args, "randomkey") {
        let Value::Bulk(key) = value else { return answer };
        let exists = client.call(&[b"EXISTS".to_vec(), key]);
        return format!("a key that exists: {exists:?}").into_bytes();
    }
    let Value::Array(mut page) = value else { return answer };
    let mut found: Vec<Vec<u8>> = Vec::new();
    for _ in 0..SCAN_CALLS_MAX {
        found.extend(page[1].elements().iter().map(|key| key.text().into_bytes()));
        let cursor = page[0].text();
        if cursor == "0" {
            found.sort();
            found.dedup();
            return format!("{:?}", found.iter().map(|key| String::from_utf8_lossy(key)).collect::<Vec<_>>())
                .into_bytes();
        }
        let mut args = step.args.clone();
        args[1] = cursor.into_bytes();
        match client.call(&args) {
            Value::Array(next) => page = next,
            other => return format!("a SCAN ends with {other:?}").into_bytes(),
        }
    }
    b"a SCAN without end".to_vec()
}

/// Runs `steps` on an empty server. Neighbours of one connection go out in one write.
fn run(server: &Server, steps: &[Step], resp3: bool) -> Vec<Answer> {
    let connect = |_| if resp3 { server.client3() } else { server.client() };
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(connect).collect();
    assert!(clients[0].call(&["FLUSHALL"]).is_ok());
    let mut answers = Vec::with_capacity(steps.len());
    let mut left = steps;
    while let Some(first) = left.first() {
        let apart = |step: &Step| step.connection != first.connection || asks_again(step);
        let len = 1 + left[1..].iter().position(apart).unwrap_or(left.len() - 1);
        let len = if asks_again(first) { 1 } else { len };
        let client = &mut clients[first.connection];
        let request: Vec<u8> = left[..len].iter().flat_map(|step| Client::encode(&step.args)).collect();
        client.send_raw(&request);
        for step in &left[..len] {
            let mut answer = client.receive_raw();
            if asks_again(step) {
                answer = finish(client, step, answer);
            }
            answers.push(answer);
        }
        left = &left[len..];
    }
    answers
}

/// All keys with their values, times to live and encodings.
fn state(server: &Server) -> Vec<(Vec<Vec<u8>>, Answer)> {
    let mut client = server.client();
    let mut state = Vec::new();
    for database in DATABASES {
        client.call(&["SELECT", database]);
        let mut keys: Vec<String> = client.call(&["KEYS", "*"]).elements().iter().map(Value::text).collect();
        keys.sort();
        let label = |text: String| text.into_bytes();
        state.push((vec![label(format!("KEYS in {database}"))], label(format!("{keys:?}"))));
        let looks: Vec<Vec<&str>> = keys
            .iter()
            .flat_map(|key| [vec!["GET", key], vec!["PTTL", key], vec!["OBJECT", "ENCODING", key]])
            .collect();
        let request: Vec<u8> = looks.iter().flat_map(|look| Client::encode(look)).collect();
        client.send_raw(&request);
        for look in looks {
            let args = look.into_iter().map(|arg| arg.as_bytes().to_vec()).collect();
            state.push((args, client.receive_raw()));
        }
    }
    state
}

/// Whether two replies to `args` say the same.
fn agree(args: &[Vec<u8>], redis: &Value, gyre: &Value) -> bool {
    if redis == gyre {
        return true;
    }
    let tolerance = match args[0].to_ascii_lowercase().as_slice() {
        b"ttl" | b"expiretime" => TIME_TOLERANCE_MS / 1_000,
        b"pttl" | b"pexpiretime" => TIME_TOLERANCE_MS,
        b"keys" => return sorted(redis).is_some_and(|redis| Some(redis) == sorted(gyre)),
        // Inside a transaction: only whether there is one, or a page.
        b"randomkey" => return matches!((redis, gyre), (Value::Bulk(_), Value::Bulk(_))),
        b"scan" => return matches!((redis, gyre), (Value::Array(_), Value::Array(_))),
        _ => return differs_by_version(args, redis, gyre),
    };
    match (redis, gyre) {
        (Value::Integer(redis), Value::Integer(gyre)) => {
            *redis >= 0 && *gyre >= 0 && redis.abs_diff(*gyre) <= tolerance as u64
        }
        _ => false,
    }
}

fn sorted(keys: &Value) -> Option<Vec<String>> {
    let Value::Array(keys) = keys else { return None };
    let mut keys: Vec<String> = keys.iter().map(Value::text).collect();
    keys.sort();
    Some(keys)
}

/// Where Redis 7.2, which Gyre follows, answers otherwise than 7.0, which is the oracle.
fn differs_by_version(_args: &[Vec<u8>], _redis: &Value, _gyre: &Value) -> bool {
    false
}

fn compare(redis: &Server, gyre: &Server, steps: &[Step], resp3: bool) -> Option<Difference> {
    let (wanted, got) = (run(redis, steps, resp3), run(gyre, steps, resp3));
    // What EXEC runs on each connection.
    let mut queued: [Vec<&[Vec<u8>]>; CONNECTIONS] = Default::default();
    for ((step, wanted), got) in steps.iter().zip(&wanted).zip(&got) {
        let queue = &mut queued[step.connection];
        let same = wanted == got
            || match (parse_reply(wanted), parse_reply(got)) {
                (Ok(Some((Value::Array(wanted), _))), Ok(Some((Value::Array(got), _))))
                    if is(&step.args, "exec") =>
                {
                    let mut all = queue.iter().zip(wanted.iter().zip(&got));
                    wanted.len() == got.len() && all.all(|(args, (wanted, got))| agree(args, wanted, got))
                }
                (Ok(Some((wanted, _))), Ok(Some((got, _)))) => agree(&step.args, &wanted, &got),
                _ => false,
            };
        if !same {
            let text = |answer: &Answer| format!("{:?}", String::from_utf8_lossy(answer));
            return Some(Difference { what: shown(step), redis: text(wanted), gyre: text(got) });
        }
        if wanted == b"+QUEUED\r\n" {
            queue.push(&step.args);
        } else if is(&step.args, "exec") || is(&step.args, "discard") {
            queue.clear();
        }
    }
    let (wanted, got) = (state(redis), state(gyre));
    for ((what, wanted), (_, got)) in wanted.iter().zip(&got) {
        let parsed = || Some((parse_reply(wanted).ok()??.0, parse_reply(got).ok()??.0));
        if wanted != got && !parsed().is_some_and(|(wanted, got)| agree(what, &wanted, &got)) {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let what: Vec<String> = what.iter().map(|arg| text(arg)).collect();
            let what = format!("in the end: {}", what.join(" "));
            return Some(Difference { what, redis: text(wanted), gyre: text(got) });
        }
    }
    None
}

/// Leaves out what the difference does not need, in ever smaller parts.
fn shrink(mut steps: Vec<Step>, mut differs: impl FnMut(&[Step]) -> bool) -> Vec<Step> {
    let mut attempts = 0;
    let mut part = steps.len() / 2;
    while part > 0 {
        let (mut at, before) = (0, steps.len());
        while at < steps.len() && attempts < SHRINK_ATTEMPTS_MAX {
            let mut without = steps.clone();
            without.drain(at..(at + part).min(steps.len()));
            attempts += 1;
            if differs(&without) {
                steps = without;
            } else {
                at += part;
            }
        }
        let again = part == 1 && steps.len() < before && attempts < SHRINK_ATTEMPTS_MAX;
        part = if again { 1 } else { part / 2 };
    }
    steps
}

/// Runs so many commands; describes each difference found.
fn search(redis: &Server, gyre: &Server, commands: usize, random: Random) -> Vec<String> {
    let mut random = random;
    let mut generator = Generator::new(random.fork());
    let mut found = Vec::new();
    let mut done = 0;
    while done < commands && found.len() < DIFFERENCES_MAX {
        let steps = generator.sequence(SEQUENCE);
        done += steps.len();
        let resp3 = random.one_in(2);
        let Some(first) = compare(redis, gyre, &steps, resp3) else { continue };
        let steps = shrink(steps, |steps| compare(redis, gyre, steps, resp3).is_some());
        let difference = compare(redis, gyre, &steps, resp3).unwrap_or(first);
        let lines: Vec<String> = steps.iter().map(|step| format!("  {}\n", shown(step))).collect();
        found.push(format!(
            "RESP{}, after {done} commands:\n{}  at {}\n  redis: {}\n  gyre:  {}\n",
            2 + u8::from(resp3),
            lines.concat(),
            difference.what,
            difference.redis,
            difference.gyre
        ));
    }
    found
}

fn check(shards: usize) {
    if redis_server().is_none() {
        return;
    }
    let commands = setting("DIFFERENTIAL_COMMANDS", 20_000) as usize;
    let random = Random::new(seed("DIFFERENTIAL_SEED"));
    let redis = Server::redis(&[]).expect("it is installed");
    let gyre = Server::with_shards(shards);
    let found = search(&redis, &gyre, commands, random);
    assert!(found.is_empty(), "{} differences on {shards} shards:\n{}", found.len(), found.join("\n"));
}

#[test]
fn one_shard_answers_as_redis_does() {
    check(1);
}

#[test]
fn two_shards_answer_as_redis_does() {
    check(2);
}

#[test]
fn four_shards_answer_as_redis_does() {
    check(4);
}

#[test]
fn a_difference_is_found_and_cut_down_to_what_it_needs() {
    let random = Random::new(1);
    let steps = Generator::new(random).sequence(SEQUENCE);
    let needs = |steps: &[Step], verb: &str| steps.iter().any(|step| is(&step.args, verb));
    let shortest = shrink(steps, |steps| needs(steps, "set") && needs(steps, "get"));
    assert_eq!(shortest.len(), 2);
}
