//! What the kernel and the limits allow, asked before the first shard starts, so that a missing feature is
//! one line that says how to fix it instead of a failure later.

use std::fmt;
use std::fs;
use std::io;

use io_uring::{opcode, IoUring, Probe};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};

use super::cpus;
use super::ring::SocketRing;
use crate::base::error_text;
use crate::base::ShardCount;

/// Descriptors that the server itself uses besides clients': files, rings, listeners.
const RESERVED_FILES: u64 = 32;
/// Descriptors of one shard: rings, event descriptors, its log, the pipes of a snapshot.
const FILES_PER_SHARD: u64 = 12;
/// Threads besides those of the shards: the control plane, and what gives memory back.
const RESERVED_THREADS: u64 = 4;

#[derive(Debug)]
pub enum Missing {
    DisabledBySysctl(String),
    Forbidden,
    KernelTooOld { release: String, lacks: &'static str },
    Memory,
    Files { limit: u64, needed: u64, shards: usize },
    Threads { limit: Limited, free: u64, needed: u64, shards: usize },
    Other(io::Error),
}

/// What bounds the number of threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limited {
    User,
    Group(String),
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limited::User => f.write_str("RLIMIT_NPROC ('ulimit -u', LimitNPROC= in the systemd unit)"),
            Limited::Group(file) => {
                write!(f, "{file} (TasksMax= in the systemd unit, --pids-limit of a container)")
            }
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::DisabledBySysctl(value) => write!(
                f,
                "io_uring is switched off here (kernel.io_uring_disabled = {value}): run 'sysctl -w \
                 kernel.io_uring_disabled=0' as root, or with 1 make the server's group kernel.io_uring_group"
            ),
            Missing::Forbidden => f.write_str(
                "io_uring is not permitted here: a seccomp profile blocks it (in a container: run with a profile that \
                 allows io_uring_setup, io_uring_enter and io_uring_register, e.g. --security-opt seccomp=unconfined)",
            ),
            Missing::KernelTooOld { release, lacks } => {
                write!(f, "Linux {release} lacks {lacks}: Gyre needs Linux 6.1 or later (5.19 lacks deferred completions)")
            }
            Missing::Memory => f.write_str(
                "There is not enough memory for the rings of io_uring: raise RLIMIT_MEMLOCK ('ulimit -l', LimitMEMLOCK= in the \
                 systemd unit), RLIMIT_AS ('ulimit -v', LimitAS=) or the memory limit of the control group, or run fewer shards \
                 ('shards 1')",
            ),
            Missing::Files { limit, needed, shards } => write!(
                f,
                "RLIMIT_NOFILE is {limit}, and {shards} shards need at least {needed} open files: raise it with 'ulimit -n' or \
                 LimitNOFILE= in the systemd unit, or run fewer shards ('shards 1')"
            ),
            Missing::Threads { limit, free, needed, shards } => write!(
                f,
                "Only {free} more threads may be started, and {shards} shards need {needed}: raise {limit}, or run fewer shards \
                 ('shards 1')"
            ),
            Missing::Other(error) => write!(f, "io_uring cannot be set up: {}", error_text(error)),
        }
    }
}

