//! The replicas of a master, by events and actions.

use super::*;
use crate::repl::backlog::Backlog;
use crate::repl::history::{Kept, ReplicationId};
use crate::repl::master::wait::Acked;

const SECOND: u64 = 1000;

fn settings() -> Settings {
    Settings {
        timeout_ms: 60 * SECOND,
        ping_period_ms: 10 * SECOND,
        diskless: true,
        diskless_delay_ms: 0,
        diskless_max_replicas: 0,
        backlog_size: 1 << 20,
        backlog_ttl_ms: 3600 * SECOND,
        hard_limit: 0,
        soft_limit: 0,
        soft_ms: 0,
        throttle_bytes: 0,
        under_way_bytes: 0,
        min_replicas_to_write: 0,
        min_replicas_max_lag_ms: 10 * SECOND,
        channels: true,
    }
}

struct Master {
    history: History,
    backlog: Option<Backlog>,
    replicas: Replicas,
    is_replica: bool,
}

impl Master {
    fn new(settings: Settings) -> Master {
        let history = History::new(ReplicationId::parse(&[b'a'; 40]).unwrap());
        Master { history, backlog: None, replicas: Replicas::new(settings), is_replica: false }
    }

    fn with_backlog(settings: Settings, first: u64, end: u64) -> Master {
        let mut backlog = Backlog::new(1 << 20, first - 1);
        backlog.append(&vec![b'x'; (end + 1 - first) as usize]);
        Master { backlog: Some(backlog), ..Master::new(settings) }
    }

    fn world(&self) -> World<'_> {
        World {
            history: &self.history,
            backlog: self.backlog.as_ref(),
            offset: self.backlog.as_ref().map_or(0, Backlog::end),
            is_replica: self.is_replica,
            link_up: false,
            failing_over: false,
        }
    }

    fn ask_at(&mut self, id: ReplicaId, options: &str, request: &str, now_ms: u64) -> Result<(), String> {
        let mut of = Options::default();
        if !options.is_empty() {
            let words = format!("REPLCONF {options}");
            let args: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
            of.replconf(&args, false).unwrap();
        }
        let args: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
        let request = Request::parse(&args);
        let mut replicas = std::mem::replace(&mut self.replicas, Replicas::new(settings()));
        let peer = format!("10.0.0.{id}:5555");
        let outcome = replicas.request(id, of, peer, request, &self.world(), false, now_ms);
        self.replicas = replicas;
        outcome.map_err(|error| String::from_utf8(error.text().into_bytes()).unwrap())
    }

    fn ask(&mut self, id: ReplicaId, options: &str, request: &str) -> Result<(), String> {
        self.ask_at(id, options, request, 0)
    }

    fn tick(&mut self, now_ms: u64) {
        let mut replicas = std::mem::replace(&mut self.replicas, Replicas::new(settings()));
        replicas.tick(&self.world(), false, now_ms);
        self.replicas = replicas;
    }

    fn began(&mut self, job: JobId, offset: u64) {
        let cut = Cut { offset, stream_db: 0, mark: [b'm'; 40] };
        self.replicas.snapshot_began(job, cut, &self.history);
    }

    /// The actions but for log lines, short.
    fn actions(&mut self) -> Vec<String> {
        let shown = |action| match action {
            Action::Log(..) => None,
            Action::Send(id, bytes) => Some(format!("{id}< {}", bytes.escape_ascii())),
            Action::StartSnapshot { job, target, .. } => Some(format!("start {job} {target:?}")),
            other => Some(format!("{other:?}")),
        };
        self.replicas.take_actions().into_iter().filter_map(shown).collect()
    }
}

fn a(n: usize) -> String {
    "a".repeat(n)
}

#[test]
fn a_partial_synchronisation_goes_on_in_the_backlog() {
    let mut master = Master::with_backlog(settings(), 1, 500);
    master.ask(7, "capa psync2", &format!("PSYNC {} 401", a(40))).unwrap();
    assert_eq!(master.actions(), [format!("7< +CONTINUE {}\\r\\n", a(40)), "Stream(7, Some(401))".into()]);
    master.ask(8, "", &format!("psync {} 501", a(40))).unwrap();
    assert_eq!(master.actions(), ["8< +CONTINUE\\r\\n", "Stream(8, Some(501))"]);
    assert_eq!(master.replicas.counts(), Counts { full: 0, partial_ok: 2, partial_err: 0 });
    assert!(master.replicas.iter().all(Replica::is_online));
}

