//! The latency monitor: spikes longer than `latency-monitor-threshold`, by event, as LATENCY shows them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Spikes kept of one event, one for each second at most.
const SPIKES_MAX: usize = 160;
/// Events are named in the program, not by clients; more than this is a mistake.
const EVENTS_MAX: usize = 64;
/// Lines of a graph, its labels left out.
const GRAPH_ROWS: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spike {
    /// Unix time, seconds.
    pub at_s: i64,
    pub latency_ms: u64,
}

/// The spikes of one event, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Event {
    spikes: std::collections::VecDeque<Spike>,
    /// Of all time, or since the last LATENCY RESET.
    max_ms: u64,
}

impl Event {
    pub fn spikes(&self) -> impl ExactSizeIterator<Item = Spike> + '_ {
        self.spikes.iter().copied()
    }

    pub fn latest(&self) -> Option<Spike> {
        self.spikes.back().copied()
    }

    pub fn max_ms(&self) -> u64 {
        self.max_ms
    }

    fn add(&mut self, spike: Spike) {
        self.max_ms = self.max_ms.max(spike.latency_ms);
        match self.spikes.back_mut() {
            // The worst of a second stands for it.
            Some(last) if last.at_s == spike.at_s => last.latency_ms = last.latency_ms.max(spike.latency_ms),
            _ => {
                if self.spikes.len() == SPIKES_MAX {
                    self.spikes.pop_front();
                }
                self.spikes.push_back(spike);
            }
        }
    }

    fn mean_ms(&self) -> u64 {
        self.spikes().map(|spike| spike.latency_ms).sum::<u64>() / (self.spikes.len() as u64).max(1)
    }

    /// A drawing: one column for each spike, as high as it was long, and how long ago it was.
    pub fn graph(&self, name: &str, now_s: i64) -> String {
        let (mut low, mut high) = (u64::MAX, 0);
        for spike in self.spikes() {
            low = low.min(spike.latency_ms);
            high = high.max(spike.latency_ms);
        }
        let mut text = format!("{name} - high {high} ms, low {low} ms (all time high {} ms)\n", self.max_ms);
        text.push_str(&"-".repeat(80));
        text.push('\n');
        let levels = GRAPH_ROWS as u64 * 2 - 1;
        let height = |spike: &Spike| (spike.latency_ms - low) * levels / (high - low).max(1);
        for row in (0..GRAPH_ROWS as u64).rev() {
            let line: String = self
                .spikes()
                .map(|spike| match height(&spike) {
                    height if height / 2 > row => '|',
                    height if height / 2 == row && height % 2 == 1 => '#',
                    height if height / 2 == row => '_',
                    _ => ' ',
                })
                .collect();
            let _ = writeln!(text, "{}", line.trim_end());
        }
        let ages: Vec<String> = self.spikes().map(|spike| age(now_s - spike.at_s)).collect();
        let longest = ages.iter().map(String::len).max().unwrap_or(0);
        text.push('\n');
        for place in 0..longest {
            let line: String = ages
                .iter()
                .map(|age| age.as_bytes().get(place).map_or(' ', |byte| char::from(*byte)))
                .collect();
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }
}

/// `5s`, `2m`, `3h`, `1d`.
fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86400),
    }
}

#[derive(Debug, Default)]
pub struct Events(BTreeMap<&'static str, Event>);

impl Events {
    pub fn add(&mut self, event: &'static str, at_s: i64, latency_ms: u64) {
        if self.0.len() < EVENTS_MAX || self.0.contains_key(event) {
            self.0.entry(event).or_default().add(Spike { at_s, latency_ms });
        }
    }

    pub fn get(&self, name: &[u8]) -> Option<(&'static str, &Event)> {
        self.0
            .iter()
            .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name))
            .map(|(name, event)| (*name, event))
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'static str, &Event)> {
        self.0.iter().map(|(name, event)| (*name, event))
    }

    /// Forgets the events named, or all when none is; returns how many there were.
    pub fn reset(&mut self, names: &[&[u8]]) -> usize {
        let before = self.0.len();
        self.0.retain(|known, _| {
            !(names.is_empty() || names.iter().any(|name| known.as_bytes().eq_ignore_ascii_case(name)))
        });
        before - self.0.len()
    }

    /// What an operator should know, in words. `threshold_ms` 0: the monitor is off.
    pub fn report(&self, threshold_ms: u64) -> String {
        if threshold_ms == 0 {
            return "The latency monitor is off. Switch it on with 'CONFIG SET latency-monitor-threshold <milliseconds>': \
                    events that take longer are then recorded.\n"
                .to_owned();
        }
        if self.0.is_empty() {
            return format!("No event took longer than {threshold_ms} ms.\n");
        }
        let mut text = String::from("Latency spikes were recorded:\n\n");
        for (number, (name, event)) in self.iter().enumerate() {
            let (first, last) = match (event.spikes.front(), event.spikes.back()) {
                (Some(first), Some(last)) => (first.at_s, last.at_s),
                _ => continue,
            };
            let count = event.spikes.len();
            let _ = writeln!(
                text,
                "{}. {name}: {count} spikes in {} seconds, mean {} ms, worst {} ms.",
                number + 1,
                last - first + 1,
                event.mean_ms(),
                event.max_ms
            );
        }
        text.push_str("\nWhat helps:\n\n");
        for (name, _) in self.iter() {
            let _ = writeln!(text, "- {name}: {}", advice(name));
        }
        text
    }
}

