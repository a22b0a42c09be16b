//! The command line of `gyre-load`.

use crate::connection::Address;
use crate::keys::{Distribution, KeyNames, Keys, Values};
use crate::open_loop::Arrivals;
use crate::run::{Plan, Until, CONNECTIONS_MAX, OUTSTANDING_MAX};
use crate::workload::{Command, Mix, Workload};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Loads a server that speaks the Redis protocol and says what a request cost.
#[derive(Parser)]
pub struct Options {
    #[command(subcommand)]
    pub mode: Mode,
}

#[derive(Subcommand)]
pub enum Mode {
    /// Send a mix of commands and report throughput, latencies and CPU per request
    Run(RunOptions),
    /// Set every key of the key space once, as fast as possible, and report RSS per key
    Fill(FillOptions),
}

#[derive(Args)]
pub struct Common {
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    #[arg(short, long, default_value_t = 6379)]
    port: u16,
    /// Connect to this unix socket instead of TCP
    #[arg(long)]
    unix: Option<PathBuf>,
    /// Number of distinct keys
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Bytes in a key name: prefix and a zero-padded number
    #[arg(long, default_value_t = 11)]
    key_length: usize,
    #[arg(long, default_value = "k:")]
    key_prefix: String,
    /// Bytes in a value, or a range such as 10-1000
    #[arg(long, default_value = "64", value_parser = parse_sizes)]
    value_size: (usize, usize),
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Measure CPU time and RSS of this process
    #[arg(long)]
    server_pid: Option<u32>,
    /// Write the result to this file as JSON
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Write latencies to this file: percentiles when it ends in .csv, else an HdrHistogram log
    #[arg(long)]
    pub histogram: Option<PathBuf>,
    /// A name for this run, carried into the JSON
    #[arg(long, default_value = "")]
    pub label: String,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Spacing {
    /// Equal gaps
    Steady,
    /// Gaps of many independent clients
    Poisson,
}

#[derive(Args)]
pub struct RunOptions {
    #[command(flatten)]
    pub common: Common,
    #[arg(short = 'c', long, default_value_t = 50)]
    connections: usize,
    /// Requests sent together on a connection
    #[arg(short = 'P', long, default_value_t = 1)]
    pipeline: usize,
    /// Commands and weights: get, set, incr, ping, mset, mget, as in get:9,set:1
    #[arg(long, default_value = "get")]
    mix: Mix,
    /// uniform, sequential, zipf or zipf:EXPONENT
    #[arg(long, default_value = "uniform")]
    distribution: Distribution,
    /// Keys in each MSET and MGET
    #[arg(long, default_value_t = 10)]
    keys_per_command: u32,
    /// Open loop at this many requests per second in total; without it, closed loop
    #[arg(long)]
    rate: Option<f64>,
    /// Schedule of an open loop
    #[arg(long, value_enum, default_value = "poisson", requires = "rate")]
    arrivals: Spacing,
    /// Seconds to measure
    #[arg(long, default_value = "10", value_parser = parse_seconds)]
    duration: Duration,
    /// Measure this many requests instead of a duration
    #[arg(short = 'n', long, conflicts_with = "duration")]
    requests: Option<u64>,
    /// Seconds to run before measuring
    #[arg(long, default_value = "1", value_parser = parse_seconds)]
    warmup: Duration,
    /// Compare values with what `fill` or SET with the same options stores
    #[arg(long)]
    check_values: bool,
}

#[derive(Args)]
pub struct FillOptions {
    #[command(flatten)]
    pub common: Common,
    #[arg(short = 'c', long, default_value_t = 4)]
    connections: usize,
    /// Requests sent together on a connection
    #[arg(short = 'P', long, default_value_t = 128)]
    pipeline: usize,
}

fn parse_sizes(text: &str) -> Result<(usize, usize), String> {
    const VALUE_BYTES_MAX: usize = 512 * 1024 * 1024;
    let (min, max) = text.split_once('-').unwrap_or((text, text));
    match (min.parse(), max.parse()) {
        (Ok(min), Ok(max)) if min <= max && max <= VALUE_BYTES_MAX => Ok((min, max)),
        _ => Err("expected a size in bytes, or two with a dash between".into()),
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "expected a number of seconds".into())
}

impl Common {
    fn workload(
        &self,
        mix: Mix,
        distribution: Distribution,
        keys_per_command: u32,
    ) -> Result<Workload, String> {
        let counter_prefix = "#".repeat(self.key_prefix.len().max(1));
        Ok(Workload {
            mix,
            keys: Keys::new(distribution, self.keys)?,
            names: KeyNames::new(&self.key_prefix, self.key_length, self.keys)?,
            counter_names: KeyNames::new(
                &counter_prefix,
                self.key_length.max(counter_prefix.len() + 20),
                self.keys,
            )?,
            values: Values::new(self.value_size.0, self.value_size.1),
            keys_per_command,
            seed: self.seed,
        })
    }