#[test]
fn a_full_one_over_sockets_is_held_until_the_first_acknowledgement() {
    let mut master = Master::new(settings());
    master.ask(7, "capa eof listening-port 6380", "PSYNC ? -1").unwrap();
    assert_eq!(master.actions(), ["MakeBacklog", "start 1 Sockets"]);
    assert_eq!(master.replicas.get(7).unwrap().state_name(), "wait_bgsave");
    master.began(1, 30);
    let expected = [
        format!("7< +FULLRESYNC {} 30\\r\\n", a(40)),
        "Hold(7, 31)".into(),
        format!("7< $EOF:{}\\r\\n", "m".repeat(40)),
    ];
    assert_eq!(master.actions(), expected);
    master.replicas.snapshot_ended(1, Some(1000), 0);
    assert_eq!(master.actions(), [""; 0], "held");
    assert_eq!(master.replicas.get(7).unwrap().state_name(), "online");
    master.replicas.ack(7, 30, None, true, 5);
    assert_eq!(master.actions(), ["Stream(7, None)"]);
    assert_eq!(master.replicas.acks(), [Acked { applied: 30, durable: 0 }]);
    assert_eq!(master.replicas.get(7).unwrap().name(), "10.0.0.7:6380");
    assert_eq!(master.replicas.counts(), Counts { full: 1, partial_ok: 0, partial_err: 0 });
}

#[test]
fn a_file_is_sent_with_its_length_and_late_comers_get_the_same() {
    let mut master = Master::with_backlog(Settings { diskless: false, ..settings() }, 1, 30);
    master.ask(7, "capa eof", "PSYNC ? -1").unwrap();
    assert_eq!(master.actions(), ["start 1 File"]);
    master.began(1, 30);
    assert_eq!(master.actions(), [format!("7< +FULLRESYNC {} 30\\r\\n", a(40)), "Hold(7, 31)".into()]);
    master.backlog.as_mut().unwrap().append(b"0123456789");
    master.ask(8, "capa eof", &format!("PSYNC {} 31", "b".repeat(40))).unwrap();
    assert_eq!(master.actions(), [format!("8< +FULLRESYNC {} 30\\r\\n", a(40)), "Hold(8, 31)".into()]);
    master.ask(9, "", "SYNC").unwrap();
    assert_eq!(master.actions(), ["start 2 File"], "it cannot do what the first one can");
    master.tick(0);
    assert_eq!(master.actions(), ["Ping", "7< \\n", "8< \\n", "9< \\n"]);
    master.replicas.snapshot_ended(1, Some(99), 0);
    let expected = ["7< $99\\r\\n", "SendFile(7, 1)", "8< $99\\r\\n", "SendFile(8, 1)"];
    assert_eq!(master.actions(), expected);
    assert_eq!(master.replicas.get(7).unwrap().state_name(), "send_bulk");
    master.replicas.file_sent(8, 0);
    assert_eq!(master.actions(), ["Stream(8, None)"]);
    master.began(2, 40);
    assert_eq!(master.actions(), ["Hold(9, 41)"], "SYNC gets no line");
    assert_eq!(master.replicas.counts(), Counts { full: 3, partial_ok: 0, partial_err: 1 });
}

#[test]
fn a_snapshot_over_sockets_waits_for_more_replicas() {
    let of = Settings { diskless_delay_ms: 5 * SECOND, diskless_max_replicas: 3, ..settings() };
    let mut master = Master::with_backlog(of.clone(), 1, 30);
    master.ask_at(1, "capa eof", "PSYNC ? -1", 0).unwrap();
    master.ask_at(2, "capa eof", "PSYNC ? -1", 4 * SECOND).unwrap();
    assert_eq!(master.actions(), [""; 0]);
    master.tick(5 * SECOND);
    assert!(master.actions().contains(&"start 1 Sockets".to_owned()));
    master.began(1, 30);
    master.ask_at(3, "capa eof", "PSYNC ? -1", 6 * SECOND).unwrap();
    master.actions();
    master.tick(12 * SECOND);
    assert!(master.actions().contains(&"start 2 Sockets".to_owned()), "it does not join one over sockets");
    let mut master = Master::with_backlog(of, 1, 30);
    for id in 1..=3 {
        master.ask(id, "capa eof", "PSYNC ? -1").unwrap();
    }
    assert_eq!(master.actions(), ["start 1 Sockets"], "enough of them need not wait");
}

