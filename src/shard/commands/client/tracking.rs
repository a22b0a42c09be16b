//! CLIENT TRACKING, CACHING, GETREDIR and TRACKINGINFO.

use super::Outcome;
use crate::base::Token;
use crate::client::{Choice, Connection, Redirect, Tracking};
use crate::command::{Args, CommandError};
use crate::resp::c_text;
use crate::resp::Reply;
use crate::shard::connections::Connections;
use crate::shard::scatter::Question;
use crate::shard::tracking::BeginTracking;
use crate::shard::turn::TurnState;
use crate::shard::{Flow, Shard};
use crate::store::parse_integer;
use crate::text;

#[derive(Default)]
struct Options {
    redirect: Option<u64>,
    prefixes: Vec<Box<[u8]>>,
    is_broadcast: bool,
    opts_in: bool,
    opts_out: bool,
    no_loop: bool,
}

fn other(text: &'static str) -> CommandError {
    CommandError::other(text)
}

impl Options {
    /// What makes sense of the options, and what is wrong with those after that.
    fn parse(rest: Args) -> (Options, Result<(), CommandError>) {
        let mut options = Options::default();
        let outcome = options.parse_all(rest);
        (options, outcome)
    }

    fn parse_all(&mut self, mut rest: Args) -> Result<(), CommandError> {
        let options = self;
        while let [option, tail @ ..] = rest {
            rest = match (option.to_ascii_lowercase().as_slice(), tail) {
                (b"redirect", [id, tail @ ..]) => {
                    if options.redirect.is_some() {
                        return Err(other("ERR A client can only redirect to a single other client"));
                    }
                    let id = parse_integer(id).ok_or(CommandError::NotInteger)?;
                    options.redirect = Some(u64::try_from(id).map_err(|_| no_such_client())?);
                    tail
                }
                (b"prefix", [prefix, tail @ ..]) => {
                    options.prefixes.push((*prefix).into());
                    tail
                }
                (b"bcast", tail) => {
                    options.is_broadcast = true;
                    tail
                }
                (b"optin", tail) => {
                    options.opts_in = true;
                    tail
                }
                (b"optout", tail) => {
                    options.opts_out = true;
                    tail
                }
                (b"noloop", tail) => {
                    options.no_loop = true;
                    tail
                }
                _ => return Err(CommandError::Syntax),
            };
        }
        Ok(())
    }

    /// Whether they go together, and with what the connection has now.
    fn check(&self, now: Option<&Tracking>) -> Result<(), CommandError> {
        if !self.is_broadcast && !self.prefixes.is_empty() {
            return Err(other("ERR PREFIX option requires BCAST mode to be enabled"));
        }
        if now.is_some_and(|now| now.is_broadcast != self.is_broadcast) {
            return Err(other(
                "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it \
                 with a different mode.",
            ));
        }
        if self.is_broadcast && (self.opts_in || self.opts_out) {
            return Err(other("ERR OPTIN and OPTOUT are not compatible with BCAST"));
        }
        if self.opts_in && self.opts_out {
            return Err(other("ERR You can't specify both OPTIN mode and OPTOUT mode"));
        }
        let switches = now.is_some_and(|now| {
            self.opts_in && now.choice == Choice::OptOut || self.opts_out && now.choice == Choice::OptIn
        });
        if switches {
            return Err(other(
                "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it \
                 with a different mode.",
            ));
        }
        self.check_prefixes(now.map_or(&[], |now| &now.prefixes))
    }

    fn check_prefixes(&self, before: &[Box<[u8]>]) -> Result<(), CommandError> {
        let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
        let error = |given: &[u8], what: &str, with: &[u8]| {
            CommandError::other(text!(
                "ERR Prefix '",
                c_text(given),
                "' overlaps with ",
                what,
                " prefix '",
                c_text(with),
                "'. Prefixes for a single client must not overlap."
            ))
        };
        for (index, prefix) in self.prefixes.iter().enumerate() {
            // One that is there already is no other one.
            let existing = before.iter().find(|there| overlap(there, prefix) && *there != prefix);
            if let Some(existing) = existing {
                return Err(error(prefix, "an existing", existing));
            }
            if let Some(provided) = self.prefixes[index + 1..].iter().find(|next| overlap(next, prefix)) {
                return Err(error(prefix, "another provided", provided));
            }
        }
        Ok(())
    }
}

fn no_such_client() -> CommandError {
    other("ERR The client ID you want redirect to does not exist")
}

pub(super) fn tracking(shard: &mut Shard, c: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let (options, parsed) = Options::parse(&args[3..]);
    let is_on = args[2].eq_ignore_ascii_case(b"on");
    let verdict = parsed.and_then(|()| match is_on {
        true => options.check(c.tracking.as_deref()),
        false if args[2].eq_ignore_ascii_case(b"off") => Ok(()),
        false => Err(CommandError::Syntax),
    });
    // That REDIRECT's client is not there is reported before anything that comes after it.
    if options.redirect.is_none() {
        verdict?;
        if !is_on {
            shard.forget_tracking(c);
            reply.ok();
            return Ok(Flow::Done);
        }
        return begin(shard, c, options, Ok(()), true);
    }
    begin(shard, c, options, verdict, is_on)
}

