//! Machines that allow little: the server starts all the same, or says in one line what to raise, and `--check-system` says the same.

mod support;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use support::{free_port, temporary_dir, within, Client, Value};

const NOBODY: u32 = 65534;
const START_TIMEOUT: Duration = Duration::from_secs(30);

type Limit = (libc::__rlimit_resource_t, u64);

/// What the server may, and as whom it runs.
struct Machine {
    limits: Vec<Limit>,
    user: Option<u32>,
    no_io_uring: Option<i32>,
    dir: PathBuf,
    binary: PathBuf,
    /// What a user may have, all of his processes have together.
    _alone: Option<MutexGuard<'static, ()>>,
}

static NOBODY_IS_ALONE: Mutex<()> = Mutex::new(());

impl Machine {
    fn with(limits: &[Limit]) -> Machine {
        let dir = temporary_dir();
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_gyre-server"));
        Machine { limits: limits.to_vec(), user: None, no_io_uring: None, dir, binary, _alone: None }
    }

    /// As a user without privileges, where this test may become one: then the binary is somewhere that the user can reach, too.
    fn of_nobody(limits: &[Limit]) -> Option<Machine> {
        // SAFETY: no preconditions.
        if unsafe { libc::geteuid() } != 0 {
            return Some(Machine::with(limits));
        }
        let mut machine = Machine::with(limits);
        machine._alone = Some(NOBODY_IS_ALONE.lock().unwrap_or_else(PoisonError::into_inner));
        let binary = machine.dir.join("gyre-server");
        std::fs::copy(&machine.binary, &binary).expect("the temporary directory has room");
        let open = |path: &Path| Command::new("chmod").args(["a+rwx"]).arg(path).status();
        assert!(open(&machine.dir).is_ok() && open(&binary).is_ok());
        (machine.binary, machine.user) = (binary, Some(NOBODY));
        let runs = machine.command(&["--version"]).output().is_ok_and(|output| output.status.success());
        if !runs {
            eprintln!("SKIPPED: no other user can run the server here");
        }
        runs.then_some(machine)
    }

    fn command(&self, args: &[&str]) -> Command {
        let (limits, user, errno) = (self.limits.clone(), self.user, self.no_io_uring);
        let mut command = Command::new(&self.binary);
        command.args(args).current_dir(&self.dir).stdin(Stdio::null());
        let restrict = move || {
            let checked = |result: i32| match result {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            };
            // SAFETY: system calls on values that live here, in the child before it becomes the server.
            unsafe {
                for (resource, most) in &limits {
                    checked(libc::setrlimit(*resource, &libc::rlimit { rlim_cur: *most, rlim_max: *most }))?;
                }
                if let Some(user) = user {
                    checked(libc::setgroups(0, std::ptr::null()))?;
                    checked(libc::setgid(user))?;
                    checked(libc::setuid(user))?;
                }
            }
            errno.map_or(Ok(()), refuse_io_uring)
        };
        // SAFETY: the closure makes system calls only.
        unsafe { command.pre_exec(restrict) };
        command
    }

    fn serve(&self, shards: &str, port: u16) -> Command {
        self.command(&["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--shards", shards])
    }

    /// Starts it; it has to answer, on all its shards.
    fn starts(&self, shards: &str) -> Running {
        let port = free_port();
        let log = std::fs::File::create(self.dir.join("log")).expect("a file can be made");
        let errors = log.try_clone().expect("a file can be shared");
        let child = self.serve(shards, port).stdout(log).stderr(errors).spawn();
        let mut running =
            Running { child: child.expect("the server can be run"), port, dir: self.dir.clone() };
        let answers =
            within(START_TIMEOUT, || Client::try_connect(&running.address()).is_ok() || running.is_over());
        assert!(answers && !running.is_over(), "{shards} shards do not start:\n{}", running.log());
        let mut client = Client::connect(&running.address());
        for number in 0..100 {
            assert!(client.call(&["SET", &format!("key:{number}"), "value"]).is_ok());
        }
        assert_eq!(client.call(&["DBSIZE"]), Value::Integer(100));
        running
    }

    /// It does not start, and gives one line that has these words, which is returned.
    fn refuses(&self, shards: &str, words: &[&str]) -> String {
        let output = self.serve(shards, free_port()).output().expect("the server can be run");
        one_line(&output, words)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn one_line(output: &Output, words: &[&str]) -> String {
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "no {word} in: {text}");
    }
    for word in ["panicked", "os error", "Kind", "{", "}"] {
        assert!(!text.contains(word), "{word} in: {text}");
    }
    text
}

