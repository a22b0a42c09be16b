//! REPLCONF: what a replica says about itself, before it asks for the stream and after.
//!
//! Options are taken one after the other, and those before a bad one count, as in Redis. Both families' second channels are known:
//! Redis 8 (`rdb-channel-repl`, `main-ch-client-id`) and Valkey 8 (`dual-channel`, `set-rdb-client-id`, `version`).

use crate::base::words::split_words;
use crate::command::{Args, CommandError};
use crate::resp::c_text;
use crate::store::parse_integer;

/// The longest address that a replica may announce, bytes.
const ADDRESS_LEN_MAX: usize = 255;

/// What the replica understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// A payload that ends with a mark.
    pub eof: bool,
    /// `+CONTINUE` with a new id.
    pub psync2: bool,
    /// The snapshot over a connection of its own, Redis 8's way.
    pub rdb_channel: bool,
    /// The same, Valkey 8's way.
    pub dual_channel: bool,
}

impl Capabilities {
    /// What all of them understand.
    pub fn and(self, other: Capabilities) -> Capabilities {
        Capabilities {
            eof: self.eof && other.eof,
            psync2: self.psync2 && other.psync2,
            rdb_channel: self.rdb_channel && other.rdb_channel,
            dual_channel: self.dual_channel && other.dual_channel,
        }
    }
}

/// What the snapshot is to leave out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub no_data: bool,
    pub no_functions: bool,
}

impl Filter {
    pub fn is_any(self) -> bool {
        self.no_data || self.no_functions
    }
}

/// What a connection has said by REPLCONF.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// 0 when it was not said.
    pub listening_port: i64,
    /// The address to show and to give to others, instead of that of the connection.
    pub address: Option<Vec<u8>>,
    pub capabilities: Capabilities,
    pub filter: Filter,
    /// Wants a snapshot and no stream.
    pub rdb_only: bool,
    /// This connection carries the snapshot of another one.
    pub rdb_channel: bool,
    /// Redis 8: the connection that has asked for the stream.
    pub main_client: Option<u64>,
    /// Valkey: the connection that has carried the snapshot.
    pub rdb_client: Option<u64>,
    /// Valkey: the replica's version, as `major << 16 | minor << 8 | patch`.
    pub version: Option<u32>,
}

/// What REPLCONF asks of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replconf {
    /// To be answered by OK.
    Ok,
    /// No answer, and nothing to do.
    Silent,
    /// No answer. The replica has applied the stream up to `applied`, and its log is safe up to `durable`.
    Ack {
        applied: i64,
        durable: Option<i64>,
        /// Shows that the link is alive. Not so when a part of it made no sense.
        is_whole: bool,
    },
    /// No answer: the master asks this server, its replica, for an acknowledgement.
    SendAck,
}

impl Options {
    /// Takes a whole REPLCONF command. `is_replica`: the connection has asked for the stream before.
    pub fn replconf(&mut self, args: Args, is_replica: bool) -> Result<Replconf, CommandError> {
        if args.len().is_multiple_of(2) {
            return Err(CommandError::Syntax);
        }
        let pairs = args.get(1..).unwrap_or_default();
        let mut rest = pairs.chunks_exact(2);
        while let Some([option, value]) = rest.next() {
            match option.to_ascii_lowercase().as_slice() {
                b"listening-port" => self.listening_port = integer(value)?,
                b"ip-address" if value.len() < ADDRESS_LEN_MAX => self.address = Some(value.to_vec()),
                b"ip-address" => {
                    return Err(CommandError::other(format!(
                        "ERR REPLCONF ip-address provided by replica instance is too long: {} bytes",
                        value.len()
                    )))
                }
                b"capa" => self.capability(value),
                b"ack" => {
                    let next = rest.next().and_then(|pair| <&[&[u8]; 2]>::try_from(pair).ok());
                    return Ok(if is_replica { ack(value, next) } else { Replconf::Silent });
                }
                b"getack" => return Ok(Replconf::SendAck),
                b"rdb-only" => self.rdb_only = flag(value)?,
                b"rdb-filter-only" => self.filter(value)?,
                b"rdb-channel" => self.rdb_channel = flag(value)?,
                b"main-ch-client-id" => self.main_client = Some(client_id(value)?),
                b"set-rdb-client-id" => self.rdb_client = Some(client_id(value)?),
                b"version" => {
                    let version = version(value);
                    let bad = || with_quote("ERR Unrecognized version format: ", value);
                    self.version = Some(version.ok_or_else(bad)?);
                }
                _ => return Err(with_quote("ERR Unrecognized REPLCONF option: ", option)),
            }
        }
        Ok(Replconf::Ok)
    }

    fn capability(&mut self, name: &[u8]) {
        match name.to_ascii_lowercase().as_slice() {
            b"eof" => self.capabilities.eof = true,
            b"psync2" => self.capabilities.psync2 = true,
            b"rdb-channel-repl" => self.capabilities.rdb_channel = true,
            b"dual-channel" => self.capabilities.dual_channel = true,
            // Those that are unknown here are the replica's affair.
            _ => {}
        }
    }

    fn filter(&mut self, value: &[u8]) -> Result<(), CommandError> {
        let names =
            split_words(c_text(value)).ok_or(CommandError::other("ERR Missing rdb-filter-only values"))?;
        self.filter = Filter { no_data: true, no_functions: true };
        for name in names {
            if !name.eq_ignore_ascii_case(b"functions") {
                return Err(with_quote("ERR Unsupported rdb-filter-only option: ", &name));
            }
            self.filter.no_functions = false;
        }
        Ok(())
    }
}

fn with_quote(text: &str, quoted: &[u8]) -> CommandError {
    CommandError::other([text.as_bytes(), c_text(quoted)].concat())
}

