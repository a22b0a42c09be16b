//! Real feeds, whose deliveries reach the sequencer in the order that a test likes.

use std::sync::Arc;

use super::*;
use crate::journal::feed::{feeds, Bell, Feed, FeedReader, Fill};
use crate::journal::{Entry, Journal, Place, Tickets, Wanted};

const SHARDS: usize = 3;

/// What is in a batch.
enum In {
    Unit(Unit),
    Placeholder(Number, &'static [u16]),
}

struct Shards {
    feeds: Vec<Feed>,
    reader: FeedReader,
}

impl Shards {
    fn new(tickets: &Arc<Tickets>) -> Shards {
        let bell: Bell = Arc::new(|| {});
        let (feeds, reader) = feeds(SHARDS, tickets, &bell);
        Shards { feeds, reader }
    }

    fn released(&mut self, shard: usize) -> Delivery {
        self.feeds[shard].release(u64::MAX);
        self.reader.next().unwrap()
    }

    fn batch(&mut self, shard: usize, entries: &[In]) -> Delivery {
        for entry in entries {
            match entry {
                In::Unit(unit) => self.feeds[shard].append(&Entry { unit, part: None, now_us: 0 }),
                In::Placeholder(transaction, writers) => self.feeds[shard].place(*transaction, writers),
            }
        }
        self.feeds[shard].end_turn();
        self.released(shard)
    }

    fn part(&mut self, shard: usize, transaction: Number, effects: &[(usize, &str)]) -> Delivery {
        let part = crate::journal::Part { transaction, writers: &[] };
        self.feeds[shard].append(&Entry { unit: &unit(effects), part: Some(part), now_us: 0 });
        self.released(shard)
    }

    fn mark(&mut self, shard: usize) -> (Ticket, Delivery) {
        let ticket = self.feeds[shard].mark();
        (ticket, self.released(shard))
    }

