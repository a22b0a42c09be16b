//! The process as the operating system and its supervisor see it: daemon, pid file, systemd and upstart, title,
//! working directory, OOM score, and the name that it gives itself.

use crate::base::error_text;
use crate::base::log::Level;
use crate::config::{Config, OomScoreAdj, Supervised};
use crate::log;
use crate::runtime::sys::{self, Side, TitleArea};
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::rand::{getrandom, GetRandomFlags};

/// Where the pid file of a daemon goes when the configuration does not say.
const DEFAULT_PID_FILE: &str = "/var/run/redis.pid";
/// Digits of the number of a run, or of a replication history.
const RUN_ID_DIGITS: usize = 40;
/// The limits that the kernel sets to an OOM score.
const OOM_SCORE_ADJ_MIN: i32 = -1000;
const OOM_SCORE_ADJ_MAX: i32 = 1000;
const OOM_SCORE_ADJ_FILE: &str = "/proc/self/oom_score_adj";

/// 40 random hexadecimal digits, as runs and replication histories are known by.
pub fn random_id() -> String {
    random_hex(RUN_ID_DIGITS).expect("the system has a random source since Linux 3.17")
}

/// So many hexadecimal digits from the system's random source, for secrets.
pub fn random_hex(digits: usize) -> io::Result<String> {
    let mut bytes = vec![0; digits.div_ceil(2)];
    let mut filled = 0;
    // A signal may cut a long answer short.
    while filled < bytes.len() {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(digits);
    Ok(text)
}

/// Enters the directory `dir`, where relative paths start from now on.
pub fn enter_dir(config: &Config) -> io::Result<()> {
    env::set_current_dir(&config.general.dir)
}

/// Continues in the background: the calling process exits, its child returns, in a session of its own and with its
/// standard streams on /dev/null. To be called before any thread is started.
pub fn daemonize() -> io::Result<()> {
    if sys::fork_single_threaded()? == Side::Parent {
        std::process::exit(0);
    }
    sys::new_session()?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    sys::replace_standard_streams(&null)
}

/// How the process was started.
struct Start {
    directory: Option<PathBuf>,
    args: Vec<OsString>,
}

static START: OnceLock<Start> = OnceLock::new();

/// Keeps directory and arguments for `start_anew`; to be called before either changes.
pub fn remember_start() {
    START
        .get_or_init(|| Start { directory: env::current_dir().ok(), args: env::args_os().skip(1).collect() });
}

/// Replaces the process by a new one of the same program, arguments and directory. Returns only when it fails.
pub fn start_anew() -> io::Error {
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mut command = Command::new(program);
    if let Some(start) = START.get() {
        command.args(&start.args);
        if let Some(directory) = &start.directory {
            command.current_dir(directory);
        }
    }
    if let Err(error) = sys::close_files_on_exec() {
        return error;
    }
    command.exec()
}

/// The file that holds the process id, removed by `remove` at the end.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes the file when the configuration names one or the process is a `daemon`. A file that cannot be written is
    /// logged and does not stop the server.
    pub fn create(config: &Config, daemon: bool) -> Option<Self> {
        let general = &config.general;
        let path = match &general.pidfile {
            Some(path) => path.as_path(),
            None if daemon => Path::new(DEFAULT_PID_FILE),
            None => return None,
        };
        // Absolute, so that it is found again after CONFIG SET dir.
        let path = general.dir.0.join(path);
        if let Err(error) = fs::write(&path, format!("{}\n", std::process::id())) {
            log!(Level::Warning, "Failed to write PID file: {}", error_text(&error));
        }
        Some(Self { path })
    }

    pub fn remove(self) {
        log!(Level::Notice, "Removing the pid file.");
        // It may never have been written.
        let _ = fs::remove_file(&self.path);
    }
}

/// Who watches over this process, and how it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supervisor {
    None,
    Upstart,
    Systemd,
}

impl Supervisor {
    /// Finds the supervisor that the configuration asks for and tells it that the server is starting. With one, the
    /// process must not become a daemon.
    pub fn find(wanted: Supervised) -> Self {
        let wanted = match wanted {
            Supervised::Auto if env::var_os("UPSTART_JOB").is_some() => {
                log!(Level::Verbose, "Upstart supervision detected.");
                Supervised::Upstart
            }
            Supervised::Auto if env::var_os("NOTIFY_SOCKET").is_some() => {
                log!(Level::Verbose, "Systemd supervision detected.");
                Supervised::Systemd
            }
            wanted => wanted,
        };
        match wanted {
            Supervised::Upstart => Self::begin_upstart(),
            Supervised::Systemd => Self::begin_systemd(),
            Supervised::Auto | Supervised::No => Supervisor::None,
        }
    }

    fn begin_upstart() -> Self {
        if env::var_os("UPSTART_JOB").is_none() {
            log!(Level::Warning, "upstart supervision requested, but UPSTART_JOB not found!");
            return Supervisor::None;
        }
        log!(Level::Notice, "supervised by upstart, will stop to signal readiness.");
        sys::stop_self();
        Supervisor::Upstart
    }

    fn begin_systemd() -> Self {
        if !Supervisor::Systemd.notify("STATUS=Gyre is loading...\n") {
            return Supervisor::None;
        }
        log!(
            Level::Notice,
            "Supervised by systemd. Please make sure you set appropriate values for TimeoutStartSec and TimeoutStopSec in your service unit."
        );
        Supervisor::Systemd
    }

