//! CLIENT LIST and CLIENT INFO, and the line that describes a connection there and in the log.

use super::tracking::redirection;
use super::{ClientType, Outcome};
use crate::base::text::Text;
use crate::base::Address;
use crate::client::{Connection, Flag, Suspension, Topic};
use crate::command::{Args, CommandError};
use crate::resp::{c_text, Protocol, Reply};
use crate::shard::connections::Connections;
use crate::shard::scatter::Question;
use crate::shard::turn::TurnState;
use crate::shard::{Flow, Shard};
use crate::store::parse_integer;
use crate::text;
use std::io::Write;
use std::path::Path;

/// What Redis keeps in a connection's fixed reply buffer. Output up to it is shown as `obl`, what exceeds it as `omem`, so
/// that who watches `omem` sees the same things grow.
const FIXED_OUTPUT_BYTES: usize = 16 * 1024;

/// The connections that CLIENT LIST is asked for.
#[derive(Clone)]
enum Chosen {
    All,
    OfType(ClientType),
    ById(Vec<i64>),
}

impl Chosen {
    fn parse(options: Args) -> Result<Self, CommandError> {
        match options {
            [] => Ok(Chosen::All),
            [option, name] if option.eq_ignore_ascii_case(b"type") => {
                Ok(Chosen::OfType(ClientType::by_name(name)?))
            }
            [option, ids @ ..] if option.eq_ignore_ascii_case(b"id") && !ids.is_empty() => {
                let id =
                    |text: &&[u8]| parse_integer(text).ok_or(CommandError::other("ERR Invalid client ID"));
                Ok(Chosen::ById(ids.iter().map(id).collect::<Result<_, _>>()?))
            }
            _ => Err(CommandError::Syntax),
        }
    }

    fn holds(&self, c: &Connection) -> bool {
        match self {
            Chosen::All => true,
            Chosen::OfType(wanted) => ClientType::of(c) == *wanted,
            Chosen::ById(ids) => ids.contains(&(c.id as i64)),
        }
    }
}

/// What a connection uses besides its own while its request is being run.
#[derive(Clone, Copy, Default)]
struct Running {
    argument_bytes: usize,
    reply_buffer_bytes: usize,
}

/// A connection's id, and the line that describes it.
type Line = (u64, Vec<u8>);

pub(super) fn list(shard: &mut Shard, c: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let chosen = Chosen::parse(&args[2..])?;
    // This connection describes itself now: its request will be over when the answers are there.
    let own: Option<Line> = chosen.holds(c).then(|| (c.id, shard.turn.describe_running(c, args, reply)));
    let question = ClientLines { chosen: chosen.clone(), asking: c.id };
    shard.ask_all_caught_up_for(c, question, move |_, answers, reply| {
        let mut lines: Vec<Line> = answers.into_iter().flatten().chain(own).collect();
        lines.sort_unstable_by_key(|(id, _)| *id);
        let mut text = Vec::new();
        let mut add = |line: &[u8]| {
            text.extend_from_slice(line);
            text.push(b'\n');
        };
        match chosen {
            // In the order asked for, and as often.
            Chosen::ById(ids) => {
                for id in ids {
                    if let Ok(found) = lines.binary_search_by_key(&(id as u64), |(id, _)| *id) {
                        add(&lines[found].1);
                    }
                }
            }
            Chosen::All | Chosen::OfType(_) => lines.iter().for_each(|(_, line)| add(line)),
        }
        reply.verbatim("txt", &text);
    });
    Ok(Flow::Later)
}

pub(super) fn info(shard: &mut Shard, c: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let mut line = shard.turn.describe_running(c, args, reply);
    line.push(b'\n');
    reply.verbatim("txt", &line);
    Ok(Flow::Done)
}

/// The lines of your connections, but not of the one that asks.
#[derive(Clone)]
pub struct ClientLines {
    chosen: Chosen,
    asking: u64,
}

impl Question for ClientLines {
    type Answer = Vec<Line>;

    fn answer(self, shard: &mut Shard) -> Vec<Line> {
        shard.connections.client_lines(&shard.turn, &self.chosen, self.asking)
    }
}

impl TurnState {
    /// One line of CLIENT LIST, without a line end.
    pub(in crate::shard) fn describe_client(&self, c: &Connection) -> Vec<u8> {
        self.describe(c, Running::default())
    }

    /// The same for the connection whose request with `args` is being run and answered in `reply`.
    fn describe_running(&self, c: &Connection, args: Args, reply: &Reply) -> Vec<u8> {
        let argument_bytes = args.iter().map(|arg| arg.len()).sum();
        self.describe(c, Running { argument_bytes, reply_buffer_bytes: reply.capacity() })
    }

