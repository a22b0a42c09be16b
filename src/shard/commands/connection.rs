//! PING ECHO SELECT AUTH HELLO QUIT RESET.

use std::sync::atomic::{AtomicI64, Ordering};

use super::Handler;
use crate::base::log::Level;
use crate::client::{Connection, Flag};
use crate::command::{Args, CommandError};
use crate::resp::c_text;
use crate::resp::{Protocol, Reply};
use crate::shard::{Flow, Shard};
use crate::text;

pub const COMMANDS: &[(&str, Handler)] = &[
    ("ping", ping),
    ("echo", echo),
    ("select", select),
    ("auth", auth),
    ("hello", hello),
    ("quit", quit),
    ("reset", reset),
];

/// Seconds between two log lines about HTTP requests.
const CROSS_PROTOCOL_LOG_S: i64 = 60;

type Outcome = Result<Flow, CommandError>;

fn ping(_: &mut Shard, c: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    match args {
        [_] | [_, _] if c.flags.has(Flag::Subscriber) && reply.protocol() == Protocol::Resp2 => {
            // Such a client takes whatever comes for messages.
            reply.array(2);
            reply.bulk(b"pong");
            reply.bulk(args.get(1).copied().unwrap_or_default());
        }
        [_] => reply.simple("PONG"),
        [_, message] => reply.bulk(message),
        _ => return Err(CommandError::WrongArity("ping")),
    }
    Ok(Flow::Done)
}

fn echo(_: &mut Shard, _: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    reply.bulk(args[1]);
    Ok(Flow::Done)
}

fn select(shard: &mut Shard, c: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    c.db = crate::command::parse::database(args[1], shard.store.databases())?;
    reply.ok();
    Ok(Flow::Done)
}

impl Shard {
    /// Closes a connection that speaks HTTP: a web page may have been made to send commands in the body of a request, which
    /// must not be run.
    pub(in crate::shard) fn is_cross_protocol(&mut self, c: &mut Connection, args: Args) -> bool {
        static LOGGED_S: AtomicI64 = AtomicI64::new(0);
        if !args[0].eq_ignore_ascii_case(b"host:") && !args[0].eq_ignore_ascii_case(b"post") {
            return false;
        }
        let now_s = self.turn.now_ms() / 1000;
        if now_s - LOGGED_S.load(Ordering::Relaxed) > CROSS_PROTOCOL_LOG_S {
            LOGGED_S.store(now_s, Ordering::Relaxed);
            crate::log_text!(
                Level::Warning,
                "Possible SECURITY ATTACK detected: a client sends HTTP requests, maybe to smuggle commands in through a \
                 browser (Cross Protocol Scripting). Connection from ",
                self.turn.peer_text(c),
                " aborted."
            );
        }
        self.close(c);
        true
    }
}

fn auth(shard: &mut Shard, c: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let (user, password) = match args {
        [_, password] => {
            if shard.turn.users.default_user().needs_no_password {
                return Err(CommandError::other(
                    "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                     configuration is correct?",
                ));
            }
            (&b"default"[..], *password)
        }
        [_, user, password] => (*user, *password),
        _ => return Err(CommandError::Syntax),
    };
    shard.turn.authenticate(c, args[0], user, password)?;
    reply.ok();
    Ok(Flow::Done)
}

fn hello(shard: &mut Shard, c: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let mut protocol = reply.protocol();
    if let Some(version) = args.get(1) {
        let version = crate::store::parse_integer(version)
            .ok_or_else(|| CommandError::other("ERR Protocol version is not an integer or out of range"))?;
        protocol = match version {
            2 => Protocol::Resp2,
            3 => Protocol::Resp3,
            _ => return Err(CommandError::other("NOPROTO unsupported protocol version")),
        };
    }
    let (mut credentials, mut name) = (None, None);
    let mut rest = args.get(2..).unwrap_or_default();
    while let [option, tail @ ..] = rest {
        rest = match tail {
            [user, password, tail @ ..] if option.eq_ignore_ascii_case(b"auth") => {
                credentials = Some((*user, *password));
                tail
            }
            [given, tail @ ..] if option.eq_ignore_ascii_case(b"setname") => {
                name = Some(checked_name(given)?);
                tail
            }
            _ => {
                let option = c_text(option);
                return Err(CommandError::other(text!("ERR Syntax error in HELLO option '", option, "'")));
            }
        };
    }
    if let Some((user, password)) = credentials {
        shard.turn.authenticate(c, args[0], user, password)?;
    }
    if !c.flags.has(Flag::Authenticated) {
        return Err(CommandError::other(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        c.name = name;
    }
    reply.set_protocol(protocol);
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(crate::REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(if protocol == Protocol::Resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.integer(c.id as i64);
    reply.bulk(b"mode");
    reply.bulk(b"standalone");
    reply.bulk(b"role");
    let is_replica = shard.shared.replication.status.is_replica.load(Ordering::Relaxed);
    reply.bulk(if is_replica { b"replica" } else { b"master" });
    reply.bulk(b"modules");
    reply.array(0);
    Ok(Flow::Done)
}

/// A name for CLIENT LIST: printable, without spaces. Empty takes the name away.
pub fn checked_name(name: &[u8]) -> Result<Box<[u8]>, CommandError> {
    // Redis looks no further than to a zero.
    if c_text(name).iter().all(u8::is_ascii_graphic) {
        Ok(name.into())
    } else {
        Err(CommandError::other("ERR Client names cannot contain spaces, newlines or special characters."))
    }
}

fn quit(shard: &mut Shard, c: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    c.flags.set(Flag::CloseAfterReply);
    Ok(shard.leave_channels(c, reply, Reply::ok))
}

fn reset(shard: &mut Shard, c: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    reply.set_protocol(Protocol::Resp2);
    let flow = shard.leave_channels(c, reply, |reply| reply.simple("RESET"));
    shard.forget_client_state(c);
    c.db = 0;
    c.name = Box::default();
    for flag in [Flag::ReplyOff, Flag::ReplySkip, Flag::ReplySkipNext, Flag::NoEvict, Flag::NoTouch] {
        c.flags.clear(flag);
    }
    shard.turn.log_in_as_default(c);
    Ok(flow)
}
