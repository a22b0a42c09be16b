//! The link to a master, by bytes and actions.

use super::*;

fn settings() -> Settings {
    Settings { port: 6380, timeout_ms: 60_000, ..Settings::default() }
}

fn id(letter: u8) -> ReplicationId {
    ReplicationId::parse(&[letter; 40]).unwrap()
}

struct Test {
    link: Link,
    actions: Vec<Action>,
}

impl Test {
    fn new(settings: Settings, resume: Option<Resume>) -> Test {
        let mut test = Test { link: Link::new(settings, resume, false, 0), actions: Vec::new() };
        test.link.connecting(0);
        test.link.connected(0, &mut test.actions);
        test
    }

    /// Actions but for log lines.
    fn take(&mut self) -> Vec<Action> {
        let is_log = |action: &Action| matches!(action, Action::Log(..));
        std::mem::take(&mut self.actions).into_iter().filter(|action| !is_log(action)).collect()
    }

    fn input(&mut self, input: &[u8]) -> Vec<Action> {
        assert_eq!(self.link.input(input, 0, &mut self.actions), input.len());
        self.take()
    }

    /// Up to PSYNC.
    fn handshake(&mut self) -> Vec<Action> {
        self.take();
        self.input(b"+PONG\r\n");
        self.input(b"+OK\r\n+OK\r\n")
    }
}

fn send(args: &[&[u8]]) -> Action {
    Action::Send(command(args))
}