/// What the machine gives.
#[derive(Debug, PartialEq, Eq)]
pub struct Fit {
    pub shards: usize,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// A limit that is none.
const NO_LIMIT: u64 = u64::MAX;

/// Limits as they are after they have been raised as far as that may be.
#[derive(Debug)]
struct Limits {
    cores: usize,
    files: u64,
    /// Threads that may still be started, and why no more. None: as many as one likes.
    threads: Option<(u64, Limited)>,
    /// Rings that there is memory for.
    rings: usize,
}

/// Checks that as many shards can be started as are wanted, and that their rings do what the server relies on.
pub fn check(wanted: ShardCount) -> Result<Fit, Missing> {
    io_uring()?;
    let cores = cpus::automatic_shards();
    let most = match wanted {
        ShardCount::Auto => cores,
        ShardCount::Count(count) => usize::from(count),
    };
    // New kernels charge rings against it (seen on 6.18, for users without CAP_IPC_LOCK): then their setup may say ENOMEM.
    raise(Resource::Memlock, u64::MAX);
    let limits = Limits {
        cores,
        files: raise(Resource::Nofile, files_needed(most) * 2),
        threads: threads_left(most),
        rings: SocketRing::count_fitting(most),
    };
    fit(wanted, &limits)
}

/// Descriptors of a server with so many shards and one client.
fn files_needed(shards: usize) -> u64 {
    RESERVED_FILES + FILES_PER_SHARD * shards as u64 + 1
}

fn threads_needed(shards: usize) -> u64 {
    RESERVED_THREADS + shards as u64
}

fn fit(wanted: ShardCount, limits: &Limits) -> Result<Fit, Missing> {
    let mut notes = Vec::new();
    let shards = match wanted {
        ShardCount::Count(count) => usize::from(count),
        ShardCount::Auto => {
            let mut shards = limits.cores;
            // Half of the descriptors are for clients.
            let by_files =
                ((limits.files / 2).saturating_sub(RESERVED_FILES) / FILES_PER_SHARD).max(1) as usize;
            if by_files < shards {
                notes.push(format!(
                    "The limit of open files is {}: {by_files} shards are started instead of {shards}. Raise it with 'ulimit -n' \
                     or LimitNOFILE= to use all cores",
                    limits.files
                ));
                shards = by_files;
            }
            if let Some((left, limit)) = &limits.threads {
                let by_threads = left.saturating_sub(RESERVED_THREADS).max(1) as usize;
                if by_threads < shards {
                    notes.push(format!(
                        "Only {left} more threads may be started: {by_threads} shards are started instead of {shards}. Raise \
                         {limit} to use all cores"
                    ));
                    shards = by_threads;
                }
            }
            if (1..shards).contains(&limits.rings) {
                notes.push(format!(
                    "There is memory for the rings of {} shards: so many are started instead of {shards}. Raise RLIMIT_MEMLOCK \
                     ('ulimit -l', LimitMEMLOCK= in the systemd unit) to use all cores",
                    limits.rings
                ));
                shards = limits.rings;
            }
            shards
        }
    };
    let needed = files_needed(shards);
    if limits.files < needed {
        return Err(Missing::Files { limit: limits.files, needed, shards });
    }
    let needed = threads_needed(shards);
    if let Some((free, limit)) = limits.threads.clone().filter(|(free, _)| *free < needed) {
        return Err(Missing::Threads { limit, free, needed, shards });
    }
    if limits.rings < shards {
        return Err(Missing::Memory);
    }
    Ok(Fit { shards, notes })
}

/// Raises a limit to `wanted`, as far as that is allowed; returns what it is then.
fn raise(resource: Resource, wanted: u64) -> u64 {
    let (soft, hard) = limit(resource);
    if soft >= wanted {
        return soft;
    }
    let ask = |hard: u64| {
        let number = |limit: u64| (limit != NO_LIMIT).then_some(limit);
        setrlimit(resource, Rlimit { current: number(wanted.min(hard)), maximum: number(hard) }).is_ok()
    };
    // Root may raise the hard limit too.
    if !(hard < wanted && ask(wanted)) {
        ask(hard);
    }
    limit(resource).0
}

/// Threads that this process may start yet, looked at when `shards` of them might be too many.
fn threads_left(shards: usize) -> Option<(u64, Limited)> {
    let wanted = threads_needed(shards);
    let of_groups = cpus::least_in_groups("pids", |folder| {
        let read = |name: &str| fs::read_to_string(format!("{folder}/{name}")).ok();
        let most: u64 = read("pids.max")?.trim().parse().ok()?;
        let now: u64 = read("pids.current")?.trim().parse().ok()?;
        Some((most.saturating_sub(now), Limited::Group(format!("{folder}/pids.max"))))
    });
    let user = rustix::process::getuid().as_raw();
    let most = if user == 0 { NO_LIMIT } else { raise(Resource::Nproc, NO_LIMIT) };
    // A user has as a rule so few that they need not be counted.
    let of_user = (most < NO_LIMIT).then(|| {
        let left = most.saturating_sub(threads_of(user));
        (left, Limited::User)
    });
    let least = of_groups.into_iter().chain(of_user).min_by_key(|(left, _)| *left);
    least.filter(|(left, _)| *left < wanted)
}

/// The threads of a user's processes.
fn threads_of(user: u32) -> u64 {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let threads = |status: &str| {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        (field("Uid:")? == u64::from(user)).then(|| field("Threads:")).flatten()
    };
    processes
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit))
        .filter_map(|entry| threads(&fs::read_to_string(entry.path().join("status")).ok()?))
        .sum()
}

pub fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").map_or_else(|_| "?".into(), |s| s.trim().to_owned())
}

/// The soft and the hard limit.
fn limit(resource: Resource) -> (u64, u64) {
    let Rlimit { current, maximum } = getrlimit(resource);
    (current.unwrap_or(NO_LIMIT), maximum.unwrap_or(NO_LIMIT))
}