/// Looks for the client that is to get the messages, and then begins or ends tracking, or says why not.
fn begin(
    shard: &mut Shard,
    c: &mut Connection,
    options: Options,
    verdict: Result<(), CommandError>,
    is_on: bool,
) -> Outcome {
    let (reader, spec) = (shard.turn.reader_of(c), c.last_command);
    let later = shard.transactions.reply_later(c);
    let wanted = options.redirect;
    shard.ask_all(FindClient { id: wanted }, move |shard, found| {
        let redirect = wanted.map(|id| {
            let home = found.iter().position(Option::is_some)?;
            Some(Redirect { id, shard: home, token: found[home]? })
        });
        let Some(redirect) = redirect.map_or(Some(None), |found| found.map(Some)) else {
            return shard.complete_with(later, spec, Err(no_such_client()));
        };
        if verdict.is_err() {
            return shard.complete_with(later, spec, verdict);
        }
        if !is_on {
            if let Some(mut connection) = shard.connections.table.take(reader.token) {
                shard.forget_tracking(&mut connection);
                shard.connections.table.put_back(connection);
            }
            return shard.complete_with(later, None, Ok(()));
        }
        let no_loop = options.no_loop;
        let Some((is_new, prefixes)) =
            shard.connections.set_tracking(&shard.turn, reader.token, options, redirect)
        else {
            // It is gone. A transaction that this is a part of ends all the same.
            return shard.complete_with(later, None, Ok(()));
        };
        let begin = BeginTracking { reader, is_new, prefixes, no_loop };
        shard.ask_all(begin, move |shard, _| shard.complete_with(later, None, Ok(())));
    });
    Ok(Flow::Later)
}

/// The client with this id.
#[derive(Clone)]
pub struct FindClient {
    id: Option<u64>,
}

impl Question for FindClient {
    type Answer = Option<Token>;

    fn answer(self, shard: &mut Shard) -> Option<Token> {
        let id = self.id?;
        shard.connections.table.iter().find(|c| c.id == id && c.is_open()).map(|c| c.token)
    }
}

impl Connections {
    /// Enters into the connection what it asks for. Returns whether it did not track before, and the prefixes that every
    /// shard has to know; None when it is gone.
    fn set_tracking(
        &mut self,
        turn: &TurnState,
        token: Token,
        options: Options,
        redirect: Option<Redirect>,
    ) -> Option<(bool, Vec<Box<[u8]>>)> {
        let c = self.table.get(token).filter(|c| c.is_open())?;
        let is_new = c.tracking.is_none();
        let mut prefixes = options.prefixes;
        let tracking = c.tracking.get_or_insert_default();
        if options.is_broadcast && prefixes.is_empty() {
            prefixes.push(Box::default());
        }
        let mut all = std::mem::take(&mut tracking.prefixes);
        all.extend(prefixes.iter().filter(|prefix| !all.contains(prefix)).cloned().collect::<Vec<_>>());
        let choice = match (options.opts_in, options.opts_out) {
            (true, _) => Choice::OptIn,
            (_, true) => Choice::OptOut,
            _ => Choice::All,
        };
        **tracking = Tracking {
            choice,
            has_chosen: false,
            is_broadcast: options.is_broadcast,
            prefixes: all.clone(),
            no_loop: options.no_loop,
            redirect,
            is_broken: false,
        };
        if is_new {
            turn.stats.tracking_clients.add(1);
        }
        Some((is_new, all))
    }
}

pub(super) fn caching(_: &mut Shard, c: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let tracking = c.tracking.as_deref_mut().filter(|tracking| tracking.choice != Choice::All);
    let Some(tracking) = tracking else {
        return Err(other(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    let (wanted, error) = match args[2].to_ascii_lowercase().as_slice() {
        b"yes" => {
            (Choice::OptIn, "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
        }
        b"no" => {
            (Choice::OptOut, "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
        }
        _ => return Err(CommandError::Syntax),
    };
    if tracking.choice != wanted {
        return Err(other(error));
    }
    tracking.has_chosen = true;
    reply.ok();
    Ok(Flow::Done)
}

/// The connection that invalidations go to: 0 for this one, -1 for none.
pub(super) fn redirection(c: &Connection) -> i64 {
    let redirect = |tracking: &Tracking| tracking.redirect.map_or(0, |redirect| redirect.id as i64);
    c.tracking.as_deref().map_or(-1, redirect)
}

pub(super) fn get_redirection(_: &mut Shard, c: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    reply.integer(redirection(c));
    Ok(Flow::Done)
}

pub(super) fn info(_: &mut Shard, c: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    let mut flags = Vec::new();
    match c.tracking.as_deref() {
        None => flags.push("off"),
        Some(tracking) => {
            flags.push("on");
            if tracking.is_broadcast {
                flags.push("bcast");
            }
            match tracking.choice {
                Choice::All => {}
                Choice::OptIn => {
                    flags.extend(["optin"].into_iter().chain(tracking.has_chosen.then_some("caching-yes")))
                }
                Choice::OptOut => {
                    flags.extend(["optout"].into_iter().chain(tracking.has_chosen.then_some("caching-no")))
                }
            }
            if tracking.no_loop {
                flags.push("noloop");
            }
            if tracking.is_broken {
                flags.push("broken_redirect");
            }
        }
    }
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"redirect");
    reply.integer(redirection(c));
    reply.bulk(b"prefixes");
    let prefixes = c.tracking.as_deref().map_or(&[][..], |tracking| &tracking.prefixes);
    reply.array(prefixes.len());
    prefixes.iter().for_each(|prefix| reply.bulk(prefix));
    Ok(Flow::Done)
}
