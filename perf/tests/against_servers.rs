//! The generator against servers that behave, lie, stall and hang up.

use clap::Parser;
use gyre_perf::floor::Floor;
use gyre_perf::options::{Mode, Options};
use gyre_perf::run::{run, Findings};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;

fn load(arguments: &str) -> Findings {
    let arguments = std::iter::once("gyre-load").chain(arguments.split_whitespace());
    let plan = match Options::try_parse_from(arguments).unwrap().mode {
        Mode::Run(options) => options.plan(),
        Mode::Fill(options) => options.plan(),
    };
    run(&plan.unwrap()).unwrap()
}

/// Starts a floor on a port of its own; it ends with the process.
fn floor() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || Floor::new(listener, 64).and_then(Floor::run));
    port
}

/// Serves one connection with `serve` and returns the port.
fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || serve(listener.accept().unwrap().0));
    port
}

/// Answers `count` unpipelined GETs with nil.
fn answer(stream: &mut TcpStream, count: usize) {
    let request = "*2\r\n$3\r\nGET\r\n$11\r\nk:000000000\r\n".len();
    let mut buffer = vec![0; request];
    for _ in 0..count {
        if stream.read_exact(&mut buffer).is_err() || stream.write_all(b"$-1\r\n").is_err() {
            return;
        }
    }
}

#[test]
fn every_request_of_every_command_is_answered() {
    let port = floor();
    for (mix, pipeline) in
        [("get:9,set:1", 1), ("get", 16), ("set", 1000), ("incr,ping", 3), ("mset,mget", 2)]
    {
        let found = load(&format!("run -p {port} -c 7 -P {pipeline} --mix {mix} -n 20011 --warmup 0"));
        assert!(found.meter.failures.none(), "{mix}: {:?}", found.meter.failures);
        assert_eq!(found.replies, 20_011, "{mix}");
        assert_eq!(found.meter.overall().len(), 20_011, "{mix}");
    }
}

#[test]
fn pipelines_larger_than_any_socket_buffer_get_through() {
    let port = floor();
    let found = load(&format!("run -p {port} -c 2 -P 200 --mix set --value-size 100000 -n 800 --warmup 0"));
    assert!(found.meter.failures.none(), "{:?}", found.meter.failures);
    assert_eq!(found.replies, 800);
}

#[test]
fn an_open_loop_follows_its_schedule_and_a_unix_socket_works() {
    let path = std::env::temp_dir().join(format!("gyre-perf-{}.sock", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || Floor::new(listener, 64).and_then(Floor::run));
    let found =
        load(&format!("run --unix {} -c 5 --rate 5000 --arrivals steady -n 1000 --warmup 0", path.display()));
    std::fs::remove_file(&path).unwrap();
    assert!(found.meter.failures.none(), "{:?}", found.meter.failures);
    assert_eq!(found.replies, 1000);
    // A schedule may only be late.
    assert!(found.seconds > 0.198, "{}", found.seconds);
}

#[test]
fn values_that_no_set_stored_are_found() {
    let port = floor();
    let found = load(&format!("run -p {port} -n 1000 --warmup 0 --check-values --value-size 64"));
    assert_eq!(found.meter.failures.wrong_replies, 1000);
}

/// The server pauses once, and is asked a thousand times a second.
const PAUSE: Duration = Duration::from_millis(400);

fn pausing_server() -> u16 {
    server(|mut stream| {
        answer(&mut stream, 100);
        thread::sleep(PAUSE);
        answer(&mut stream, 900);
    })
}

#[test]
fn an_open_loop_charges_a_pause_to_every_request_it_kept_waiting() {
    let port = pausing_server();
    let found = load(&format!("run -p {port} -c 1 --rate 1000 --arrivals steady -n 1000 --warmup 0"));
    let latencies = found.meter.overall();
    let late = latencies.count_between(100_000_000, u64::MAX);
    // Requests were due all through the pause: those of its first 300 ms waited over 100 ms each.
    assert!(late > 250, "{late}");
}

#[test]
fn a_closed_loop_sees_a_pause_once() {
    let port = pausing_server();
    let found = load(&format!("run -p {port} -c 1 -n 1000 --warmup 0"));
    let late = found.meter.overall().count_between(PAUSE.as_nanos() as u64 * 9 / 10, u64::MAX);
    assert_eq!(late, 1);
}

#[test]
fn a_server_that_hangs_up_is_reported_and_waited_for_no_longer() {
    let port = server(|mut stream| answer(&mut stream, 50));
    let found = load(&format!("run -p {port} -c 1 -n 1000 --warmup 0"));
    assert_eq!(found.meter.failures.lost_connections, 1);
    assert_eq!((found.replies, found.meter.failures.unanswered), (50, 1));

    let port = server(|mut stream| answer(&mut stream, 50));
    let found = load(&format!("run -p {port} -c 1 -n 1000 --warmup 0 --rate 100000"));
    assert_eq!(found.meter.failures.lost_connections, 1);
    // Requests the server had not read reset the connection, which may take answers with them.
    assert!(found.replies <= 50, "{}", found.replies);
    assert!(found.meter.failures.unanswered > 0);
}

#[test]
fn a_request_is_timed_from_its_place_in_the_schedule_however_late_it_is_sent() {
    const PING: usize = "*1\r\n$4\r\nPING\r\n".len();
    let port = server(|mut stream| {
        let (mut buffer, mut received, mut answered) = (vec![0; 64 * 1024], 0, 0);
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            if received == 0 {
                thread::sleep(PAUSE);
            }
            received += count;
            let answers = b"+PONG\r\n".repeat(received / PING - answered);
            answered = received / PING;
            if stream.write_all(&answers).is_err() {
                return;
            }
        }
    });
    // Pipelines are due at 0, 100 and 200 ms. The second would have more in flight than a connection may, so
    // it and the third are sent after the pause, as late as that is.
    let found = load(&format!(
        "run -p {port} -c 1 -P 40000 --mix ping --rate 400000 --arrivals steady -n 120000 --warmup 0"
    ));
    assert!(found.meter.failures.none(), "{:?}", found.meter.failures);
    let late = found.meter.overall().count_between(190_000_000, u64::MAX);
    assert_eq!(late, 120_000);
}