#[test]
fn filtered_and_bare_snapshots_end_the_connection() {
    let mut master = Master::with_backlog(Settings { diskless: false, ..settings() }, 1, 30);
    let refused = master.ask(7, "rdb-filter-only functions", "SYNC");
    assert_eq!(refused, Err("ERR Filtered replica requires EOF capability".into()));
    master.ask(7, "capa eof rdb-only 1 rdb-filter-only functions", "SYNC").unwrap();
    assert_eq!(master.actions(), ["start 1 Sockets"], "a filtered one never becomes the server's file");
    master.began(1, 30);
    assert_eq!(master.actions(), [format!("7< $EOF:{}\\r\\n", "m".repeat(40))]);
    master.replicas.snapshot_ended(1, Some(9), 0);
    assert_eq!(master.actions(), ["Close(7, Done)", "Release(7)"]);
    assert!(master.replicas.is_empty());
}

#[test]
fn redis_8_gets_the_stream_while_the_snapshot_goes_over_another_connection() {
    let mut master = Master::with_backlog(settings(), 1, 30);
    master.ask(7, "capa eof capa rdb-channel-repl", "PSYNC ? -1").unwrap();
    assert_eq!(master.actions(), ["7< +RDBCHANNELSYNC 7\\r\\n"]);
    assert_eq!(master.replicas.counts().full, 0);
    master.ask(8, "capa eof rdb-channel 1 main-ch-client-id 7", "PSYNC ? -1").unwrap();
    assert_eq!(master.actions(), ["start 1 Sockets"]);
    master.began(1, 30);
    let expected = [
        format!("8< +FULLRESYNC {} 30\\r\\n", a(40)),
        "Stream(7, Some(31))".into(),
        format!("8< $EOF:{}\\r\\n", "m".repeat(40)),
    ];
    assert_eq!(master.actions(), expected);
    assert_eq!(master.replicas.get(7).unwrap().state_name(), "send_bulk_and_stream");
    assert!(master.replicas.get(8).unwrap().is_channel());
    master.replicas.snapshot_ended(1, Some(9), 3);
    assert_eq!(master.actions(), ["Close(8, Done)", "Release(8)"]);
    assert!(master.replicas.get(7).unwrap().is_online());
    assert_eq!(master.replicas.counts().full, 1);
    master.ask(9, "capa eof capa rdb-channel-repl", "PSYNC ? -1").unwrap();
    master.actions();
    master.tick(61 * SECOND);
    assert!(master.actions().contains(&"Close(9, NoChannel)".to_owned()));
}

#[test]
fn valkey_asks_again_and_goes_on_where_its_snapshot_ended() {
    let mut master = Master::with_backlog(settings(), 1, 30);
    master.ask(7, "capa eof capa psync2 capa dual-channel", "PSYNC ? -1").unwrap();
    assert_eq!(master.actions(), ["7< +DUALCHANNELSYNC\\r\\n"]);
    assert!(master.replicas.is_empty());
    master.ask(8, "capa eof rdb-only 1 rdb-channel 1", "SYNC").unwrap();
    assert_eq!(master.actions(), ["start 1 Sockets"]);
    master.began(1, 30);
    let expected = [
        format!("8< $ENDOFF:30 {} 0 8\\r\\n", a(40)),
        "Hold(8, 31)".into(),
        format!("8< $EOF:{}\\r\\n", "m".repeat(40)),
    ];
    assert_eq!(master.actions(), expected);
    master.replicas.snapshot_ended(1, Some(9), 0);
    assert_eq!(master.actions(), ["Close(8, Done)"], "the stream is still kept");
    master.ask(7, "capa eof capa psync2 set-rdb-client-id 8", &format!("PSYNC {} 31", a(40))).unwrap();
    let continued = format!("7< +CONTINUE {}\\r\\n", a(40));
    assert_eq!(master.actions(), [continued, "Stream(7, Some(31))".into(), "Release(8)".into()]);
    // One whose replica never comes.
    master.ask(9, "capa eof rdb-only 1 rdb-channel 1", "SYNC").unwrap();
    master.began(2, 30);
    master.replicas.snapshot_ended(2, Some(9), 0);
    master.actions();
    master.tick(59 * SECOND);
    assert!(!master.actions().contains(&"Release(9)".to_owned()));
    master.tick(61 * SECOND);
    assert!(master.actions().contains(&"Release(9)".to_owned()));
}