struct Running {
    child: Child,
    port: u16,
    dir: PathBuf,
}

impl Running {
    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn is_over(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// io_uring_setup fails from now on, as under a seccomp profile of a container.
fn refuse_io_uring(errno: i32) -> std::io::Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let op = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        op(LOAD, 0, 0, 0),
        op(EQUAL, libc::SYS_io_uring_setup as u32, 0, 1),
        op(RETURN, libc::SECCOMP_RET_ERRNO | errno as u32, 0, 0),
        op(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program outlives the calls, which copy it.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) == 0
    };
    done.then_some(()).ok_or_else(std::io::Error::last_os_error)
}

#[test]
fn little_locked_memory_is_enough() {
    let of_root = Machine::with(&[(libc::RLIMIT_MEMLOCK, 64 * 1024)]);
    // What systemd gives.
    let usual = Machine::of_nobody(&[(libc::RLIMIT_MEMLOCK, 8 << 20)]);
    for (machine, most) in [(Some(of_root), 64), (usual, 16)] {
        let Some(machine) = machine else { continue };
        for shards in [1, 3, 16, 64].iter().filter(|shards| **shards <= most) {
            machine.starts(&shards.to_string());
        }
        let check = machine.command(&["--check-system"]).output().expect("the server can be run");
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    }
}

#[test]
fn too_little_locked_memory_is_said_before_anything_is_served_and_the_check_says_the_same() {
    for (kilobytes, shards) in [(64, "1"), (64, "auto"), (1024, "9"), (8192, "64")] {
        let Some(machine) = Machine::of_nobody(&[(libc::RLIMIT_MEMLOCK, kilobytes << 10)]) else { return };
        if machine.user.is_none() {
            eprintln!("SKIPPED: this user may lock as much as it has");
            return;
        }
        let check = || machine.command(&["--check-system", "--shards", shards]).output().unwrap();
        if check().status.success() {
            // A kernel that charges nothing for rings.
            machine.starts(shards);
            continue;
        }
        let said = machine.refuses(shards, &["memory for the rings", "LimitMEMLOCK="]);
        assert_eq!(one_line(&check(), &[]), said);
    }
}

#[test]
fn few_open_files_make_fewer_clients_or_are_said() {
    let Some(machine) = Machine::of_nobody(&[(libc::RLIMIT_NOFILE, 300)]) else { return };
    let running = machine.starts("3");
    let mut client = Client::connect(&running.address());
    let reply = client.call(&["CONFIG", "GET", "maxclients"]);
    let most: u64 = reply.elements()[1].text().parse().unwrap();
    assert!((100..300).contains(&most), "{most}");
    assert!(running.log().contains("maxclients is reduced"), "{}", running.log());
    drop(running);
    machine.refuses("64", &["RLIMIT_NOFILE is 300", "64 shards", "LimitNOFILE="]);
    machine.starts("16");
    machine.starts("auto");
}

#[test]
fn few_threads_are_enough_or_are_said() {
    let limit = 40;
    let Some(machine) = Machine::of_nobody(&[(libc::RLIMIT_NPROC, limit)]) else { return };
    if machine.user.is_none() {
        eprintln!("SKIPPED: the user of this test has threads of its own");
        return;
    }
    machine.starts("1");
    machine.starts("16");
    machine.starts("30");
    machine.refuses("64", &["more threads", "64 shards need 68", "LimitNPROC="]);
}

#[test]
fn a_bound_of_addresses_leaves_room_for_a_server() {
    let machine = Machine::with(&[(libc::RLIMIT_AS, 4 << 30)]);
    for shards in ["1", "3", "16"] {
        machine.starts(shards);
    }
}

#[test]
fn without_io_uring_the_start_and_the_check_say_the_same() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        let mut machine = Machine::with(&[]);
        machine.no_io_uring = Some(errno);
        for shards in ["1", "3", "auto"] {
            let said = machine.refuses(shards, &["io_uring is not permitted here", "seccomp"]);
            let check = machine.command(&["--check-system"]).output().expect("the server can be run");
            assert_eq!(one_line(&check, &[]), said);
        }
    }
}
