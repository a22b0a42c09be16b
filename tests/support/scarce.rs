//! Machines with little memory: where a fork is refused, as under `vm.overcommit_memory = 2` when memory is short, and where a server and its
//! children have so much memory and no more.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The system calls that fork, as this machine numbers them; other architectures skip the tests.
#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;

/// From now on, for this thread and all processes that it starts: a process that wants to fork hears "Cannot allocate memory".
/// Threads, and programs that are started without a copy of the memory, are as always. False, and a line that says why, where
/// that cannot be had.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub fn refuse_forks() -> bool {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    // Where the kernel puts them: the call's number, the architecture, the first argument.
    let (number, arch, first) = (0, 4, 16);
    let op = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let error = |errno: i32| op(RETURN, libc::SECCOMP_RET_ERRNO | errno as u32, 0, 0);
    #[cfg(target_arch = "x86_64")]
    let fork = libc::SYS_fork as u32;
    #[cfg(not(target_arch = "x86_64"))]
    let fork = u32::MAX;
    let mut program = [
        op(LOAD, arch, 0, 0),
        op(EQUAL, AUDIT_ARCH, 0, 6),
        op(LOAD, number, 0, 0),
        op(EQUAL, fork, 6, 0),
        // What it is for cannot be seen from here: the C library then takes the older call.
        op(EQUAL, libc::SYS_clone3 as u32, 4, 0),
        op(EQUAL, libc::SYS_clone as u32, 0, 2),
        op(LOAD, first, 0, 0),
        op(ANY_BIT, libc::CLONE_VM as u32, 0, 2),
        op(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        error(libc::ENOSYS),
        error(libc::ENOMEM),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program outlives the calls, which copy it; what they change is what this thread may do.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) == 0
    };
    if !done {
        eprintln!("SKIPPED: system calls cannot be filtered here: {}", io::Error::last_os_error());
    }
    done
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn refuse_forks() -> bool {
    eprintln!("SKIPPED: the numbers of this machine's system calls are not known here");
    false
}

/// A control group with a bound for the memory of all in it.
pub struct Scarce {
    group: PathBuf,
}

impl Scarce {
    /// None, and a line that says why, where the machine does not allow it.
    pub fn with_limit(limit_bytes: u64) -> Option<Scarce> {
        let name = format!("gyre-test-{}", std::process::id());
        for (root, is_v2) in [("/sys/fs/cgroup", true), ("/sys/fs/cgroup/memory", false)] {
            let group = Path::new(root).join(&name);
            let file = if is_v2 { "memory.max" } else { "memory.limit_in_bytes" };
            let has_controller = !is_v2
                || fs::read_to_string(Path::new(root).join("cgroup.subtree_control"))
                    .is_ok_and(|all| all.contains("memory"));
            if !has_controller || fs::create_dir(&group).is_err() {
                continue;
            }
            let scarce = Scarce { group };
            if fs::write(scarce.group.join(file), limit_bytes.to_string()).is_ok() {
                return Some(scarce);
            }
        }
        eprintln!("SKIPPED: no control group with a limit of memory can be made here");
        None
    }

    /// A program that starts another one in the group; it is written into `dir`.
    pub fn starter(&self, dir: &Path, program: &Path) -> PathBuf {
        let procs = self.group.join("cgroup.procs");
        script(dir, &format!("echo $$ > '{}'", procs.display()), program)
    }
}

impl Drop for Scarce {
    fn drop(&mut self) {
        for _ in 0..100 {
            if fs::remove_dir(&self.group).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// A program that runs a line of shell and then becomes another one, with its own arguments.
pub fn script(dir: &Path, line: &str, program: &Path) -> PathBuf {
    let path = dir.join("start");
    fs::write(&path, format!("#!/bin/sh\n{line}\nexec '{}' \"$@\"\n", program.display()))
        .expect("the directory can be written to");
    let made = Command::new("chmod").arg("+x").arg(&path).status();
    assert!(made.is_ok_and(|status| status.success()));
    path
}
