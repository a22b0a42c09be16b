//! What the kernel and the limits allow, asked before the first shard starts, so that a missing feature is
//! one line that says how to fix it instead of a failure later.

use std::fmt;
use std::fs;
use std::io;

use io_uring::{opcode, IoUring, Probe};

/// Descriptors that the server itself uses besides clients': files, rings, listeners.
pub const RESERVED_FILES: u64 = 32;
/// Descriptors of one shard: its two io_urings' worth, event descriptors, the executor's pipes.
pub const FILES_PER_SHARD: u64 = 16;
/// Locked memory that a shard's rings may need where the kernel still charges them (bytes).
const LOCKED_BYTES_PER_SHARD: u64 = 1024 * 1024;

#[derive(Debug)]
pub enum Missing {
    DisabledBySysctl(String),
    Forbidden,
    KernelTooOld { release: String, lacks: &'static str },
    LockedMemory { limit: u64, needed: u64 },
    Other(io::Error),
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
            Missing::LockedMemory { limit, needed } => write!(
                f,
                "RLIMIT_MEMLOCK is {limit} bytes, the rings need {needed}: raise it with 'ulimit -l {}', LimitMEMLOCK= in \
                 the systemd unit, or --ulimit memlock=-1 in a container",
                needed.div_ceil(1024)
            ),
            Missing::Other(error) => write!(f, "io_uring cannot be set up: {error}"),
        }
    }
}

pub fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").map_or_else(|_| "?".into(), |s| s.trim().to_owned())
}

fn limit(resource: libc::__rlimit_resource_t) -> libc::rlimit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes one rlimit; an error leaves the zeroes.
    unsafe { libc::getrlimit(resource, &mut limit) };
    limit
}

/// Checks that a shard's rings can be made and do what the server relies on.
pub fn io_uring(shards: usize) -> Result<(), Missing> {
    let needed = LOCKED_BYTES_PER_SHARD * shards as u64;
    let memlock = limit(libc::RLIMIT_MEMLOCK);
    if memlock.rlim_cur < needed {
        let raised = libc::rlimit { rlim_cur: needed.min(memlock.rlim_max), rlim_max: memlock.rlim_max };
        // SAFETY: reads one rlimit. A failure shows in the check that follows.
        unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raised) };
        // SAFETY: no preconditions.
        let root = unsafe { libc::geteuid() } == 0;
        if memlock.rlim_max < needed && !root {
            return Err(Missing::LockedMemory { limit: memlock.rlim_max, needed });
        }
    }
    let too_old = |lacks| Missing::KernelTooOld { release: kernel_release(), lacks };
    let built: io::Result<IoUring> = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(8);
    let ring = match built {
        Ok(ring) => ring,
        Err(error) => {
            return Err(match error.raw_os_error() {
                Some(libc::ENOSYS) => too_old("io_uring"),
                Some(libc::EPERM) => match fs::read_to_string("/proc/sys/kernel/io_uring_disabled") {
                    Ok(value) if value.trim() != "0" => Missing::DisabledBySysctl(value.trim().to_owned()),
                    _ => Missing::Forbidden,
                },
                Some(libc::EACCES) => Missing::Forbidden,
                Some(libc::ENOMEM) => Missing::LockedMemory { limit: memlock.rlim_cur, needed },
                Some(libc::EINVAL) => too_old("single-issuer rings with deferred task work"),
                _ => Missing::Other(error),
            })
        }
    };
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(Missing::Other)?;
    // Multishot receive came with SEND_ZC in 6.0, and has no probe of its own.
    if !probe.is_supported(opcode::SendZc::CODE) {
        return Err(too_old("multishot receive"));
    }
    if !probe.is_supported(opcode::MsgRingData::CODE) {
        return Err(too_old("messages between rings"));
    }
    Ok(())
}

/// Raises the limit of open files for `maxclients` clients. Returns how many clients fit; fewer than asked when
/// the hard limit is lower.
pub fn raise_open_files(maxclients: u32, shards: usize) -> (u32, u64) {
    let reserved = RESERVED_FILES + FILES_PER_SHARD * shards as u64;
    let wanted = maxclients as u64 + reserved;
    let mut current = limit(libc::RLIMIT_NOFILE);
    if current.rlim_cur < wanted {
        let ask = |hard: u64| {
            let raised = libc::rlimit { rlim_cur: wanted.min(hard), rlim_max: hard };
            // SAFETY: reads one rlimit.
            unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) == 0 }
        };
        // Root may raise the hard limit too.
        if !(current.rlim_max < wanted && ask(wanted)) {
            ask(current.rlim_max);
        }
        current = limit(libc::RLIMIT_NOFILE);
    }
    let fit = current.rlim_cur.saturating_sub(reserved).clamp(1, maxclients as u64);
    (fit as u32, current.rlim_cur)
}
