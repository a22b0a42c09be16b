//! The server under test: started and killed again and again in a directory that outlives it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::support::{free_port, Client};

const READY_TIMEOUT: Duration = Duration::from_secs(180);

/// A directory that goes when its test has passed, and stays when it has failed.
pub struct Dir {
    pub path: PathBuf,
}

impl Dir {
    pub fn new() -> Dir {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("gyre-crash-{}-{number}", std::process::id()));
        fs::create_dir_all(path.join("data")).expect("the directory for temporary files can be written");
        Dir { path }
    }

    /// The server's working directory.
    pub fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Keeps what a recovery is about to read, for whoever has to find out why it went wrong.
    pub fn keep_as_it_is(&self) {
        let kept = self.path.join("before-the-last-recovery");
        let _ = fs::remove_dir_all(&kept);
        copy_folder(&self.data(), &kept);
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what the failed round has left is in {}", self.path.display());
        } else {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Copies what is there. A file that goes meanwhile is left out.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    for item in fs::read_dir(from).into_iter().flatten().flatten() {
        let target = to.join(item.file_name());
        if item.path().is_dir() {
            copy_folder(&item.path(), &target);
        } else {
            let _ = fs::copy(item.path(), target);
        }
    }
}

pub struct Process {
    child: Child,
    port: u16,
}

impl Process {
    pub fn spawn(dir: &Dir, shards: usize, options: &[String]) -> Process {
        let shards = ["--shards".to_owned(), shards.to_string()];
        Process::spawn_on(
            Path::new(env!("CARGO_BIN_EXE_gyre-server")),
            free_port(),
            dir,
            &[&shards, options].concat(),
        )
    }

    /// A server of any kind, on a port that others know.
    pub fn spawn_on(binary: &Path, port: u16, dir: &Dir, options: &[String]) -> Process {
        let log = File::options().create(true).append(true).open(dir.log()).expect("the log can be written");
        let errors = log.try_clone().expect("a file can be shared");
        let child = Command::new(binary)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
            .args(options)
            .current_dir(dir.data())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .expect("the server's binary can run");
        Process { child, port }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Waits until everything is loaded. `Err`: it has ended instead.
    pub fn wait_until_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let mut answer = "nothing".to_owned();
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("it ends with {status}"));
            }
            if let Ok(mut client) = Client::try_connect(&self.address()) {
                match client.try_call(&["GET", "is it ready"]) {
                    Ok(reply) if !reply.is_error() => return Ok(()),
                    Ok(reply) => answer = reply.text(),
                    Err(error) => answer = error.to_string(),
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(format!("it does not become ready, and answers: {answer}"))
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.address())
    }

    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// The last lines that the server has written.
pub fn log_tail(dir: &Dir) -> String {
    let log = fs::read_to_string(dir.log()).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