fn advice(event: &str) -> &'static str {
    match event {
        "command" => {
            "SLOWLOG GET shows which commands were slow. Large values and KEYS, FLUSHALL or DEL of big keys are the usual \
             ones: use SCAN and UNLINK, and split the values."
        }
        "fast-command" => {
            "commands that do little were slow, so the machine was busy with something else: look for swapping, \
             noisy neighbours, and transparent huge pages."
        }
        "expire-cycle" => "many keys expire at the same moment: spread their times, or lower active-expire-effort.",
        "eviction-cycle" => "maxmemory is reached by large keys: set lazyfree-lazy-eviction, or give the server more memory.",
        "aof-write" | "aof-write-alone" | "aof-fsync" | "aof-fsync-always" => {
            "the disk is slow for the append-only file: give it a faster one, or one of its own; with appendfsync everysec nobody \
             waits for it."
        }
        "aof-write-pending-fsync" => "a write waited for a sync of the same file: the disk is at its limit.",
        "aof-write-active-child" => {
            "a snapshot is written to the same disk: see no-appendfsync-on-rewrite and rdb-save-incremental-fsync."
        }
        "write-held" => {
            "the disk does not follow what clients write, so they wait for it: give it less to do meanwhile (no BGSAVE or rewrite at \
             such times), or make it faster. INFO persistence counts them in writers_waiting_for_disk."
        }
        _ => "look at the log for what happened then.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_remembered_by_its_worst_spike_and_old_spikes_go() {
        let mut events = Events::default();
        events.add("command", 10, 300);
        events.add("command", 10, 500);
        events.add("command", 10, 400);
        let (name, event) = events.get(b"COMMAND").unwrap();
        assert_eq!(
            (name, event.spikes().collect::<Vec<_>>()),
            ("command", vec![Spike { at_s: 10, latency_ms: 500 }])
        );
        for at_s in 11..11 + SPIKES_MAX as i64 {
            events.add("command", at_s, 100);
        }
        let (_, event) = events.get(b"command").unwrap();
        assert_eq!(
            (event.spikes().len(), event.latest().unwrap().latency_ms, event.max_ms()),
            (SPIKES_MAX, 100, 500)
        );
    }

    #[test]
    fn reset_forgets_the_events_named_or_all() {
        let mut events = Events::default();
        events.add("command", 1, 1);
        events.add("expire-cycle", 1, 1);
        assert_eq!(events.reset(&[b"nothing"]), 0);
        assert_eq!(events.reset(&[b"command", b"command"]), 1);
        assert_eq!((events.reset(&[]), events.iter().len()), (1, 0));
    }

    #[test]
    fn a_graph_has_a_column_for_each_spike() {
        let mut event = Event::default();
        for (at_s, latency_ms) in [(1, 100), (2, 400), (70, 800)] {
            event.add(Spike { at_s, latency_ms });
        }
        let graph = event.graph("command", 130);
        assert!(graph.starts_with("command - high 800 ms, low 100 ms (all time high 800 ms)\n"), "{graph}");
        assert!(graph.contains("  #\n  |\n #|\n_||\n\n221\nmmm\n"), "{graph}");
    }

    #[test]
    fn the_report_names_every_event() {
        let mut events = Events::default();
        assert!(events.report(0).contains("off"));
        assert!(events.report(100).contains("No event"));
        events.add("fast-command", 5, 120);
        assert!(events
            .report(100)
            .contains("fast-command: 1 spikes in 1 seconds, mean 120 ms, worst 120 ms"));
    }
}