    fn address(&self) -> Address {
        match &self.unix {
            Some(path) => Address::Unix(path.clone()),
            None => Address::Tcp(self.host.clone(), self.port),
        }
    }
}

fn bounded(name: &str, value: usize, max: usize) -> Result<usize, String> {
    if (1..=max).contains(&value) {
        Ok(value)
    } else {
        Err(format!("{name} must be from 1 to {max}"))
    }
}

impl RunOptions {
    /// The plan, or what is wrong with the options.
    pub fn plan(&self) -> Result<Plan, String> {
        let arrivals = match self.rate {
            Some(rate) if rate.is_finite() && rate > 0.0 => {
                Some(Arrivals { rate, poisson: self.arrivals == Spacing::Poisson })
            }
            Some(_) => return Err("--rate must be above zero".into()),
            None => None,
        };
        const KEYS_PER_COMMAND_MAX: usize = 100_000;
        bounded("--keys-per-command", self.keys_per_command as usize, KEYS_PER_COMMAND_MAX)?;
        Ok(Plan {
            address: self.common.address(),
            connections: bounded("--connections", self.connections, CONNECTIONS_MAX)?,
            pipeline: bounded("--pipeline", self.pipeline, OUTSTANDING_MAX)?,
            arrivals,
            warm_up: self.warmup,
            until: self.requests.map_or(Until::After(self.duration), Until::Requests),
            check_values: self.check_values,
            server_pid: self.common.server_pid,
            workload: self.common.workload(self.mix.clone(), self.distribution, self.keys_per_command)?,
        })
    }
}

impl FillOptions {
    /// The plan, or what is wrong with the options.
    pub fn plan(&self) -> Result<Plan, String> {
        Ok(Plan {
            address: self.common.address(),
            connections: bounded("--connections", self.connections, CONNECTIONS_MAX)?,
            pipeline: bounded("--pipeline", self.pipeline, OUTSTANDING_MAX)?,
            arrivals: None,
            warm_up: Duration::ZERO,
            until: Until::Requests(self.common.keys),
            check_values: false,
            server_pid: self.common.server_pid,
            workload: self.common.workload(Mix::only(Command::Set), Distribution::Sequential, 1)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(arguments: &str) -> Result<Plan, String> {
        let arguments = std::iter::once("gyre-load").chain(arguments.split_whitespace());
        match Options::try_parse_from(arguments).map_err(|error| error.to_string())?.mode {
            Mode::Run(options) => options.plan(),
            Mode::Fill(options) => options.plan(),
        }
    }

    #[test]
    fn options_become_a_plan() {
        let open = plan("run -c 7 -P 3 --rate 5000 --arrivals steady --duration 0.5").unwrap();
        assert_eq!((open.connections, open.pipeline), (7, 3));
        assert_eq!(open.until, Until::After(Duration::from_millis(500)));
        let arrivals = open.arrivals.unwrap();
        assert_eq!((arrivals.rate, arrivals.poisson), (5000.0, false));
        let fill = plan("fill --keys 5000000 --key-length 11").unwrap();
        assert_eq!(fill.until, Until::Requests(5_000_000));
    }

    #[test]
    fn options_that_cannot_work_are_refused() {
        for bad in [
            "run -c 0",
            "run -P 0",
            "run --rate 0",
            "run --rate nan",
            "run --keys 0",
            "run --keys 1000 --key-length 4",
            "run --value-size 9-3",
            "run --duration -1",
            "run --arrivals steady",
            "run -n 5 --duration 1",
        ] {
            assert!(plan(bad).is_err(), "{bad}");
        }
    }
}