    fn describe(&self, c: &Connection, running: Running) -> Vec<u8> {
        let seconds_since = |ms: i64| self.now_ms() / 1000 - ms / 1000;
        let pending = c.output.pending_bytes();
        let fixed = pending.min(FIXED_OUTPUT_BYTES);
        let beyond = pending - fixed;
        let pieces = if beyond > 0 { c.output.waiting_values() + 1 } else { 0 };
        let multi = c.multi.as_ref();
        let mut line = Vec::with_capacity(400);
        // A vector takes everything.
        let _ = write!(line, "id={} addr=", c.id);
        line.extend_from_slice(&self.peer_text(c));
        line.extend_from_slice(b" laddr=");
        line.extend_from_slice(&self.local_text(c));
        let _ = write!(line, " fd={}", c.fd());
        line.extend_from_slice(b" name=");
        line.extend_from_slice(c_text(&c.name));
        let _ = write!(line, " age={}", seconds_since(c.created_ms));
        let _ = write!(line, " idle={} flags={} db={}", seconds_since(c.last_active_ms), flags(c), c.db);
        let subscribed = |topic| c.subscriptions.as_ref().map_or(0, |all| all.of(topic).len());
        let (channels, patterns) = (subscribed(Topic::Channel), subscribed(Topic::Pattern));
        let shard_channels = subscribed(Topic::ShardChannel);
        let _ = write!(line, " sub={channels} psub={patterns} ssub={shard_channels}");
        let _ = write!(line, " multi={}", multi.map_or(-1, |multi| multi.queue.len() as i64));
        // As in Redis, what is understood of an incomplete request is no longer input.
        let (understood, parsed_argument_bytes) = c.parser.understood_bytes();
        let input = (c.unread_bytes() + c.running_bytes).saturating_sub(understood);
        let room = c.input.capacity() - c.input.len();
        let arguments = running.argument_bytes + parsed_argument_bytes;
        let _ = write!(line, " qbuf={input} qbuf-free={room} argv-mem={arguments}");
        let _ = write!(line, " multi-mem={}", multi.map_or(0, |multi| multi.bytes));
        let buffers = c.output.buffer_bytes() + running.reply_buffer_bytes;
        let _ = write!(line, " rbs={buffers} rbp={}", c.output.peak_bytes());
        let _ = write!(line, " obl={fixed} oll={pieces} omem={beyond}");
        let in_use = c.running_bytes + c.running_parser_bytes + running.argument_bytes;
        let _ = write!(line, " tot-mem={}", c.memory_bytes() + in_use);
        let _ = write!(line, " events={} cmd={}", events(c), c.last_command.map_or("NULL", |spec| spec.name));
        let protocol = if c.output.reply.protocol() == Protocol::Resp3 { 3 } else { 2 };
        line.extend_from_slice(b" user=");
        line.extend_from_slice(&c.user.name);
        let _ = write!(line, " redir={} resp={protocol}", redirection(c));
        line.extend_from_slice(b" lib-name=");
        line.extend_from_slice(c_text(&c.library_name));
        line.extend_from_slice(b" lib-ver=");
        line.extend_from_slice(c_text(&c.library_version));
        line
    }

    /// Where a connection comes from, as CLIENT LIST and CLIENT KILL name it.
    pub(in crate::shard) fn peer_text(&self, c: &Connection) -> Text {
        self.address_text(&c.peer)
    }

    /// The address of this server that it is connected to.
    pub(super) fn local_text(&self, c: &Connection) -> Text {
        self.address_text(&c.local)
    }

    pub(in crate::shard) fn address_text(&self, address: &Address) -> Text {
        match address {
            Address::Ip(ip, port) => std::net::SocketAddr::new(ip.to_canonical(), *port).to_string().into(),
            Address::Unix => text!(self.unix_socket_name(), ":0"),
            Address::Unknown => "?:0".into(),
        }
    }

    pub(in crate::shard) fn unix_socket_name(&self) -> &Path {
        self.config.network.unixsocket.as_deref().unwrap_or(Path::new(""))
    }
}

impl Connections {
    /// This shard's connections but the one that asks.
    fn client_lines(&self, turn: &TurnState, chosen: &Chosen, asking: u64) -> Vec<Line> {
        let wanted = |c: &&Connection| c.id != asking && !c.flags.has(Flag::Closing) && chosen.holds(c);
        self.table.iter().filter(wanted).map(|c| (c.id, turn.describe_client(c))).collect()
    }
}

/// One letter for each thing that is so, in Redis's order; `N` for none.
fn flags(c: &Connection) -> String {
    let facts = [
        (c.flags.has(Flag::Monitor), 'O'),
        (c.flags.has(Flag::Replica), 'S'),
        (c.flags.has(Flag::Master), 'M'),
        (c.flags.has(Flag::Subscriber), 'P'),
        (c.multi.is_some(), 'x'),
        (c.suspension == Suspension::Paused || c.waiting.is_some(), 'b'),
        (c.watching.as_ref().is_some_and(|watching| watching.flag.is_set()), 'd'),
        (c.tracking.is_some(), 't'),
        (c.tracking.as_ref().is_some_and(|tracking| tracking.is_broken), 'R'),
        (c.tracking.as_ref().is_some_and(|tracking| tracking.is_broadcast), 'B'),
        (c.flags.has(Flag::CloseAfterReply), 'c'),
        (c.flags.has(Flag::Closing), 'A'),
        (c.flags.has(Flag::UnixSocket), 'U'),
        (c.flags.has(Flag::NoEvict), 'e'),
        (c.flags.has(Flag::NoTouch), 'T'),
    ];
    let letters: String = facts.iter().filter(|(is_so, _)| *is_so).map(|(_, letter)| letter).collect();
    if letters.is_empty() {
        "N".to_owned()
    } else {
        letters
    }
}

/// What the ring waits for: input (`r`), room for output (`w`).
fn events(c: &Connection) -> &'static str {
    match (c.flags.has(Flag::Receiving), c.output.is_in_flight()) {
        (true, true) => "rw",
        (true, false) => "r",
        (false, true) => "w",
        (false, false) => "",
    }
}