fn integer(text: &[u8]) -> Result<i64, CommandError> {
    parse_integer(text).ok_or(CommandError::NotInteger)
}

fn flag(text: &[u8]) -> Result<bool, CommandError> {
    match integer(text)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(CommandError::other("ERR value is out of range, value must between 0 and 1")),
    }
}

fn client_id(text: &[u8]) -> Result<u64, CommandError> {
    u64::try_from(integer(text)?).map_err(|_| with_quote("ERR Unrecognized RDB client id: ", text))
}

fn version(text: &[u8]) -> Option<u32> {
    let mut numbers = text.split(|byte| *byte == b'.');
    let mut next = || -> Option<u32> {
        let number = numbers.next()?;
        std::str::from_utf8(number).ok()?.parse::<u8>().ok().map(u32::from)
    };
    let version = next()? << 16 | next()? << 8 | next()?;
    numbers.next().is_none().then_some(version)
}

fn ack(applied: &[u8], next: Option<&[&[u8]; 2]>) -> Replconf {
    let Some(applied) = parse_integer(applied) else { return Replconf::Silent };
    match next {
        Some([name, value]) if name.eq_ignore_ascii_case(b"fack") => {
            let durable = parse_integer(value);
            Replconf::Ack { applied, durable, is_whole: durable.is_some() }
        }
        _ => Replconf::Ack { applied, durable: None, is_whole: true },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(options: &mut Options, text: &str, is_replica: bool) -> Result<Replconf, String> {
        let args: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
        let outcome = options.replconf(&args, is_replica);
        outcome.map_err(|error| String::from_utf8(error.text().into_bytes()).unwrap())
    }

    #[test]
    fn a_replica_introduces_itself() {
        let mut options = Options::default();
        let mut ok = |text| assert_eq!(take(&mut options, text, false), Ok(Replconf::Ok), "{text}");
        ok("REPLCONF listening-port 6380");
        ok("REPLCONF ip-address 10.0.0.7");
        ok("replconf CAPA eof capa PSYNC2 capa lz4");
        ok("REPLCONF version 8.1.3");
        ok("REPLCONF rdb-only 1 rdb-channel 1");
        ok("REPLCONF set-rdb-client-id 44 main-ch-client-id 45");
        ok("REPLCONF");
        assert_eq!(options.listening_port, 6380);
        assert_eq!(options.address.as_deref(), Some(&b"10.0.0.7"[..]));
        assert_eq!(options.capabilities, Capabilities { eof: true, psync2: true, ..Default::default() });
        assert_eq!(options.version, Some(0x0008_0103));
        assert!(options.rdb_only && options.rdb_channel);
        assert_eq!((options.rdb_client, options.main_client), (Some(44), Some(45)));
    }

    #[test]
    fn bad_options_get_the_errors_of_redis() {
        let long = format!("REPLCONF ip-address {}", "x".repeat(255));
        for (text, error) in [
            ("REPLCONF listening-port", "ERR syntax error"),
            ("REPLCONF listening-port x", "ERR value is not an integer or out of range"),
            (&long, "ERR REPLCONF ip-address provided by replica instance is too long: 255 bytes"),
            ("REPLCONF rdb-only 2", "ERR value is out of range, value must between 0 and 1"),
            ("REPLCONF rdb-filter-only keys", "ERR Unsupported rdb-filter-only option: keys"),
            ("REPLCONF rdb-filter-only \"x", "ERR Missing rdb-filter-only values"),
            ("REPLCONF colour red", "ERR Unrecognized REPLCONF option: colour"),
            ("REPLCONF version 8.1", "ERR Unrecognized version format: 8.1"),
            ("REPLCONF version 8.1.3.4", "ERR Unrecognized version format: 8.1.3.4"),
            ("REPLCONF set-rdb-client-id -1", "ERR Unrecognized RDB client id: -1"),
        ] {
            assert_eq!(take(&mut Options::default(), text, false), Err(error.to_owned()), "{text}");
        }
        let mut options = Options::default();
        assert!(take(&mut options, "REPLCONF listening-port 7 colour red", false).is_err());
        assert_eq!(options.listening_port, 7, "what came before counts");
    }

    #[test]
    fn filters_leave_out_what_they_do_not_name() {
        let filter = |value: &[u8]| {
            let mut options = Options::default();
            options.replconf(&[b"REPLCONF", b"rdb-filter-only", value], false).unwrap();
            options.filter
        };
        assert_eq!(filter(b"functions"), Filter { no_data: true, no_functions: false });
        assert_eq!(filter(b" FUNCTIONS functions "), Filter { no_data: true, no_functions: false });
        assert_eq!(filter(b""), Filter { no_data: true, no_functions: true });
        assert!(!Filter::default().is_any());
    }

    #[test]
    fn acknowledgements_are_only_those_of_replicas_and_get_no_answer() {
        let of = |text, is_replica| take(&mut Options::default(), text, is_replica);
        assert_eq!(of("REPLCONF ACK 5", false), Ok(Replconf::Silent));
        let ack = |applied, durable, is_whole| Ok(Replconf::Ack { applied, durable, is_whole });
        assert_eq!(of("REPLCONF ACK 5", true), ack(5, None, true));
        assert_eq!(of("REPLCONF ACK 5 FACK 3", true), ack(5, Some(3), true));
        assert_eq!(of("REPLCONF ACK 5 fack x", true), ack(5, None, false));
        assert_eq!(of("REPLCONF ACK 5 colour red", true), ack(5, None, true));
        assert_eq!(of("REPLCONF ACK x", true), Ok(Replconf::Silent));
        assert_eq!(of("REPLCONF capa eof ACK 7", true), ack(7, None, true));
        assert_eq!(of("REPLCONF GETACK *", false), Ok(Replconf::SendAck));
    }
}
