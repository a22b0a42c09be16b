//! A run's findings as a table for people, as JSON for scripts, and its latencies as a histogram file.

use crate::run::Findings;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::Histogram;
use serde_json::{json, Value};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999), ("p99_99", 0.9999)];

fn us(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

fn per(total: Duration, count: u64) -> f64 {
    total.as_secs_f64() * 1e6 / count.max(1) as f64
}

fn latency_json(histogram: &Histogram<u64>) -> Value {
    let mut latency = json!({
        "count": histogram.len(),
        "mean": histogram.mean() / 1e3,
        "max": us(histogram.max()),
    });
    for (name, quantile) in QUANTILES {
        latency[name] = json!(us(histogram.value_at_quantile(quantile)));
    }
    latency
}

/// The findings as one JSON object: latencies in microseconds, memory in bytes.
pub fn json(findings: &Findings, label: &str) -> Value {
    let meter = &findings.meter;
    let failures = &meter.failures;
    let mut commands = json!({});
    for (command, histogram) in meter.by_command() {
        commands[command.name()] = latency_json(histogram);
    }
    json!({
        "label": label,
        "seconds": findings.seconds,
        "replies": findings.replies,
        "requests_per_s": findings.replies as f64 / findings.seconds,
        "latency_us": latency_json(&meter.overall()),
        "commands_latency_us": commands,
        "misses": meter.misses,
        "failures": {
            "error_replies": failures.error_replies,
            "wrong_replies": failures.wrong_replies,
            "unanswered": failures.unanswered,
            "lost_connections": failures.lost_connections,
            "first": failures.first,
        },
        "client_cpu_us_per_request": per(findings.client_cpu, findings.replies),
        "client_cpu_share": findings.client_cpu.as_secs_f64() / findings.seconds,
        "server": findings.server.map(|server| json!({
            "cpu_us_per_request": per(server.cpu.total, findings.replies),
            "cpu_share": server.cpu.total.as_secs_f64() / findings.seconds,
            "user_us_per_request": per(server.cpu.user, findings.replies),
            "system_us_per_request": per(server.cpu.system, findings.replies),
            "rss_before_bytes": server.resident_before_bytes,
            "rss_after_bytes": server.resident_after_bytes,
            "rss_per_reply_bytes": server.resident_after_bytes
                .saturating_sub(server.resident_before_bytes) as f64
                / findings.replies.max(1) as f64,
        })),
    })
}

/// The findings as a table; `filled` adds memory per key.
pub fn table(findings: &Findings, filled: bool) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail, so the results of `writeln!` below carry nothing.
    let replies = findings.replies;
    let rate = replies as f64 / findings.seconds;
    let _ = writeln!(text, "{rate:>12.0} requests/s ({replies} in {:.2} s)", findings.seconds);
    if let Some(server) = &findings.server {
        let _ = writeln!(
            text,
            "{:>12.3} us of server CPU per request (user {:.2}, system {:.2}), {:.0}% of a core",
            per(server.cpu.total, replies),
            per(server.cpu.user, replies),
            per(server.cpu.system, replies),
            100.0 * server.cpu.total.as_secs_f64() / findings.seconds,
        );
        let _ =
            writeln!(text, "{:>12.1} MiB of server RSS", server.resident_after_bytes as f64 / 1_048_576.0);
        if filled {
            let grown = server.resident_after_bytes.saturating_sub(server.resident_before_bytes);
            let _ = writeln!(text, "{:>12.1} bytes of RSS per key", grown as f64 / replies.max(1) as f64);
        }
    }
    let _ = writeln!(
        text,
        "{:>12.3} us of client CPU per request, {:.0}% of a core",
        per(findings.client_cpu, replies),
        100.0 * findings.client_cpu.as_secs_f64() / findings.seconds
    );
    let _ = writeln!(
        text,
        "\n{:>8} {:>11} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10}",
        "us", "count", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"
    );
    let overall = findings.meter.overall();
    let rows = findings
        .meter
        .by_command()
        .map(|(command, histogram)| (command.name(), histogram))
        .chain([("all", &overall)]);
    for (name, histogram) in rows {
        let _ = write!(text, "{name:>8} {:>11} {:>9.1}", histogram.len(), histogram.mean() / 1e3);
        for (_, quantile) in QUANTILES {
            let _ = write!(text, " {:>9.1}", us(histogram.value_at_quantile(quantile)));
        }
        let _ = writeln!(text, " {:>10.1}", us(histogram.max()));
    }
    let failures = &findings.meter.failures;
    if findings.meter.misses > 0 {
        let _ = writeln!(text, "{:>12} keys not found", findings.meter.misses);
    }
    if !failures.none() {
        let _ = writeln!(
            text,
            "FAILED: {} error replies, {} wrong replies, {} unanswered, {} lost connections; first: {}",
            failures.error_replies,
            failures.wrong_replies,
            failures.unanswered,
            failures.lost_connections,
            failures.first.as_deref().unwrap_or("-")
        );
    }
    text
}

