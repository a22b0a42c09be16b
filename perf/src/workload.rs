//! What is sent: the mix of commands, and each request's bytes, written into a buffer that is used again.

use crate::keys::{scramble, KeyNames, Keys, Values};

/// A command the generator knows how to send and to check the reply of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Get,
    Set,
    Incr,
    Ping,
    Mset,
    Mget,
}

impl Command {
    /// All of them, in the order of their numbers (`as usize`).
    pub const ALL: [Command; 6] = [Self::Get, Self::Set, Self::Incr, Self::Ping, Self::Mset, Self::Mget];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Set => "SET",
            Self::Incr => "INCR",
            Self::Ping => "PING",
            Self::Mset => "MSET",
            Self::Mget => "MGET",
        }
    }
}

/// Weights of the commands, as in `get:9,set:1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    weights: Vec<(Command, u32)>,
    total: u32,
}

/// Weights above this leave no room for their sum.
const WEIGHT_MAX: u32 = 1_000_000;

impl Mix {
    /// One command only.
    pub fn only(command: Command) -> Self {
        Self { weights: vec![(command, 1)], total: 1 }
    }

    fn choose(&self, bits: u64) -> Command {
        let mut place = (bits % u64::from(self.total)) as u32;
        for &(command, weight) in &self.weights {
            if place < weight {
                return command;
            }
            place -= weight;
        }
        unreachable!("the total is the sum of the weights")
    }
}

impl std::str::FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut weights = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once([':', '=']).unwrap_or((part, "1"));
            let command = Command::ALL
                .into_iter()
                .find(|command| command.name().eq_ignore_ascii_case(name))
                .ok_or_else(|| format!("unknown command '{name}': get, set, incr, ping, mset or mget"))?;
            let weight = weight
                .parse()
                .ok()
                .filter(|weight| (1..=WEIGHT_MAX).contains(weight))
                .ok_or_else(|| format!("'{weight}' is not a weight from 1 to {WEIGHT_MAX}"))?;
            if weights.iter().any(|&(known, _)| known == command) {
                return Err(format!("'{name}' is named twice"));
            }
            weights.push((command, weight));
        }
        Ok(Self { total: weights.iter().map(|(_, weight)| weight).sum(), weights })
    }
}

/// A request in flight: enough to check its reply and to time it.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub command: Command,
    pub draw: u64,
    /// When it was to be sent, in nanoseconds since the run began.
    pub intended_ns: u64,
}

/// Everything that decides the bytes of a run.
#[derive(Clone, Debug)]
pub struct Workload {
    pub mix: Mix,
    pub keys: Keys,
    pub names: KeyNames,
    /// Names for INCR, so that it never meets a value that SET wrote.
    pub counter_names: KeyNames,
    pub values: Values,
    /// Keys of each MSET and MGET.
    pub keys_per_command: u32,
    /// Runs with the same seed name the same keys.
    pub seed: u64,
}

impl Workload {
    /// The request that takes `number` in the run. Numbers must go up by `keys_in` of the request before for
    /// sequential keys to cover the space.
    pub fn request(&self, number: u64, intended_ns: u64) -> Request {
        let draw = self.keys.draw(self.seed, number);
        let command = match self.mix.weights.as_slice() {
            [(command, _)] => *command,
            _ => self.mix.choose(scramble(self.seed ^ number.wrapping_mul(0xa076_1d64_78bd_642f))),
        };
        Request { command, draw, intended_ns }
    }

    /// How many keys the command names.
    pub fn keys_in(&self, command: Command) -> u32 {
        match command {
            Command::Mset | Command::Mget => self.keys_per_command,
            Command::Ping => 0,
            _ => 1,
        }
    }