    fn fill(&self) -> &Fill {
        self.reader.fill()
    }
}

use crate::journal::Sink;

fn journal() -> Journal<()> {
    let mut journal = Journal::default();
    journal.set_wanted(Wanted { units: true, ..Wanted::default() });
    journal
}

fn push(journal: &mut Journal<()>, place: Place, text: &str) {
    let args: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
    journal.push(place, &args);
}

fn unit(effects: &[(usize, &str)]) -> Unit {
    let mut journal = journal();
    journal.begin_body();
    effects.iter().for_each(|(db, text)| push(&mut journal, Place::in_db(*db), text));
    journal.end_body(false);
    journal.complete_unit().cloned().unwrap_or_default()
}

fn of(db: usize, text: &str) -> In {
    In::Unit(unit(&[(db, text)]))
}

fn set(key: &str) -> In {
    of(0, &format!("SET {key} 1"))
}

/// The stream, one command a word list.
fn shown(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let mut lines = text.split("\r\n");
    let mut commands = Vec::new();
    while let Some(count) = lines.next().and_then(|line| line.strip_prefix('*')) {
        let mut words = Vec::new();
        for _ in 0..count.parse().unwrap() {
            let len: usize = lines.next().unwrap()[1..].parse().unwrap();
            let word = lines.next().unwrap();
            assert_eq!(word.len(), len);
            words.push(word);
        }
        commands.push(words.join(" "));
    }
    commands
}

fn run(sequencer: &mut Sequencer, out: &mut StreamWriter) -> Vec<String> {
    let before = out.offset();
    sequencer.emit(out).unwrap();
    let bytes = out.take();
    assert_eq!(out.offset() - before, bytes.len() as u64, "every byte counts");
    shown(&bytes)
}

fn new() -> (Shards, Sequencer, StreamWriter) {
    let shards = Shards::new(&Arc::default());
    let sequencer = Sequencer::new(shards.reader.first);
    (shards, sequencer, StreamWriter::new(0, None))
}

#[test]
fn batches_leave_in_the_order_of_their_tickets() {
    let (mut shards, mut sequencer, mut out) = new();
    let [a, b, c] = [(0, "a"), (1, "b"), (0, "c")].map(|(shard, key)| shards.batch(shard, &[set(key)]));
    sequencer.deliver(c).unwrap();
    assert_eq!(sequencer.waiting(), Some(Waiting::Batch(0)));
    sequencer.deliver(a).unwrap();
    assert_eq!(run(&mut sequencer, &mut out), ["SELECT 0", "SET a 1"]);
    assert_eq!(sequencer.waiting(), Some(Waiting::Batch(1)));
    sequencer.deliver(b).unwrap();
    assert_eq!(run(&mut sequencer, &mut out), ["SET b 1", "SET c 1"]);
    assert_eq!((sequencer.waiting(), shards.fill().bytes(), sequencer.next_ticket()), (None, 0, 3));
}

#[test]
fn a_unit_of_several_commands_is_one_transaction() {
    let (mut shards, mut sequencer, mut out) = new();
    let body = In::Unit(unit(&[(0, "DEL x"), (0, "SET y 1")]));
    sequencer.deliver(shards.batch(0, &[body, In::Unit(unit(&[]))])).unwrap();
    assert_eq!(run(&mut sequencer, &mut out), ["MULTI", "SELECT 0", "DEL x", "SET y 1", "EXEC"]);
}

#[test]
fn a_database_is_selected_when_it_changes() {
    let (mut shards, mut sequencer, mut out) = new();
    let entries = [of(0, "SET a 1"), of(0, "SET b 1"), of(9, "SET c 1"), of(0, "SET d 1")];
    sequencer.deliver(shards.batch(0, &entries)).unwrap();
    let expected = ["SELECT 0", "SET a 1", "SET b 1", "SELECT 9", "SET c 1", "SELECT 0", "SET d 1"];
    assert_eq!(run(&mut sequencer, &mut out), expected);
    out.forget_selected();
    sequencer.deliver(shards.batch(0, &[of(0, "SET e 1")])).unwrap();
    assert_eq!(run(&mut sequencer, &mut out), ["SELECT 0", "SET e 1"]);
    let copied = unit(&[(1, "COPY a b DB 2"), (2, "DEL b")]);
    sequencer.deliver(shards.batch(0, &[In::Unit(copied)])).unwrap();
    let expected = ["MULTI", "SELECT 1", "COPY a b DB 2", "SELECT 2", "DEL b", "EXEC"];
    assert_eq!(run(&mut sequencer, &mut out), expected);
}

#[test]
fn a_transaction_stands_at_its_placeholder_as_one() {
    let (mut shards, mut sequencer, mut out) = new();
    sequencer.deliver(shards.part(1, 5, &[(0, "SET y 1")])).unwrap();
    let a = shards.batch(1, &[set("a")]);
    let b = shards.batch(0, &[set("b"), In::Placeholder(5, &[0, 1]), set("d")]);
    let c = shards.batch(1, &[set("c")]);
    [c, a, b].into_iter().for_each(|delivery| sequencer.deliver(delivery).unwrap());
    assert_eq!(run(&mut sequencer, &mut out), ["SELECT 0", "SET a 1", "SET b 1"]);
    let missing = SmallVec::from_slice(&[0]);
    assert_eq!(sequencer.waiting(), Some(Waiting::Parts { transaction: 5, missing }));
    assert_eq!(run(&mut sequencer, &mut out), [""; 0], "nothing leaves twice");
    sequencer.deliver(shards.part(0, 5, &[(0, "SET x 1")])).unwrap();
    let expected = ["MULTI", "SET x 1", "SET y 1", "EXEC", "SET d 1", "SET c 1"];
    assert_eq!(run(&mut sequencer, &mut out), expected);
    assert_eq!(shards.fill().bytes(), 0);
}

#[test]
fn the_parts_of_a_transaction_stand_in_the_order_of_its_steps_and_what_all_have_stands_once() {
    let (mut shards, mut sequencer, mut out) = new();
    let mut deliver = |shard: usize, steps: &[(u32, bool, usize, &str)]| {
        let mut journal = journal();
        for (step, is_everywhere, db, text) in steps {
            journal.enter_part(5, *step);
            push(&mut journal, Place { is_everywhere: *is_everywhere, ..Place::in_db(*db) }, text);
            journal.leave_part();
        }
        let part = crate::journal::Part { transaction: 5, writers: &[0, 1] };
        let ended = journal.end_part(5);
        shards.feeds[shard].append(&Entry { unit: &ended.unit, part: Some(part), now_us: 0 });
        let part = shards.released(shard);
        sequencer.deliver(part).unwrap();
    };
    deliver(0, &[(1, true, 0, "FLUSHALL"), (2, false, 3, "SET a 1"), (4, false, 0, "SET b 1")]);
    deliver(1, &[(1, true, 0, "FLUSHALL"), (3, false, 3, "SET c 1")]);
    sequencer.deliver(shards.batch(0, &[In::Placeholder(5, &[0, 1])])).unwrap();
    let expected =
        ["MULTI", "SELECT 0", "FLUSHALL", "SELECT 3", "SET a 1", "SET c 1", "SELECT 0", "SET b 1", "EXEC"];
    assert_eq!(run(&mut sequencer, &mut out), expected);
}

#[test]
fn a_transaction_of_which_one_command_is_left_needs_no_multi() {
    let (mut shards, mut sequencer, mut out) = new();
    let places = [In::Placeholder(5, &[0, 1]), In::Placeholder(6, &[]), In::Placeholder(7, &[1])];
    sequencer.deliver(shards.batch(0, &places)).unwrap();
    sequencer.deliver(shards.part(1, 5, &[])).unwrap();
    sequencer.deliver(shards.part(0, 5, &[(0, "DEL x")])).unwrap();
    sequencer.deliver(shards.part(1, 7, &[])).unwrap();
    assert_eq!(run(&mut sequencer, &mut out), ["SELECT 0", "DEL x"]);
    assert_eq!(sequencer.next_ticket(), 1);
}

#[test]
fn who_breaks_the_rules_is_named() {
    let (mut shards, mut sequencer, mut out) = new();
    let (mut twins, again) = (Shards::new(&Arc::default()), Violation::Ticket { ticket: 0, shard: 1 });
    sequencer.deliver(shards.batch(0, &[set("a")])).unwrap();
    assert_eq!(sequencer.deliver(twins.batch(1, &[set("a")])), Err(again), "taken");
    run(&mut sequencer, &mut out);
    let mut late = Shards::new(&Arc::default());
    assert_eq!(sequencer.deliver(late.batch(1, &[set("a")])), Err(again), "left already");
    sequencer.deliver(shards.part(0, 5, &[(0, "SET x 1")])).unwrap();
    let twice = sequencer.deliver(shards.part(0, 5, &[(0, "SET x 1")]));
    assert_eq!(twice, Err(Violation::Part { transaction: 5, shard: 0 }));
    sequencer.deliver(shards.batch(1, &[In::Placeholder(5, &[1])])).unwrap();
    assert_eq!(sequencer.emit(&mut out), Err(Violation::NoWriter { transaction: 5, shard: 0 }));
}

#[test]
fn what_waits_here_still_counts_in_the_fill() {
    let (mut shards, mut sequencer, mut out) = new();
    let late = shards.batch(1, &[set("a")]);
    sequencer.deliver(shards.batch(0, &[of(0, &format!("SET k {}", "v".repeat(2000)))])).unwrap();
    sequencer.deliver(shards.part(2, 5, &[(0, &format!("SET x {}", "v".repeat(2000)))])).unwrap();
    run(&mut sequencer, &mut out);
    assert!(shards.fill().bytes() > 4000);
    sequencer.deliver(late).unwrap();
    run(&mut sequencer, &mut out);
    assert!((2000..3000).contains(&shards.fill().bytes()), "the part waits for its placeholder");
    sequencer.deliver(shards.batch(0, &[In::Placeholder(5, &[2])])).unwrap();
    run(&mut sequencer, &mut out);
    assert_eq!(shards.fill().bytes(), 0);
}

#[test]
fn a_ticket_is_turned_into_an_offset() {
    let (mut shards, mut sequencer, mut out) = new();
    sequencer.deliver(shards.batch(0, &[set("a")])).unwrap();
    assert_eq!(sequencer.offset_after(0, 0), None);
    run(&mut sequencer, &mut out);
    let first = out.offset();
    assert_eq!(sequencer.offset_after(0, first), Some(first));
    sequencer.deliver(shards.mark(0).1).unwrap();
    run(&mut sequencer, &mut out);
    sequencer.deliver(shards.batch(0, &[set("b")])).unwrap();
    run(&mut sequencer, &mut out);
    assert_eq!(sequencer.offset_after(0, out.offset()), Some(first));
    assert_eq!(sequencer.offset_after(2, out.offset()), Some(out.offset()));
    for _ in 0..2 * ROUNDS_MAX {
        sequencer.deliver(shards.batch(0, &[set("c")])).unwrap();
        run(&mut sequencer, &mut out);
    }
    let old = sequencer.offset_after(0, out.offset()).unwrap();
    assert!(old >= first && old <= out.offset(), "never too small");
    assert_eq!(sequencer.rounds.len(), ROUNDS_MAX);
}

#[test]
fn a_cut_has_one_offset_and_a_database_is_selected_behind_it() {
    let (mut shards, mut sequencer, mut out) = new();
    let a = shards.batch(0, &[of(2, "SET a 1")]);
    let (ticket, mark) = shards.mark(1);
    let b = shards.batch(2, &[of(2, "SET b 1")]);
    [mark, b].into_iter().for_each(|delivery| sequencer.deliver(delivery).unwrap());
    run(&mut sequencer, &mut out);
    assert_eq!(sequencer.offset_of_cut(ticket), None, "the stream is not there yet");
    sequencer.deliver(a).unwrap();
    // All in one round: the offset of the round is not that of the cut.
    assert_eq!(run(&mut sequencer, &mut out), ["SELECT 2", "SET a 1", "SELECT 2", "SET b 1"]);
    let upto_cut = crate::repl::wire::command(&[b"SELECT", b"2"]).len()
        + crate::repl::wire::command(&[b"SET", b"a", b"1"]).len();
    assert_eq!(sequencer.offset_of_cut(ticket), Some(upto_cut as u64));
    assert_eq!(sequencer.offset_of_cut(ticket + 1), None, "no cut");
    // What a shard did in the turn of the barrier comes in front of the cut.
    shards.feeds[0].append(&Entry { unit: &unit(&[(2, "SET c 1")]), part: None, now_us: 0 });
    let (ticket, mark) = shards.mark(0);
    sequencer.deliver(mark).unwrap();
    assert_eq!(run(&mut sequencer, &mut out), ["SET c 1"]);
    assert_eq!(sequencer.offset_of_cut(ticket), Some(out.offset()));
    for _ in 0..CUTS_MAX {
        sequencer.deliver(shards.mark(0).1).unwrap();
        run(&mut sequencer, &mut out);
    }
    assert_eq!((sequencer.offset_of_cut(ticket), sequencer.cuts.len()), (None, CUTS_MAX));
}

#[test]
fn pings_and_requests_for_acks_count() {
    let mut out = StreamWriter::new(100, Some(2));
    out.ping();
    out.ask_for_acks();
    out.forward(b"*1\r\n$4\r\nPING\r\n");
    assert_eq!(out.offset(), 100 + 14 + 37 + 14);
    assert_eq!(shown(&out.take()), ["PING", "REPLCONF GETACK *", "PING"]);
    assert_eq!(out.selected(), Some(2));
}