#[test]
fn a_handshake_asks_step_by_step() {
    let of = Settings {
        user: Some(b"u".to_vec()),
        password: Some(b"p".to_vec()),
        address: Some(b"10.1.1.1".to_vec()),
        ..settings()
    };
    let mut test = Test::new(of, Some(Resume { id: id(b'a'), offset: 41 }));
    assert_eq!(test.take(), [send(&[b"PING"])]);
    assert_eq!(test.link.state_name(), "handshake");
    let mut introduction = command(&[b"AUTH", b"u", b"p"]);
    put_command(&mut introduction, &[b"REPLCONF", b"listening-port", b"6380"]);
    put_command(&mut introduction, &[b"REPLCONF", b"ip-address", b"10.1.1.1"]);
    put_command(&mut introduction, &[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"]);
    assert_eq!(test.input(b"-NOAUTH Authentication required.\r\n"), [Action::Send(introduction)]);
    assert_eq!(test.input(b"+OK\r\n+OK\r\n-ERR unknown\r\n"), []);
    assert_eq!(test.input(b"+O"), []);
    assert_eq!(test.input(b"K\r\n"), [send(&[b"PSYNC", &[b'a'; 40], b"42"])]);
    assert_eq!(test.input(b"\n\n"), []);
    let continued = [Action::Continue { id: None }, send(&[b"REPLCONF", b"ACK", b"41"])];
    assert_eq!(test.input(b"+CONTINUE\r\n"), continued);
    assert!(test.link.is_up());
    assert_eq!(test.input(b"*1\r\n$4\r\nPING\r\n"), [Action::Stream(0..14)]);
}

#[test]
fn a_master_may_go_on_under_another_id() {
    let mut test = Test::new(settings(), Some(Resume { id: id(b'a'), offset: 41 }));
    test.handshake();
    let line = format!("+CONTINUE {}\r\n*1", "b".repeat(40));
    let actions = test.input(line.as_bytes());
    assert_eq!(actions[0], Action::Continue { id: Some(id(b'b')) });
    assert_eq!(actions[2], Action::Stream(line.len() - 2..line.len()));
    test.link.applied(100, Some(90));
    assert_eq!(test.link.resume(), Some(Resume { id: id(b'b'), offset: 100 }));
    test.link.tick(1000, &mut test.actions);
    assert_eq!(test.take(), [send(&[b"REPLCONF", b"ACK", b"100", b"FACK", b"90"])]);
    test.link.lost("reset", 1500, &mut test.actions);
    let at_once = Action::RetryAfter(0);
    assert_eq!(test.take(), [Action::Close(Cause::Lost("reset".into())), at_once], "the stream had lasted");
    assert_eq!(
        test.link.resume(),
        Some(Resume { id: id(b'b'), offset: 100 }),
        "it resumes behind what is applied"
    );
    assert_eq!(test.link.down_since_ms(), Some(1500));
}

#[test]
fn a_full_synchronisation_is_loaded_before_the_stream_is_read() {
    let mut test = Test::new(settings(), None);
    assert_eq!(test.handshake(), [send(&[b"PSYNC", b"?", b"-1"])]);
    let head = format!("+FULLRESYNC {} 77\r\n\n\n$10\r\nREDIS", "c".repeat(40));
    let start = Some(Resume { id: id(b'c'), offset: 77 });
    let from = head.len() - 5;
    let expected = [Action::BeginLoad { start, total: Some(10) }, Action::PayloadBytes(from..from + 5)];
    assert_eq!(test.input(head.as_bytes()), expected);
    assert_eq!(test.link.progress(), Some((5, Some(10))));
    let rest = b"00115*1\r\n$4\r\nPING\r\n";
    assert_eq!(test.link.input(rest, 0, &mut test.actions), 5, "the stream waits");
    assert_eq!(test.take(), [Action::PayloadBytes(0..5), Action::EndLoad]);
    assert!(!test.link.wants_input() && test.link.is_syncing());
    test.link.tick(100_000, &mut test.actions);
    assert_eq!(test.take(), [Action::Send(b"\n".to_vec())], "loading has no timeout");
    test.link.loaded(true, 100_000, &mut test.actions);
    assert_eq!(test.take(), [send(&[b"REPLCONF", b"ACK", b"77"])]);
    assert_eq!(test.input(&rest[5..]), [Action::Stream(0..14)]);
    assert_eq!(test.link.resume(), start);
}

#[test]
fn a_marked_payload_is_taken_without_its_mark() {
    let mut test = Test::new(settings(), None);
    test.handshake();
    test.input(format!("+FULLRESYNC {} 77\r\n$EOF:{}\r\n", "c".repeat(40), "m".repeat(40)).as_bytes());
    let mut payload = Vec::new();
    for piece in ["REDIS", "00", "11mmmm", "mmmmmx", &"m".repeat(39), "m"] {
        for action in test.input(piece.as_bytes()) {
            match action {
                Action::PayloadBytes(range) => payload.extend_from_slice(&piece.as_bytes()[range]),
                Action::PayloadHeld(bytes) => payload.extend_from_slice(&bytes),
                Action::EndLoad => payload.push(b'!'),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(payload, b"REDIS0011mmmmmmmmmx!");
}

#[test]
fn a_bad_snapshot_closes_the_link_and_what_was_here_stays() {
    let resume = Some(Resume { id: id(b'a'), offset: 41 });
    let mut test = Test::new(settings(), resume);
    test.handshake();
    test.input(format!("+FULLRESYNC {} 77\r\n$0\r\n", "c".repeat(40)).as_bytes());
    test.link.loaded(false, 0, &mut test.actions);
    assert_eq!(test.take(), [Action::Close(Cause::LoadFailed), Action::RetryAfter(RETRY_MS)]);
    assert_eq!(test.link.resume(), resume);
    test.link.forget();
    assert_eq!(test.link.resume(), None);
}

#[test]
fn snapshots_that_cannot_be_loaded_are_asked_for_ever_less_often() {
    let mut test = Test::new(settings(), None);
    let mut fails = |is_good: bool| {
        test.link.connecting(0);
        test.link.connected(0, &mut test.actions);
        test.handshake();
        test.input(format!("+FULLRESYNC {} 77\r\n$0\r\n", "c".repeat(40)).as_bytes());
        test.link.loaded(is_good, 0, &mut test.actions);
        if is_good {
            test.link.lost("reset", 0, &mut test.actions);
        }
        match test.take().last() {
            Some(Action::RetryAfter(after_ms)) => *after_ms,
            other => panic!("{other:?}"),
        }
    };
    let after: Vec<u64> = (0..12).map(|_| fails(false)).collect();
    assert_eq!(after, [1, 1, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60].map(|seconds| seconds * RETRY_MS));
    assert_eq!((fails(true), fails(false)), (RETRY_MS, RETRY_MS), "a good one begins anew");
}

#[test]
fn masters_without_psync_are_asked_by_sync_and_get_no_acknowledgements() {
    let mut test = Test::new(settings(), None);
    test.handshake();
    assert_eq!(test.input(b"-ERR unknown command 'PSYNC'\r\n"), [Action::Send(b"SYNC\r\n".to_vec())]);
    let expected = [Action::BeginLoad { start: None, total: Some(0) }, Action::EndLoad];
    assert_eq!(test.input(b"$0\r\n"), expected);
    test.link.loaded(true, 0, &mut test.actions);
    test.link.tick(5000, &mut test.actions);
    assert_eq!(test.take(), []);
    assert_eq!(test.link.resume(), None);
}

#[test]
fn errors_close_the_link_with_their_cause() {
    let cases: [(&[u8], Cause); 6] = [
        (b"-LOADING Redis is loading\r\n", Cause::TryLater("-LOADING Redis is loading".into())),
        (b"-NOMASTERLINK x\r\n", Cause::TryLater("-NOMASTERLINK x".into())),
        (b"+FULLRESYNC x\r\n-ERR no\r\n", Cause::BadFrame("MASTER aborted replication with an error: ERR no".into())),
        (
            b"+FULLRESYNC x\r\nHTTP/1.1\r\n",
            Cause::BadFrame(
                "Bad protocol from MASTER, the first byte is not '$' (we received 'HTTP/1.1'), are you sure the host and \
                 port are right?"
                    .into(),
            ),
        ),
        (&[b'x'; 2000], Cause::BadFrame("Bad protocol from MASTER: a line without an end".into())),
        (
            b"+CONTINUE\r\n-ERR x\r\n",
            Cause::BadFrame("MASTER aborted replication with an error: ERR x".into()),
        ),
    ];
    for (input, cause) in cases {
        let mut test = Test::new(settings(), None);
        test.handshake();
        test.link.input(input, 0, &mut test.actions);
        let actions = test.take();
        assert!(actions.contains(&Action::Close(cause)), "{actions:?}");
        assert_eq!(actions.last(), Some(&Action::RetryAfter(RETRY_MS)));
        assert_eq!(test.link.state_name(), "connect");
    }
    let mut test = Test::new(settings(), None);
    test.take();
    let actions = test.input(b"-ERR max number of clients reached\r\n");
    assert_eq!(actions[0], Action::Close(Cause::BadPing("-ERR max number of clients reached".into())));
    let mut test = Test::new(Settings { password: Some(b"p".to_vec()), ..settings() }, None);
    test.input(b"+PONG\r\n");
    let actions = test.input(b"-WRONGPASS x\r\n");
    assert_eq!(actions[0], Action::Close(Cause::BadAuth("-WRONGPASS x".into())));
}

#[test]
fn every_phase_has_its_timeout() {
    let timeout = |steps: &[&str]| {
        let mut test = Test { link: Link::new(settings(), None, false, 0), actions: Vec::new() };
        test.link.connecting(0);
        for (index, step) in steps.iter().enumerate() {
            if index == 0 {
                test.link.connected(0, &mut test.actions);
            }
            test.input(step.as_bytes());
        }
        test.take();
        test.link.tick(60_000, &mut test.actions);
        let early = test.take();
        assert!(!early.iter().any(|action| matches!(action, Action::Close(_))), "{early:?}");
        test.link.tick(60_001, &mut test.actions);
        test.take()[0].clone()
    };
    assert_eq!(timeout(&[]), Action::Close(Cause::ConnectTimeout));
    assert_eq!(timeout(&["+PONG\r\n"]), Action::Close(Cause::ConnectTimeout));
    let full = format!("+FULLRESYNC {} 77\r\n", "c".repeat(40));
    assert_eq!(timeout(&["+PONG\r\n", "+OK\r\n+OK\r\n", &full]), Action::Close(Cause::TransferTimeout));
    assert_eq!(
        timeout(&["+PONG\r\n", "+OK\r\n+OK\r\n", &full, "$9\r\nx"]),
        Action::Close(Cause::TransferTimeout)
    );
    let mut test = Test::new(settings(), Some(Resume { id: id(b'a'), offset: 0 }));
    test.handshake();
    test.input(b"+CONTINUE\r\n");
    test.link.tick(60_001, &mut test.actions);
    assert_eq!(test.take()[0], Action::Close(Cause::StreamTimeout));
}

#[test]
fn a_failover_asks_the_new_master_to_become_one() {
    let resume = Some(Resume { id: id(b'a'), offset: 41 });
    let start = || {
        let mut test = Test { link: Link::new(settings(), resume, true, 0), actions: Vec::new() };
        test.link.connecting(0);
        test.link.connected(0, &mut test.actions);
        let asked = test.handshake();
        assert_eq!(asked, [send(&[b"PSYNC", &[b'a'; 40], b"42", b"FAILOVER"])]);
        test
    };
    let mut test = start();
    let actions = test.input(b"-ERR PSYNC FAILOVER replid must match my replid.\r\n");
    assert_eq!(actions[0], Action::Close(Cause::FailoverRejected));
    // An earlier request was answered, but the answer was lost.
    let is_a_master = b"-ERR PSYNC FAILOVER can't be sent to a master.\r\n";
    for (reply, outcome) in
        [("+CONTINUE", None), ("+FULLRESYNC", Some(Action::Close(Cause::FailoverRejected)))]
    {
        let mut test = start();
        assert_eq!(test.input(is_a_master), [send(&[b"PSYNC", &[b'a'; 40], b"42"])]);
        let actions = test.input(format!("{reply} {} 900\r\n", "b".repeat(40)).as_bytes());
        assert_eq!(actions.first().filter(|action| matches!(action, Action::Close(_))), outcome.as_ref());
    }
    let mut test = start();
    test.link.lost("reset", 0, &mut test.actions);
    test.link.connecting(0);
    test.link.connected(0, &mut test.actions);
    test.handshake();
    test.input(is_a_master);
    let actions = test.input(format!("+FULLRESYNC {} 900\r\n", "b".repeat(40)).as_bytes());
    assert_eq!(actions, [], "it has become the master by an earlier request, and has gone far");
    assert!(test.link.is_syncing());
    let mut test = start();
    assert_eq!(test.input(format!("+CONTINUE {}\r\n", "b".repeat(40)).as_bytes()).len(), 2);
}

#[test]
fn no_input_whatever_makes_it_panic_or_grow() {
    let pieces: [&[u8]; 16] = [
        b"+PONG\r\n",
        b"+OK\r\n",
        b"-ERR x\r\n",
        b"\n",
        b"\r\n",
        b"$",
        b"$EOF:",
        b"$5\r\n",
        b"$EOF:mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm\r\n",
        b"mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm",
        b"+FULLRESYNC ",
        b"cccccccccccccccccccccccccccccccccccccccc 5\r\n",
        b"+CONTINUE",
        b" ",
        b"*1\r\n$4\r\nPING\r\n",
        &[0xff; 700],
    ];
    for seed in 0..3000u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut below = |bound: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % bound as u64) as usize
        };
        let resume = (below(2) == 0).then_some(Resume { id: id(b'a'), offset: 7 });
        let mut test = Test::new(settings(), resume);
        for step in 0..40 {
            let piece = pieces[below(pieces.len())];
            let piece = &piece[..piece.len() - below(piece.len().min(3))];
            let taken = test.link.input(piece, step, &mut test.actions);
            assert!(taken <= piece.len());
            for action in test.take() {
                match action {
                    Action::PayloadBytes(range) | Action::Stream(range) => assert!(range.end <= piece.len()),
                    Action::EndLoad if below(2) == 0 => {
                        test.link.loaded(below(3) > 0, step, &mut test.actions)
                    }
                    Action::Close(_) => {
                        test.link.connecting(step);
                        test.link.connected(step, &mut test.actions);
                    }
                    _ => {}
                }
            }
            assert!(test.link.memory_bytes() < 4096);
        }
    }
}
