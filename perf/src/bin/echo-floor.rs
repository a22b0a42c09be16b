//! `echo-floor`: the limit of an io_uring server for the same bytes on the wire. See `gyre_perf::floor`.

use clap::Parser;
use gyre_perf::floor::Floor;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;

/// Answers each Redis request with fixed bytes, as fast as one io_uring allows.
#[derive(Parser)]
struct Options {
    /// TCP port on 127.0.0.1
    #[arg(long, default_value_t = 6390)]
    port: u16,
    /// Listen on this unix socket instead
    #[arg(long)]
    unix: Option<PathBuf>,
    /// Bytes in the answer to GET
    #[arg(long, default_value_t = 64)]
    value_size: usize,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let floor = match &options.unix {
        Some(path) => UnixListener::bind(path).and_then(|socket| Floor::new(socket, options.value_size)),
        None => TcpListener::bind(("127.0.0.1", options.port))
            .and_then(|socket| Floor::new(socket, options.value_size)),
    };
    match floor.and_then(Floor::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo-floor: {error}");
            ExitCode::FAILURE
        }
    }
}