#[test]
fn who_cannot_be_served_now_is_told_so() {
    let mut master = Master::with_backlog(settings(), 1, 30);
    let wrong = master.ask(7, "", &format!("PSYNC {} x", a(40)));
    assert_eq!(wrong, Err("ERR value is not an integer or out of range".into()));
    master.is_replica = true;
    let down = master.ask(7, "", "PSYNC ? -1");
    assert_eq!(down, Err("NOMASTERLINK Can't SYNC while not connected with my master".into()));
    let world = World { failing_over: true, ..master.world() };
    let mut replicas = Replicas::new(settings());
    let outcome = replicas.request(7, Options::default(), "x".into(), Request::Sync, &world, false, 0);
    assert_eq!(outcome, Err(CommandError::other("NOMASTERLINK Can't SYNC while failing over")));
    master.is_replica = false;
    let outcome =
        replicas.request(7, Options::default(), "x".into(), Request::Sync, &master.world(), true, 0);
    let text = "ERR SYNC and PSYNC are invalid with pending output";
    assert_eq!(outcome, Err(CommandError::other(text)));
    assert!(replicas.is_empty());
}

#[test]
fn a_failover_request_promotes_only_the_right_replica() {
    let mut master = Master::with_backlog(settings(), 1, 30);
    let id = a(40);
    let args: [&[u8]; 4] = [b"PSYNC", id.as_bytes(), b"31", b"FAILOVER"];
    let request = Request::parse(&args);
    assert!(request.promotes(&master.world()).is_err(), "a master");
    master.is_replica = true;
    assert_eq!(request.promotes(&master.world()), Ok(true));
    let other = Request::Psync { id: &[b'b'; 40], offset: b"31", failover: true };
    let text = "ERR PSYNC FAILOVER replid must match my replid.";
    assert_eq!(other.promotes(&master.world()), Err(CommandError::other(text)));
    assert_eq!(Request::Sync.promotes(&master.world()), Ok(false));
}

#[test]
fn a_replica_that_was_restarted_from_older_data_takes_nothing_over_that_it_lacks() {
    let mut master = Master::with_backlog(settings(), 1, 30);
    master.is_replica = true;
    let id = a(40);
    let kept = Kept { id: master.history.id(), offset: 30, stream_db: None };
    master.history = History::restarted_as_replica(&kept);
    let asks = |master: &Master, offset: &[u8]| {
        let args: [&[u8]; 4] = [b"PSYNC", id.as_bytes(), offset, b"FAILOVER"];
        Request::parse(&args).promotes(&master.world()).is_ok()
    };
    assert!(asks(&master, b"31"), "it has all");
    assert!(!asks(&master, b"32"), "it had acknowledged more before its restart");
    // The master knows what it has: FAILOVER FORCE.
    master.history.continue_as(kept.id, 30);
    assert!(asks(&master, b"32"));
}

#[test]
fn one_replica_with_two_connections_counts_once() {
    let mut master = Master::with_backlog(settings(), 1, 30);
    let psync = format!("PSYNC {} 31", a(40));
    let ask = |master: &mut Master, id: ReplicaId, port: &str, now_ms| {
        let mut options = Options::default();
        options.replconf(&[b"REPLCONF", b"listening-port", port.as_bytes()], false).unwrap();
        let args: Vec<&[u8]> = psync.split(' ').map(str::as_bytes).collect();
        let mut replicas = std::mem::replace(&mut master.replicas, Replicas::new(settings()));
        let peer = format!("10.0.0.1:{id}");
        replicas.request(id, options, peer, Request::parse(&args), &master.world(), false, now_ms).unwrap();
        replicas.ack(id, 30, None, true, now_ms);
        master.replicas = replicas;
    };
    ask(&mut master, 7, "6380", 0);
    ask(&mut master, 8, "6381", 0);
    assert_eq!(master.replicas.acks().len(), 2, "two ports are two replicas");
    ask(&mut master, 9, "6380", SECOND);
    assert_eq!(master.replicas.acks().len(), 2, "the first one's connection is dead perhaps");
    master.replicas.ack(7, 30, None, true, SECOND + 100);
    assert_eq!(master.replicas.acks().len(), 2, "what was on its way");
    master.replicas.ack(7, 30, None, true, 2 * SECOND);
    assert_eq!(master.replicas.acks().len(), 3, "they share an address");
}

