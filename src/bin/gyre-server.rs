//! `gyre-server [FILE] [--directive value ...] [-]`: arguments and exit codes only.

use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use gyre::config::argv::{self, Invocation};
use gyre::persist::{check_aof, check_rdb};

#[global_allocator]
static ALLOCATOR: gyre::runtime::alloc::CountingMimalloc = gyre::runtime::alloc::CountingMimalloc;

const USAGE: &str = "\
Usage: gyre-server [/path/to/redis.conf] [options] [-]
       gyre-server - (read config from stdin)
       gyre-server -v or --version
       gyre-server -h or --help
       gyre-server --check-system [/path/to/redis.conf] [options] (say whether it could start)

Options are directives of redis.conf, and Gyre's own:
       gyre-server --port 7777 --shards 4
       gyre-server /etc/redis/redis.conf --loglevel verbose
       echo 'maxmemory 128mb' | gyre-server -
";

fn main() -> ExitCode {
    if std::env::args_os().next().is_some_and(|program| check_rdb::is_called(&program)) {
        return check_rdb::main(std::env::args_os());
    }
    if std::env::args_os().next().is_some_and(|program| check_aof::is_called(&program)) {
        return check_aof::main(std::env::args_os());
    }
    let program = std::env::args_os().next().map(OsStringExt::into_vec).unwrap_or_default();
    let args: Vec<Vec<u8>> = std::env::args_os().skip(1).map(OsStringExt::into_vec).collect();
    match argv::parse(&args) {
        Invocation::Version => {
            println!("{}", gyre::version_line());
            ExitCode::SUCCESS
        }
        Invocation::Help => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        Invocation::TestMemory(_) => {
            eprintln!("--test-memory: use a memory tester that runs without an operating system (memtest86) instead");
            ExitCode::FAILURE
        }
        Invocation::CheckSystem(sources) => match gyre::server::check_system(&sources) {
            Ok(notes) => {
                notes.iter().for_each(|note| println!("{note}"));
                println!("This system can run Gyre.");
                ExitCode::SUCCESS
            }
            Err(failure) => say(&failure),
        },
        Invocation::Serve(_) if argv::wants_sentinel(&program, &args) => {
            eprintln!("Gyre has no Sentinel mode and does not start: use redis-sentinel, the one of Redis, to watch servers");
            ExitCode::FAILURE
        }
        Invocation::Serve(sources) => match gyre::server::run(&sources) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => say(&failure),
        },
    }
}

/// Why it does not start.
fn say(failure: &[u8]) -> ExitCode {
    if !failure.is_empty() {
        // It quotes lines of a file as they are. Without a terminal there is nobody to tell.
        let _ = io::stderr().write_all(&[failure, b"\n"].concat());
    }
    ExitCode::FAILURE
}