/// Ticks of the percentile table per halving of the distance to 100%.
const TICKS_PER_HALF_DISTANCE: u32 = 10;

/// Writes `latency_us,percentile,count`, one line per step; percentiles get denser towards 100.
pub fn write_percentiles(histogram: &Histogram<u64>, mut out: impl Write) -> io::Result<()> {
    writeln!(out, "latency_us,percentile,count")?;
    let mut count = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        count += step.count_since_last_iteration();
        writeln!(
            out,
            "{:.3},{:.6},{count}",
            us(step.value_iterated_to()),
            step.quantile_iterated_to() * 100.0
        )?;
    }
    Ok(())
}

/// Writes the latencies to `path`: percentiles as CSV when its name ends in .csv, else an HdrHistogram log of
/// one interval, in nanoseconds.
pub fn write_histogram(histogram: &Histogram<u64>, seconds: f64, path: &Path) -> io::Result<()> {
    let mut out = io::BufWriter::new(std::fs::File::create(path)?);
    if path.extension().is_some_and(|extension| extension == "csv") {
        write_percentiles(histogram, &mut out)?;
    } else {
        let mut serializer = V2DeflateSerializer::new();
        let mut log = IntervalLogWriterBuilder::new()
            .add_comment("latencies in nanoseconds")
            .with_start_time(SystemTime::now())
            .with_max_value_divisor(1e6)
            .begin_log_with(&mut out, &mut serializer)?;
        log.write_histogram(histogram, Duration::ZERO, Duration::from_secs_f64(seconds), None)
            .map_err(|error| io::Error::other(format!("{error:?}")))?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::{new_histogram, Meter};
    use crate::process::CpuTime;
    use crate::replies::Outcome;
    use crate::run::ServerCost;
    use crate::workload::{Command, Request};

    fn histogram() -> Histogram<u64> {
        let mut histogram = new_histogram();
        for latency_us in 1..=1000 {
            histogram.record(latency_us * 1000).unwrap();
        }
        histogram
    }

    #[test]
    fn percentiles_rise_and_end_with_the_maximum_and_the_count() {
        let mut out = Vec::new();
        write_percentiles(&histogram(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(1)
            .map(|line| line.split(',').map(|field| field.parse().unwrap()).collect())
            .collect();
        assert!(rows
            .windows(2)
            .all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1] && pair[0][2] <= pair[1][2]));
        let median = rows.iter().find(|row| row[1] >= 50.0).unwrap();
        assert!((median[0] - 500.0).abs() < 1.0, "{median:?}");
        let last = rows.last().unwrap();
        assert!((last[0] - 1000.0).abs() < 1.0, "{last:?}");
        assert_eq!(last[1..], [100.0, 1000.0]);
    }

    #[test]
    fn a_histogram_log_can_be_read_back() {
        use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
        let path = std::env::temp_dir().join(format!("gyre-load-{}.hlog", std::process::id()));
        write_histogram(&histogram(), 2.0, &path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let intervals = IntervalLogIterator::new(&bytes)
            .filter(|entry| matches!(entry, Ok(LogEntry::Interval(_))))
            .count();
        assert_eq!(intervals, 1);
    }

    #[test]
    fn figures_per_request_are_over_the_replies_of_the_window() {
        let mut meter = Meter::default();
        meter.open_window(0);
        let request = Request { command: Command::Get, draw: 0, intended_ns: 0 };
        meter.record(request, Outcome::Good, 5_000);
        let findings = Findings {
            meter,
            seconds: 2.0,
            replies: 100_000,
            server: Some(ServerCost {
                cpu: CpuTime {
                    total: Duration::from_millis(800),
                    user: Duration::from_millis(300),
                    system: Duration::from_millis(500),
                },
                resident_before_bytes: 1_000_000,
                resident_after_bytes: 9_000_000,
            }),
            client_cpu: Duration::from_millis(200),
        };
        let json = json(&findings, "x");
        assert_eq!(json["requests_per_s"], 50_000.0);
        assert_eq!(json["server"]["cpu_us_per_request"], 8.0);
        assert_eq!(json["server"]["cpu_share"], 0.4);
        assert_eq!(json["server"]["rss_per_reply_bytes"], 80.0);
        assert_eq!(json["client_cpu_us_per_request"], 2.0);
        assert_eq!(json["commands_latency_us"]["GET"]["count"], 1);
        assert!(table(&findings, true).contains("80.0 bytes of RSS per key"));
    }
}