#[test]
fn what_a_slow_replica_has_to_take_grows_towards_its_limit_and_never_reaches_it() {
    // From half a MiB on, towards 7/8 of 2.
    let of = Settings { hard_limit: 2 << 20, throttle_bytes: 1 << 19, ..settings() };
    let mut master = Master::with_backlog(of, 1, 30);
    master.ask(7, "", &format!("PSYNC {} 31", a(40))).unwrap();
    master.actions();
    let (mut pending, mut after) = (0u64, Vec::new());
    for ms in 0..120_000 {
        // It loads: it takes nothing, but says each second that it lives.
        if ms % 1000 == 0 {
            master.replicas.heard(7, ms);
            after.push(pending);
        }
        if !master.replicas.wants_throttle(ms) {
            pending += 10_000;
        }
        master.replicas.progress(7, 0, pending, ms);
    }
    assert!(master.replicas.get(7).is_some(), "not dropped");
    assert!(after[1] > 1 << 19 && after[10] < 3 << 19, "{after:?}");
    assert!(after.windows(2).take(20).all(|pair| pair[0] < pair[1]), "writers never stand still: {after:?}");
    assert!(pending > (2 << 20) * 13 / 16 && pending < (2 << 20) * 15 / 16, "{pending}");
    master.replicas.progress(7, 1, 0, 120_000);
    assert!(!master.replicas.wants_throttle(120_000));
}

#[test]
fn what_was_on_its_way_when_writers_began_to_wait_drops_nobody_who_is_alive() {
    let of = Settings {
        hard_limit: 4 << 20,
        soft_limit: 2 << 20,
        soft_ms: SECOND,
        throttle_bytes: 1 << 20,
        under_way_bytes: 1 << 20,
        ..settings()
    };
    let mut master = Master::with_backlog(of, 1, 30);
    master.ask(7, "", &format!("PSYNC {} 31", a(40))).unwrap();
    master.actions();
    for second in 0..30 {
        // It loads.
        master.replicas.heard(7, second * SECOND);
        master.replicas.progress(7, 0, (3 << 20) - 1, second * SECOND);
    }
    assert!(master.replicas.get(7).is_some());
    for second in 36..39 {
        master.replicas.progress(7, 0, (3 << 20) - 1, second * SECOND);
    }
    assert!(master.replicas.get(7).is_none(), "nothing was heard of it");
}

#[test]
fn silent_and_stalled_replicas_are_dropped() {
    let mut master = Master::with_backlog(settings(), 1, 30);
    let psync = format!("PSYNC {} 31", a(40));
    master.ask(7, "", &psync).unwrap();
    master.ask(8, "", &psync).unwrap();
    master.ask(9, "capa eof", "PSYNC ? -1").unwrap();
    master.began(1, 30);
    master.actions();
    master.replicas.ack(8, 31, None, true, 30 * SECOND);
    master.replicas.progress(9, 100, 50, 30 * SECOND);
    master.tick(60 * SECOND);
    assert_eq!(master.actions(), ["Ping"]);
    master.tick(61 * SECOND);
    assert_eq!(master.actions(), ["Close(7, NoAck)", "Release(7)"]);
    master.replicas.ack(8, 31, None, false, 80 * SECOND);
    master.tick(91 * SECOND);
    let expected =
        ["Ping", "Close(8, NoAck)", "Release(8)", "Close(9, Stalled)", "Release(9)", "CancelSnapshot(1)"];
    assert_eq!(master.actions(), expected, "half an acknowledgement shows no life");
}

#[test]
fn output_limits_drop_a_replica_and_throttling_comes_before() {
    let of = Settings {
        hard_limit: 10 << 20,
        soft_limit: 5 << 20,
        soft_ms: 10 * SECOND,
        throttle_bytes: 4 << 20,
        ..settings()
    };
    let mut master = Master::with_backlog(of.clone(), 1, 30);
    let psync = format!("PSYNC {} 31", a(40));
    master.ask(7, "", &psync).unwrap();
    master.actions();
    assert!(!master.replicas.wants_throttle(0));
    master.replicas.progress(7, 1, 6 << 20, 0);
    assert!(master.replicas.wants_throttle(0), "slow, but it takes something");
    assert!(master.replicas.wants_throttle(5 * SECOND), "slow, but it was heard of");
    assert!(!master.replicas.wants_throttle(6 * SECOND), "stuck: writers wait for it no longer");
    master.replicas.progress(7, 1, 6 << 20, 10 * SECOND);
    assert_eq!(master.actions(), [""; 0]);
    master.replicas.progress(7, 1, 4 << 20, 11 * SECOND);
    master.replicas.progress(7, 1, 6 << 20, 12 * SECOND);
    assert_eq!(master.actions(), [""; 0], "the time over the soft limit begins anew");
    master.replicas.progress(7, 1, 6 << 20, 23 * SECOND);
    let limit = Drop::OutputLimit { pending: 6 << 20, limit: 5 << 20 };
    assert_eq!(master.actions(), [format!("{:?}", Action::Close(7, limit)), "Release(7)".into()]);
    let mut master = Master::with_backlog(Settings { hard_limit: 1, soft_limit: 0, ..of }, 1, 30);
    master.ask(7, "", &psync).unwrap();
    master.actions();
    master.replicas.progress(7, 1, (1 << 20) - 1, 0);
    assert_eq!(master.actions(), [""; 0], "no limit is below the backlog");
    master.replicas.progress(7, 1, 1 << 20, 0);
    assert_eq!(master.actions().len(), 2);
}