/// Checks that a shard's rings can be made and do what the server relies on.
fn io_uring() -> Result<(), Missing> {
    let too_old = |lacks| Missing::KernelTooOld { release: kernel_release(), lacks };
    let refused = |error: io::Error| match error.raw_os_error() {
        // A profile may answer as a kernel without io_uring would.
        Some(libc::ENOSYS) if kernel_is_new() => Missing::Forbidden,
        Some(libc::ENOSYS) => too_old("io_uring"),
        Some(libc::EPERM) => match fs::read_to_string("/proc/sys/kernel/io_uring_disabled") {
            Ok(value) if value.trim() != "0" => Missing::DisabledBySysctl(value.trim().to_owned()),
            _ => Missing::Forbidden,
        },
        Some(libc::EACCES) => Missing::Forbidden,
        Some(libc::ENOMEM) => Missing::Memory,
        Some(libc::EINVAL) => too_old("single-issuer rings with deferred task work"),
        _ => Missing::Other(error),
    };
    let built: io::Result<IoUring> = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(8);
    let ring = built.map_err(refused)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(refused)?;
    // Multishot receive came with SEND_ZC in 6.0, and has no probe of its own.
    if !probe.is_supported(opcode::SendZc::CODE) {
        return Err(too_old("multishot receive"));
    }
    if !probe.is_supported(opcode::MsgRingData::CODE) {
        return Err(too_old("messages between rings"));
    }
    Ok(())
}

/// Whether the kernel has io_uring for sure.
fn kernel_is_new() -> bool {
    let release = kernel_release();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (5, 1))
}

/// Raises the limit of open files for `maxclients` clients. Returns how many clients fit; fewer than asked when
/// the hard limit is lower.
pub fn raise_open_files(maxclients: u32, shards: usize) -> (u32, u64) {
    let reserved = files_needed(shards) - 1;
    let files = raise(Resource::Nofile, u64::from(maxclients) + reserved);
    let fit = files.saturating_sub(reserved).clamp(1, u64::from(maxclients));
    (fit as u32, files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(files: u64, threads: u64) -> Limits {
        Limits { cores: 64, files, threads: Some((threads, Limited::User)), rings: 64 }
    }

    #[test]
    fn all_cores_are_used_where_the_machine_allows_it() {
        let found = fit(ShardCount::Auto, &limits(100_000, 10_000)).unwrap();
        assert_eq!(found, Fit { shards: 64, notes: Vec::new() });
    }

    #[test]
    fn what_is_short_makes_fewer_shards_and_is_said() {
        for (limits, shards, word) in [
            (limits(1024, 10_000), 40, "LimitNOFILE="),
            (limits(256, 10_000), 8, "LimitNOFILE="),
            (limits(100_000, 20), 16, "LimitNPROC="),
        ] {
            let found = fit(ShardCount::Auto, &limits).unwrap();
            assert_eq!(found.shards, shards);
            assert!(found.notes.len() == 1 && found.notes[0].contains(word), "{:?}", found.notes);
        }
    }

    #[test]
    fn where_little_memory_may_be_locked_fewer_shards_start_or_the_reason_is_named() {
        let little = Limits { rings: 30, ..limits(100_000, 10_000) };
        let found = fit(ShardCount::Auto, &little).unwrap();
        assert!(found.shards == 30 && found.notes[0].contains("LimitMEMLOCK="), "{found:?}");
        assert!(matches!(fit(ShardCount::Count(31), &little), Err(Missing::Memory)));
        assert_eq!(fit(ShardCount::Count(30), &little).unwrap().shards, 30);
        let none = Limits { rings: 0, ..limits(100_000, 10_000) };
        assert!(matches!(fit(ShardCount::Auto, &none), Err(Missing::Memory)));
    }

    #[test]
    fn shards_that_were_asked_for_start_or_the_reason_is_named() {
        let asked = ShardCount::Count(64);
        assert_eq!(fit(asked, &limits(1024, 10_000)).unwrap().shards, 64);
        let files = fit(asked, &limits(300, 10_000)).unwrap_err().to_string();
        assert!(files.contains("RLIMIT_NOFILE is 300, and 64 shards need at least 801"), "{files}");
        let threads = fit(asked, &limits(100_000, 67)).unwrap_err().to_string();
        assert!(threads.contains("Only 67 more threads") && threads.contains("need 68"), "{threads}");
    }
}
