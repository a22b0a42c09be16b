use std::sync::mpsc::{channel, Receiver};

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// A relay with `parts` parts, and where its outcome comes.
fn start(target: Target, parts: usize, patience: Duration) -> (Relay, Vec<File>, Receiver<Outcome>) {
    let (from, to) = (0..parts).map(|_| pipes::pipe().unwrap()).unzip();
    let order =
        Order { target, before: Before::Now(b"<".to_vec()), after: b">".to_vec(), parts: from, patience };
    let (tell, told) = channel();
    let relay = Relay::start(order, move |outcome| tell.send(outcome).unwrap()).unwrap();
    (relay, to, told)
}

fn directory() -> std::path::PathBuf {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("gyre-backup-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn client() -> (Target, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Target::Client(ours.into()), theirs)
}

const TRAILER: [u8; TRAILER_LEN] = *b"the end!.";

#[test]
fn parts_reach_the_client_in_their_order_whatever_comes_first() {
    let (target, mut client) = client();
    let (relay, mut parts, told) = start(target, 3, SOON);
    parts[2].write_all(b"three").unwrap();
    relay.part_is_whole(2, 5);
    // The second has nothing.
    relay.part_is_whole(1, 0);
    parts[0].write_all(b"one ").unwrap();
    relay.part_is_whole(0, 4);
    relay.finish(TRAILER);
    assert_eq!(told.recv_timeout(SOON).unwrap(), Outcome { result: Ok(()), bytes: 20, exit: None });
    let mut read = Vec::new();
    client.read_to_end(&mut read).unwrap();
    assert_eq!(read, b"<one threethe end!.>");
}

#[test]
fn nothing_is_sent_before_there_is_something_of_the_file() {
    let (target, mut client) = client();
    let (relay, parts, told) = start(target, 1, SOON);
    relay.give_up();
    let outcome = told.recv_timeout(SOON).unwrap();
    assert_eq!(outcome, Outcome { result: Err(Failure::GivenUp), bytes: 0, exit: None });
    assert_eq!(client.read(&mut [0; 10]).unwrap(), 0);
    // Whoever writes the part learns it, too.
    assert_eq!((&parts[0]).write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_client_that_takes_nothing_fails_the_backup_when_the_time_is_over() {
    let (target, client) = client();
    let (_relay, mut parts, told) = start(target, 1, Duration::from_millis(100));
    // More than the socket holds.
    let writer = std::thread::spawn(move || parts[0].write_all(&vec![1; 8 << 20]).is_err());
    let outcome = told.recv_timeout(SOON).unwrap();
    assert!(matches!(outcome.result, Err(Failure::Target(why)) if why.contains("nothing was taken")));
    assert!(writer.join().unwrap());
    drop(client);
}

#[test]
fn a_client_that_is_gone_fails_the_backup() {
    let (target, client) = client();
    let (_relay, _parts, told) = start(target, 1, SOON);
    drop(client);
    let outcome = told.recv_timeout(SOON).unwrap();
    assert_eq!(outcome.result, Err(Failure::Target("Broken pipe".to_owned())));
}

#[test]
fn a_command_gets_the_file_and_its_end_is_awaited() {
    let dir = directory();
    let line =
        format!("cat > {0}/got; sleep 0.1; mv {0}/got {0}/file; echo said; echo more >&2", dir.display());
    let (relay, mut parts, told) = start(Target::Command(line.into_bytes()), 1, SOON);
    parts[0].write_all(b"part").unwrap();
    relay.part_is_whole(0, 4);
    relay.finish(TRAILER);
    assert_eq!(told.recv_timeout(SOON).unwrap(), Outcome { result: Ok(()), bytes: 15, exit: Some(0) });
    assert_eq!(std::fs::read(dir.join("file")).unwrap(), b"<partthe end!.>");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_exit_code_of_a_command_decides() {
    let (relay, _parts, told) = start(Target::Command(b"cat >/dev/null; exit 7".to_vec()), 1, SOON);
    relay.part_is_whole(0, 0);
    relay.finish(TRAILER);
    let outcome = told.recv_timeout(SOON).unwrap();
    assert_eq!(outcome.exit, Some(7));
    assert_eq!(outcome.result, Err(Failure::Target("the command exited with code 7".to_owned())));
}

#[test]
fn a_command_that_ends_early_fails_the_backup_with_its_own_exit_code() {
    let (_relay, _parts, told) = start(Target::Command(b"exit 3".to_vec()), 1, SOON);
    let outcome = told.recv_timeout(SOON).unwrap();
    assert_eq!((outcome.exit, outcome.bytes), (Some(3), 0));
    assert_eq!(outcome.result, Err(Failure::Target("Broken pipe".to_owned())));
}

/// The end of its input would tell it that the file is whole.
#[test]
fn a_command_whose_file_is_not_whole_is_stopped_before_its_input_ends() {
    let dir = directory();
    let line = format!("trap 'exit 9' TERM; cat > {0}/taken; echo > {0}/ended", dir.display());
    let (relay, mut parts, told) = start(Target::Command(line.into_bytes()), 1, SOON);
    parts[0].write_all(b"part").unwrap();
    let until = Instant::now() + SOON;
    // A shell that is only about to start something heeds the signal when that has ended.
    let takes = || std::fs::metadata(dir.join("taken")).is_ok_and(|file| file.len() > 0);
    while !takes() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    relay.give_up();
    let outcome = told.recv_timeout(SOON).unwrap();
    assert_eq!(outcome.result, Err(Failure::GivenUp));
    assert_eq!(outcome.exit, Some(9));
    assert!(!dir.join("ended").exists());
    std::fs::remove_dir_all(dir).unwrap();
}