#[test]
fn a_failed_snapshot_drops_those_that_waited_for_it() {
    let mut master = Master::with_backlog(settings(), 1, 30);
    master.ask(7, "capa eof", "PSYNC ? -1").unwrap();
    master.actions();
    master.replicas.snapshot_ended(1, None, 0);
    let error = "7< -ERR BGSAVE failed, replication can\\'t continue\\r\\n";
    assert_eq!(master.actions(), [error, "Close(7, SnapshotFailed)", "Release(7)"]);
    master.ask(8, "capa eof", "PSYNC ? -1").unwrap();
    master.actions();
    master.replicas.gone(8, 0);
    assert_eq!(master.actions(), ["Release(8)", "CancelSnapshot(2)"]);
}

#[test]
fn a_new_ping_period_counts_at_once() {
    let mut master = Master::with_backlog(settings(), 1, 30);
    master.ask(7, "", &format!("PSYNC {} 31", a(40))).unwrap();
    master.actions();
    master.tick(0);
    assert_eq!(master.actions(), ["Ping"]);
    master.replicas.configure(Settings { ping_period_ms: SECOND, ..settings() });
    master.tick(SECOND);
    assert_eq!(master.actions(), ["Ping"], "not ten seconds after the last one");
    master.replicas.configure(Settings { ping_period_ms: 3600 * SECOND, ..settings() });
    master.tick(50 * SECOND);
    assert_eq!(master.actions(), [""; 0], "the stream stays as it is");
}

#[test]
fn the_backlog_is_given_up_when_nobody_has_wanted_it_for_long() {
    let mut master = Master::with_backlog(Settings { backlog_ttl_ms: 100 * SECOND, ..settings() }, 1, 30);
    master.ask(7, "", &format!("PSYNC {} 31", a(40))).unwrap();
    master.actions();
    master.tick(0);
    assert_eq!(master.actions(), ["Ping"]);
    master.replicas.gone(7, 10 * SECOND);
    master.tick(110 * SECOND);
    assert_eq!(master.actions(), ["Release(7)"], "and no PING for nobody");
    master.tick(111 * SECOND);
    assert_eq!(master.actions(), ["FreeBacklog"]);
    master.tick(500 * SECOND);
    assert_eq!(master.actions(), [""; 0]);
}

#[test]
fn good_replicas_are_those_that_are_not_late() {
    let of = Settings { min_replicas_to_write: 1, ..settings() };
    let mut master = Master::with_backlog(of, 1, 30);
    assert_eq!((master.replicas.good_replicas(0), master.replicas.may_write(0)), (Some(0), false));
    master.ask(7, "", &format!("PSYNC {} 31", a(40))).unwrap();
    assert!(master.replicas.may_write(10_999) && !master.replicas.may_write(11_000));
    master.replicas.configure(settings());
    assert_eq!((master.replicas.good_replicas(0), master.replicas.may_write(11_000)), (None, true));
}

#[test]
fn a_thousand_replicas_share_one_snapshot() {
    let of = Settings { diskless_delay_ms: 5 * SECOND, ..settings() };
    let mut master = Master::with_backlog(of, 1, 30);
    for id in 1..=1000 {
        master.ask(id, "capa eof", "PSYNC ? -1").unwrap();
    }
    master.tick(5 * SECOND);
    let starts = master.actions().iter().filter(|action| action.starts_with("start")).count();
    assert_eq!(starts, 1);
    master.began(1, 30);
    assert_eq!(master.actions().len(), 3000);
    for id in 1..=1000 {
        master.replicas.gone(id, 0);
    }
    assert_eq!(master.actions().last().unwrap(), "CancelSnapshot(1)");
}