    /// Sends systemd a state, as sd_notify(3) lists them: `READY=1`, `STATUS=...`, `STOPPING=1`. Whether it went; there is
    /// nothing to send to other supervisors.
    pub fn notify(self, state: &str) -> bool {
        if self != Supervisor::Systemd {
            return false;
        }
        let Some(socket) = env::var_os("NOTIFY_SOCKET") else {
            log!(Level::Warning, "systemd supervision error: NOTIFY_SOCKET not found!");
            return false;
        };
        match notify_at(Path::new(&socket), state) {
            Ok(()) => true,
            Err(error) => {
                log!(Level::Warning, "systemd supervision error: sd_notify: {}", error_text(&error));
                false
            }
        }
    }

    /// As INFO shows it.
    pub fn word(self) -> &'static str {
        match self {
            Supervisor::None => "no",
            Supervisor::Upstart => "upstart",
            Supervisor::Systemd => "systemd",
        }
    }
}

/// A path that begins with `@` names an abstract socket.
fn notify_at(socket: &Path, state: &str) -> io::Result<()> {
    let bytes = socket.as_os_str().as_encoded_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

/// The title of the process, as `ps` shows it.
#[derive(Debug)]
pub struct Title {
    area: TitleArea,
    name: Vec<u8>,
    file: Option<PathBuf>,
}

impl Title {
    /// To be called before any thread is started, after the arguments were read: they are overwritten. `name` is how the
    /// program was called, `file` its configuration file. None when `set-proc-title` is off or the system has no place.
    pub fn claim(config: &Config, name: &OsStr, file: Option<&Path>) -> Option<Self> {
        if !config.general.set_proc_title {
            return None;
        }
        let (name, file) = (name.as_bytes().to_vec(), file.map(Path::to_owned));
        Some(Self { area: TitleArea::claim()?, name, file })
    }

    /// The title of a child that is called `name`.
    pub fn of_child(&self, config: &Config, name: &str) -> Option<Vec<u8>> {
        crate::config::process_title(config, name.as_bytes(), self.file.as_deref())
    }

    /// Shows the title that the configuration describes.
    pub fn show(&mut self, config: &Config) {
        if let Some(title) = crate::config::process_title(config, &self.name, self.file.as_deref()) {
            self.area.set(&title);
        }
    }
}

/// Which process sets its OOM score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomRole {
    Master,
    /// `oom-score-adj-values` has a value for it, but no server is one yet.
    #[allow(dead_code)]
    Replica,
    /// A child that saves: the first that the kernel should kill.
    Child,
}

/// Sets the OOM score of this process and takes it back to what it was at start.
#[derive(Clone, Copy, Debug)]
pub struct OomScore {
    /// The score that the process started with.
    base: i32,
    touched: bool,
}

impl OomScore {
    pub fn read() -> io::Result<Self> {
        let text = fs::read_to_string(OOM_SCORE_ADJ_FILE)?;
        let base = text.trim().parse().map_err(io::Error::other)?;
        Ok(Self { base, touched: false })
    }

    /// Acts on `oom-score-adj` and its values. The score is left alone until the directive first asks for one.
    pub fn set(&mut self, config: &Config, role: OomRole) -> io::Result<()> {
        if let Some(score) = self.wanted(config, role) {
            fs::write(OOM_SCORE_ADJ_FILE, score.to_string())?;
            self.touched = config.general.oom_score_adj != OomScoreAdj::No;
        }
        Ok(())
    }

    /// The score for a process of this role. None: to be left alone.
    pub fn wanted(&self, config: &Config, role: OomRole) -> Option<i32> {
        let values = config.general.oom_score_adj_values;
        let value = match role {
            OomRole::Master => values.master,
            OomRole::Replica => values.replica,
            OomRole::Child => values.child,
        };
        let score = match config.general.oom_score_adj {
            OomScoreAdj::No if !self.touched => return None,
            OomScoreAdj::No => self.base,
            OomScoreAdj::Relative => self.base + value,
            OomScoreAdj::Absolute => value,
        };
        Some(score.clamp(OOM_SCORE_ADJ_MIN, OOM_SCORE_ADJ_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let dir = env::temp_dir().join(format!("gyre-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn the_pid_file_holds_the_process_id_and_goes_at_the_end() {
        let dir = directory("pid");
        let mut config = Config::default();
        assert!(PidFile::create(&config, false).is_none(), "none is asked for");
        config.general.dir.0 = dir.clone();
        config.general.pidfile = Some("gyre.pid".into());
        let file = PidFile::create(&config, false).unwrap();
        let path = dir.join("gyre.pid");
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        file.remove();
        assert!(!path.exists());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn states_reach_a_socket_with_a_path_and_an_abstract_one() {
        let dir = directory("notify");
        let path = dir.join("notify");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let mut buffer = [0; 64];
        notify_at(&path, "READY=1\n").unwrap();
        let size = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..size], b"READY=1\n");

        let name = format!("gyre-notify-{}", std::process::id());
        let receiver = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        notify_at(Path::new(&format!("@{name}")), "STOPPING=1\n").unwrap();
        let size = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..size], b"STOPPING=1\n");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn without_a_supervisor_nothing_is_told() {
        assert_eq!(Supervisor::find(Supervised::No), Supervisor::None);
        assert!(!Supervisor::None.notify("READY=1\n"));
    }
}
