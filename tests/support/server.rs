//! A server process that belongs to one test.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Client;

const START_TIMEOUT: Duration = Duration::from_secs(20);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Another process may take a free port before the server does.
const START_ATTEMPTS: usize = 5;

/// A port of 127.0.0.1 that nobody listened on a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the system has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// The oracle's binary, when this machine has it.
pub fn redis_server() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("redis-server")).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: redis-server is not installed (scripts/test installs it where it may)");
    }
    found
}

pub struct Server {
    child: Child,
    pub port: u16,
    /// Its working directory; gone with the server.
    pub dir: PathBuf,
    binary: PathBuf,
    options: Vec<String>,
}

impl Server {
    /// Gyre with `options` as on its command line, so that a configuration file comes first; persistence is off.
    pub fn start(options: &[&str]) -> Server {
        Server::start_binary(Path::new(env!("CARGO_BIN_EXE_gyre-server")), options)
    }

    /// Gyre with so many shards.
    pub fn with_shards(shards: usize) -> Server {
        Server::start(&["--shards", &shards.to_string()])
    }

    /// The oracle, when it is installed.
    pub fn redis(options: &[&str]) -> Option<Server> {
        redis_server().map(|binary| Server::start_binary(&binary, options))
    }

    /// Another server, or another build.
    pub fn start_binary(binary: &Path, options: &[&str]) -> Server {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let dir = temporary_dir();
        for _ in 0..START_ATTEMPTS {
            let port = free_port();
            let mut child = spawn(binary, port, &dir, &options);
            if wait_until_it_accepts(&mut child, port) {
                // Even an empty append-only file takes a moment to load, and longer on a machine that others keep busy.
                let deadline = Instant::now() + START_TIMEOUT;
                let loads = options.windows(2).any(|pair| pair == ["--appendonly", "yes"]);
                while loads && Instant::now() < deadline && !serves(port) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                return Server { child, port, dir, binary: binary.to_owned(), options };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        let log = String::from_utf8_lossy(&std::fs::read(dir.join("log")).unwrap_or_default()).into_owned();
        panic!("{} {options:?} does not start:\n{log}", binary.display());
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.address())
    }

    /// A RESP3 client.
    pub fn client3(&self) -> Client {
        let mut client = self.client();
        client.call(&["HELLO", "3"]);
        client
    }

    /// All that the server has written to its standard output and error so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.join("log")).unwrap_or_default()).into_owned()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: kill has no preconditions; the child has not been waited for, so its number is its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
    }

    pub fn kill9(&mut self) {
        self.signal(libc::SIGKILL);
        let _ = self.child.wait();
    }

    /// How the process ended, when it did so within `timeout`.
    pub fn wait_for_end(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it with SIGTERM and, when it does not listen, with SIGKILL. Returns its status in the first case.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        if !self.is_running() {
            return self.child.try_wait().ok().flatten();
        }
        self.signal(libc::SIGTERM);
        let status = self.wait_for_end(STOP_TIMEOUT);
        if status.is_none() {
            self.kill9();
        }
        status
    }

    /// Starts it again after its end, in the same directory, on the same port, with the same options.
    pub fn restart(&mut self) {
        self.stop();
        self.child = spawn(&self.binary, self.port, &self.dir, &self.options);
        assert!(wait_until_it_accepts(&mut self.child, self.port), "does not start again:\n{}", self.log());
        // The sockets of one that was killed may still take connections for a moment.
        let deadline = Instant::now() + START_TIMEOUT;
        while !(serves(self.port) && self.listens_alone()) {
            assert!(Instant::now() < deadline, "does not serve:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sockets that it has open.
    pub fn open_sockets(&self) -> usize {
        self.sockets().len()
    }

    /// The inodes of its sockets.
    fn sockets(&self) -> Vec<String> {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the server runs");
        let links = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
        let inode = |link: PathBuf| {
            let link = link.to_string_lossy().into_owned();
            Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        };
        links.filter_map(inode).collect()
    }

    /// Whether nobody else's socket takes connections on its port.
    fn listens_alone(&self) -> bool {
        const LISTENING: &str = "0A";
        let own = self.sockets();
        let port = format!(":{:04X}", self.port);
        ["/proc/net/tcp", "/proc/net/tcp6"].iter().all(|file| {
            let table = std::fs::read_to_string(file).unwrap_or_default();
            table.lines().skip(1).all(|line| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let (Some(address), Some(state), Some(inode)) = (fields.get(1), fields.get(3), fields.get(9))
                else {
                    return true;
                };
                !address.ends_with(&port) || *state != LISTENING || own.iter().any(|own| own == inode)
            })
        })
    }

    /// Memory that it has in RAM.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0);
        kib * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("the server's last lines:");
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub fn temporary_dir() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("gyre-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&dir).expect("the directory for temporary files can be written");
    dir
}

fn spawn(binary: &Path, port: u16, dir: &Path, options: &[String]) -> Child {
    let log =
        File::options().create(true).append(true).open(dir.join("log")).expect("a new file can be made");
    let errors = log.try_clone().expect("a file can be shared");
    let has_file = options.first().is_some_and(|option| !option.starts_with("--"));
    let (file, options) = options.split_at(usize::from(has_file));
    Command::new(binary)
        .args(file)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(options)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .unwrap_or_else(|error| panic!("{} cannot run: {error}", binary.display()))
}

fn wait_until_it_accepts(child: &mut Child, port: u16) -> bool {
    let deadline = Instant::now() + START_TIMEOUT;
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return false;
        }
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            // What accepts may be somebody else who took the port first; then the child ends.
            std::thread::sleep(Duration::from_millis(20));
            return matches!(child.try_wait(), Ok(None));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// Whether it answers, and with something else than that it is loading.
fn serves(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut reply = [0; 8];
    stream.set_read_timeout(Some(Duration::from_secs(1))).is_ok()
        && stream.write_all(b"PING\r\n").is_ok()
        && stream.read(&mut reply).is_ok_and(|len| len > 0 && !b"-LOADING".starts_with(&reply[..len]))
}
