//! Directives that are lists: `save`, `bind`, `replicaof`, `oom-score-adj-values`, `latency-tracking-info-percentiles`.

use super::directive::{Field, Reason, Rule, Source};
use super::values::integer;
use crate::text;

const WRONG_ARGS: &str = "wrong number of arguments";

/// A single empty argument stands for none, so that a list can be emptied.
fn unless_emptied(args: &[Vec<u8>]) -> &[Vec<u8>] {
    match args {
        [only] if only.is_empty() => &[],
        _ => args,
    }
}

fn joined<T>(items: &[T], text: impl Fn(&T) -> String) -> Vec<u8> {
    items.iter().map(text).collect::<Vec<_>>().join(" ").into_bytes()
}

/// Snapshot when `changes` were made in the last `seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    pub seconds: u64,
    pub changes: u64,
}

/// `save`. Several lines of a configuration file add up; the first replaces the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavePoints(pub Vec<SavePoint>);

impl Default for SavePoints {
    fn default() -> Self {
        let points = [(3600, 1), (300, 100), (60, 10000)];
        Self(points.map(|(seconds, changes)| SavePoint { seconds, changes }).to_vec())
    }
}

impl Field for SavePoints {
    fn text(&self, _: &Rule) -> Vec<u8> {
        joined(&self.0, |point| format!("{} {}", point.seconds, point.changes))
    }

    fn assign(&mut self, args: &[Vec<u8>], _: &Rule, source: Source) -> Result<(), Reason> {
        const INVALID: &str = "Invalid save parameters";
        let values = unless_emptied(args);
        let mut points = Vec::with_capacity(values.len() / 2);
        for pair in values.chunks(2) {
            let [seconds, changes] = pair else {
                return Err(INVALID.into());
            };
            let (Some(seconds @ 1..), Some(changes @ 0..)) = (integer(seconds), integer(changes)) else {
                return Err(INVALID.into());
            };
            points.push(SavePoint { seconds: seconds as u64, changes: changes as u64 });
        }
        let adds_up = matches!(source, Source::Load { again: true }) && !points.is_empty();
        if !adds_up {
            self.0.clear();
        }
        self.0.extend(points);
        Ok(())
    }

    fn lines(&self, _: &Rule) -> Vec<Vec<u8>> {
        match self.0.as_slice() {
            [] => vec![b"\"\"".to_vec()],
            points => points
                .iter()
                .map(|point| format!("{} {}", point.seconds, point.changes).into_bytes())
                .collect(),
        }
    }

    /// Otherwise no `save` line would mean the default at the next start.
    fn always_written(&self) -> bool {
        true
    }
}

/// More addresses than this are refused.
pub const BIND_ADDRESSES_MAX: usize = 16;

/// `bind`: addresses to listen on. `*` is every IPv4 address, `::*` every IPv6 one; after a `-` an address that is not
/// available is passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindAddresses(pub Vec<Vec<u8>>);

impl Default for BindAddresses {
    fn default() -> Self {
        Self(vec!["*".into(), "-::*".into()])
    }
}

impl Field for BindAddresses {
    fn text(&self, _: &Rule) -> Vec<u8> {
        self.0.join(&b' ')
    }

    fn assign(&mut self, args: &[Vec<u8>], _: &Rule, _: Source) -> Result<(), Reason> {
        if args.len() > BIND_ADDRESSES_MAX {
            return Err("Too many bind addresses specified.".into());
        }
        self.0 = unless_emptied(args).to_vec();
        Ok(())
    }

    fn lines(&self, rule: &Rule) -> Vec<Vec<u8>> {
        match self.0.as_slice() {
            [] => vec![b"\"\"".to_vec()],
            _ => vec![self.text(rule)],
        }
    }
}

/// `replicaof`: the master of this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaOf {
    pub host: Vec<u8>,
    pub port: u16,
}

impl Field for Option<ReplicaOf> {
    fn text(&self, _: &Rule) -> Vec<u8> {
        let text = |master: &ReplicaOf| text!(master.host, format_args!(" {}", master.port)).into_bytes();
        self.as_ref().map(text).unwrap_or_default()
    }

    fn assign(&mut self, args: &[Vec<u8>], _: &Rule, _: Source) -> Result<(), Reason> {
        let [host, port] = args else {
            return Err(WRONG_ARGS.into());
        };
        if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            *self = None;
            return Ok(());
        }
        let port = integer(port).and_then(|port| u16::try_from(port).ok()).ok_or("Invalid master port")?;
        *self = Some(ReplicaOf { host: host.clone(), port });
        Ok(())
    }

    fn lines(&self, rule: &Rule) -> Vec<Vec<u8>> {
        self.iter().map(|_| self.text(rule)).collect()
    }
}

/// `oom-score-adj-values`: for a master, a replica, and a child that saves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomScoreAdjValues {
    pub master: i32,
    pub replica: i32,
    pub child: i32,
}

impl Default for OomScoreAdjValues {
    fn default() -> Self {
        Self { master: 0, replica: 200, child: 800 }
    }
}

impl Field for OomScoreAdjValues {
    fn text(&self, _: &Rule) -> Vec<u8> {
        format!("{} {} {}", self.master, self.replica, self.child).into_bytes()
    }

    fn assign(&mut self, args: &[Vec<u8>], _: &Rule, _: Source) -> Result<(), Reason> {
        let [master, replica, child] = args else {
            return Err(WRONG_ARGS.into());
        };
        let value = |text: &[u8]| match integer(text) {
            Some(value @ -2000..=2000) => Ok(value as i32),
            _ => Err(Reason::from("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")),
        };
        *self = Self { master: value(master)?, replica: value(replica)?, child: value(child)? };
        Ok(())
    }
}

/// `latency-tracking-info-percentiles`.
#[derive(Clone, Debug, PartialEq)]
pub struct Percentiles(pub Vec<f64>);

impl Default for Percentiles {
    fn default() -> Self {
        Self(vec![50.0, 99.0, 99.9])
    }
}

/// With up to six decimals, as INFO names its fields after it.
pub fn percentile_text(percentile: f64) -> String {
    let text = format!("{percentile:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Field for Percentiles {
    fn text(&self, _: &Rule) -> Vec<u8> {
        joined(&self.0, |percentile| percentile_text(*percentile))
    }

    fn assign(&mut self, args: &[Vec<u8>], _: &Rule, _: Source) -> Result<(), Reason> {
        let percentile = |text: &Vec<u8>| {
            let value = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
            match value.filter(|value| !value.is_nan()) {
                None => Err(Reason::from("Invalid latency-tracking-info-percentiles parameters")),
                Some(value) if (0.0..=100.0).contains(&value) => Ok(value),
                Some(_) => {
                    Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".into())
                }
            }
        };
        self.0 = unless_emptied(args).iter().map(percentile).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn lines(&self, rule: &Rule) -> Vec<Vec<u8>> {
        match self.0.as_slice() {
            [] => vec![b"\"\"".to_vec()],
            _ => vec![self.text(rule)],
        }
    }

    fn always_written(&self) -> bool {
        true
    }
}