    /// Appends the request's bytes.
    pub fn append(&self, request: &Request, out: &mut Vec<u8>) {
        let key = |nth| self.keys.pick(request.draw, nth);
        match request.command {
            Command::Ping => out.extend_from_slice(b"*1\r\n$4\r\nPING\r\n"),
            Command::Get => {
                out.extend_from_slice(b"*2\r\n$3\r\nGET\r\n");
                append_key(&self.names, key(0), out);
            }
            Command::Incr => {
                out.extend_from_slice(b"*2\r\n$4\r\nINCR\r\n");
                append_key(&self.counter_names, key(0), out);
            }
            Command::Set => {
                out.extend_from_slice(b"*3\r\n$3\r\nSET\r\n");
                let key = key(0);
                append_key(&self.names, key, out);
                append_bulk(self.values.of(key), out);
            }
            Command::Mset => {
                append_number(b'*', 1 + 2 * self.keys_per_command as usize, out);
                append_bulk(b"MSET", out);
                for nth in 0..self.keys_per_command {
                    append_key(&self.names, key(nth), out);
                    append_bulk(self.values.of(key(nth)), out);
                }
            }
            Command::Mget => {
                append_number(b'*', 1 + self.keys_per_command as usize, out);
                append_bulk(b"MGET", out);
                for nth in 0..self.keys_per_command {
                    append_key(&self.names, key(nth), out);
                }
            }
        }
    }
}

fn append_number(mark: u8, number: usize, out: &mut Vec<u8>) {
    out.push(mark);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn append_key(names: &KeyNames, index: u64, out: &mut Vec<u8>) {
    append_number(b'$', names.length(), out);
    names.append(index, out);
    out.extend_from_slice(b"\r\n");
}

fn append_bulk(bytes: &[u8], out: &mut Vec<u8>) {
    append_number(b'$', bytes.len(), out);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::keys::Distribution;
    use crate::requests::{RequestScanner, RequestShape};

    /// A workload over ten keys with four-byte values.
    pub(crate) fn small(mix: &str) -> Workload {
        Workload {
            mix: mix.parse().unwrap(),
            keys: Keys::new(Distribution::Sequential, 10).unwrap(),
            names: KeyNames::new("k:", 4, 10).unwrap(),
            counter_names: KeyNames::new("c:", 4, 10).unwrap(),
            values: Values::new(4, 4),
            keys_per_command: 3,
            seed: 1,
        }
    }

    #[test]
    fn every_command_is_written_as_one_well_formed_request() {
        for (mix, arguments, name) in [
            ("get", 2, b"GE"),
            ("set", 3, b"SE"),
            ("incr", 2, b"IN"),
            ("ping", 1, b"PI"),
            ("mset", 7, b"MS"),
            ("mget", 4, b"MG"),
        ] {
            let workload = small(mix);
            let mut out = Vec::new();
            workload.append(&workload.request(4, 0), &mut out);
            let mut found = Vec::new();
            RequestScanner::default().feed(&out, |shape| found.push(shape)).unwrap();
            let expected = RequestShape { arguments, name: *name };
            assert_eq!(found, [expected], "{mix}");
        }
    }

    #[test]
    fn a_set_carries_the_value_of_its_key() {
        let workload = small("set");
        let mut out = Vec::new();
        workload.append(&workload.request(13, 0), &mut out);
        let mut expected = b"*3\r\n$3\r\nSET\r\n$4\r\nk:03\r\n$4\r\n".to_vec();
        expected.extend_from_slice(workload.values.of(3));
        expected.extend_from_slice(b"\r\n");
        assert_eq!(out, expected);
    }

    #[test]
    fn a_mix_keeps_its_proportions() {
        let workload = small("get:9,set:1");
        let sets = (0..100_000).filter(|&number| workload.request(number, 0).command == Command::Set).count();
        assert!((9_500..10_500).contains(&sets), "{sets}");
    }

    #[test]
    fn a_mix_that_makes_no_sense_is_refused() {
        for bad in ["", "get:0", "get,get", "del", "get:x"] {
            assert!(bad.parse::<Mix>().is_err(), "{bad:?}");
        }
    }
}
