//! Boot order: configuration, checks of the machine, shards, listeners, signals, and the way down.

use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::command::table::{self, Names};
use crate::config::argv::Sources;
use crate::config::{self, Config, ConfigError, Loaded, ShardCount};
use crate::log;
use crate::observe::log::{self as server_log, Level};
use crate::observe::stats::ShardStats;
use crate::observe::Observed;
use crate::process::{self, PidFile};
use crate::runtime::listen::{self, Listener};
use crate::runtime::mesh::Mesh;
use crate::runtime::{clock, cpus, executor, probe};
use crate::shard::shared::{Pause, Settings, Shared, Shutdown};
use crate::shard::Shard;

/// How often the boot thread looks for signals and for the end of the shards.
const WATCH_MS: u64 = 100;

/// Why the server did not start, or stopped; for the log and the terminal.
pub type Failure = String;

/// Set by the signal handler: the signal's number.
static SIGNAL: AtomicI32 = AtomicI32::new(0);
static SIGNALLED_TWICE: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(signal: libc::c_int) {
    if SIGNAL.swap(signal, Ordering::Relaxed) != 0 {
        SIGNALLED_TWICE.store(true, Ordering::Relaxed);
    }
}

/// Runs the server with the configuration that `sources` name, until it is told to end.
pub fn run(sources: &Sources) -> Result<(), Failure> {
    process::remember_start();
    let loaded = load(sources)?;
    let config = &loaded.config;
    if let Some(reason) = config::broken_promise(&loaded) {
        return Err(reason);
    }
    let names = names(&loaded).map_err(|error| error.to_string())?;
    process::enter_dir(config)
        .map_err(|e| format!("Can't chdir to '{}': {e}", config.general.dir.0.display()))?;
    let daemon = config.general.daemonize;
    if daemon {
        process::daemonize().map_err(|e| format!("Can't become a daemon: {e}"))?;
    }
    server_log::set_up(&config.observing, &config.general.dir.0);
    log!(Level::Notice, "oO0OoO0OoO0Oo Gyre is starting oO0OoO0OoO0Oo");
    log!(
        Level::Notice,
        "Gyre version={}, Redis version={}, bits=64, pid={}, just started",
        env!("CARGO_PKG_VERSION"),
        crate::REDIS_VERSION,
        std::process::id()
    );
    if sources.is_empty() {
        log!(
            Level::Warning,
            "Warning: no config file specified, using the default config. In order to specify a config file use \
             gyre-server /path/to/redis.conf"
        );
    } else {
        log!(Level::Notice, "Configuration loaded");
    }
    for warning in &loaded.warnings {
        log!(Level::Warning, "{warning}");
    }
    if let Some(warning) = config::persistence_warning(&loaded) {
        log!(Level::Warning, "{warning}");
    }

    let shards = match config.engine.shards {
        ShardCount::Auto => cpus::automatic_shards(),
        ShardCount::Count(count) => usize::from(count),
    };
    probe::io_uring(shards).map_err(|missing| missing.to_string())?;
    let (maxclients, files) = probe::raise_open_files(config.network.maxclients, shards);
    if maxclients < config.network.maxclients {
        log!(
            Level::Warning,
            "The limit of open files is {files}: maxclients is reduced from {} to {maxclients}. Raise it with 'ulimit -n' or \
             LimitNOFILE= to serve more",
            config.network.maxclients
        );
    }
    clock::calibrate();

    let listeners = open_listeners(config)?;
    let pid_file = PidFile::create(config, daemon);
    ignore_and_catch_signals();
    let shared = Arc::new(share(loaded, names, shards, maxclients));
    let threads = start_shards(&shared, listeners)?;
    show_logo(&shared.current_config());
    log!(Level::Notice, "Server initialized");
    log!(Level::Notice, "Ready to accept connections tcp");
    let failed = watch(&shared, threads);
    if let Some(path) = &shared.current_config().network.unixsocket {
        let _ = std::fs::remove_file(path);
    }
    if let Some(file) = pid_file {
        file.remove();
    }
    match failed {
        None => {
            log!(Level::Warning, "Gyre is now ready to exit, bye bye...");
            Ok(())
        }
        Some(failure) => Err(failure),
    }
}

/// With `always-show-logo`, or on a terminal: the name, and what an operator asks first.
fn show_logo(config: &Config) {
    let terminal = io::stdout().is_terminal() && config.observing.logfile.as_os_str().is_empty();
    if config.general.always_show_logo || terminal {
        server_log::write_raw(&format!(
            "\n   ( )   Gyre {} (Redis {} compatible), 64 bit\n  (   )  Running in standalone mode\n   ( )   Port: {}\n    v    PID: {}\n\n",
            env!("CARGO_PKG_VERSION"),
            crate::REDIS_VERSION,
            config.network.port,
            std::process::id()
        ));
    }
}

fn load(sources: &Sources) -> Result<Loaded, Failure> {
    let mut stdin = io::stdin().lock();
    config::load(sources, &mut stdin as &mut dyn Read, false).map_err(|error| error.to_string())
}

/// The command names under `rename-command`.
fn names(loaded: &Loaded) -> Result<&'static Names, ConfigError> {
    let mut names = Names::new();
    for rename in &loaded.renames {
        names.rename(&rename.from, &rename.to).map_err(|e| ConfigError::at(&rename.origin, e.text()))?;
    }
    Ok(Box::leak(Box::new(names)))
}

fn open_listeners(config: &Config) -> Result<Vec<Listener>, Failure> {
    let network = &config.network;
    let backlog = network.tcp_backlog as i32;
    let mut listeners =
        listen::tcp(&network.bind.0, network.port, backlog, network.socket_mark_id).map_err(|error| {
            log!(Level::Warning, "Warning: {error}");
            "Failed listening on port ".to_owned() + &network.port.to_string() + " (tcp), aborting."
        })?;
    if let Some(path) = &network.unixsocket {
        let path: &Path = path;
        let listener = listen::unix(path, network.unixsocketperm, backlog).map_err(|e| {
            format!("Failed opening Unix socket: bind: {}: {}", path.display(), listen::os_text(&e))
        })?;
        listeners.push(listener);
    }
    if listeners.is_empty() {
        return Err("Configured to not listen anywhere, exiting.".to_owned());
    }
    Ok(listeners)
}

fn share(loaded: Loaded, names: &'static Names, shards: usize, maxclients: u32) -> Shared {
    let mut config = loaded.config;
    config.network.maxclients = maxclients;
    let databases = config.general.databases as usize;
    Shared {
        shards,
        stats: (0..shards).map(|_| Arc::new(ShardStats::new(table::COUNT, databases))).collect(),
        settings: Mutex::new(Settings { file: loaded.file, replication_id: run_id(), ..Settings::default() }),
        port: AtomicU64::new(u64::from(config.network.port)),
        maxclients: AtomicUsize::new(maxclients as usize),
        config: Mutex::new(Arc::new(config)),
        config_version: AtomicU64::new(1),
        names,
        transaction_number: AtomicU64::new(0),
        client_id: AtomicU64::new(0),
        connected: AtomicUsize::new(0),
        pause: Pause::default(),
        shutdown: AtomicU64::new(Shutdown::No as u64),
        sleep_until_us: AtomicI64::new(0),
        observed: Observed::default(),
        started_ms: clock::unix_ms(),
        run_id: run_id(),
    }
}

/// 40 random hexadecimal digits, anew for each run.
pub fn run_id() -> String {
    use std::hash::{BuildHasher, Hasher};
    let mut id = String::new();
    while id.len() < 40 {
        // The standard library seeds this from the system's random source.
        let hasher = std::collections::hash_map::RandomState::new().build_hasher();
        id.push_str(&format!("{:016x}", hasher.finish()));
    }
    id.truncate(40);
    id
}

fn start_shards(
    shared: &Arc<Shared>,
    listeners: Vec<Listener>,
) -> Result<Vec<JoinHandle<io::Result<()>>>, Failure> {
    let cores = cpus::allowed();
    let mut listeners = Some(listeners);
    let mut threads = Vec::new();
    for (id, mesh) in Mesh::connect(shared.shards).into_iter().enumerate() {
        let shared = shared.clone();
        let listeners = if id == 0 { listeners.take() } else { None };
        let make = move |ring: &crate::runtime::ring::SocketRing| {
            mesh.set_ring(ring.fd());
            let mut shard = Shard::new(id, shared, mesh);
            shard.listen(listeners.unwrap_or_default());
            Ok(shard)
        };
        let thread = executor::spawn(&format!("shard-{id}"), cores[id % cores.len()], make)
            .map_err(|e| format!("Shard {id} cannot start: {e}"))?;
        threads.push(thread);
    }
    Ok(threads)
}

fn ignore_and_catch_signals() {
    // SAFETY: the handler only stores to atomics, which is safe in a signal; ignoring SIGPIPE and SIGHUP has no
    // preconditions.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
        let handler = on_signal as *const () as libc::sighandler_t;
        libc::signal(libc::SIGTERM, handler);
        libc::signal(libc::SIGINT, handler);
    }
}

/// Waits for signals and for the shards to end. Returns why, when one ended by a failure.
fn watch(shared: &Shared, mut threads: Vec<JoinHandle<io::Result<()>>>) -> Option<Failure> {
    let mut failure = None;
    while !threads.is_empty() {
        std::thread::sleep(Duration::from_millis(WATCH_MS));
        let signal = SIGNAL.load(Ordering::Relaxed);
        if signal != 0 && shared.shutdown.load(Ordering::Acquire) == Shutdown::No as u64 {
            let name = if signal == libc::SIGINT { "SIGINT" } else { "SIGTERM" };
            log!(Level::Warning, "Received {name} scheduling shutdown...");
            shared.shutdown.store(Shutdown::Asked as u64, Ordering::Release);
        }
        if SIGNALLED_TWICE.load(Ordering::Relaxed) && signal == libc::SIGINT {
            log!(Level::Warning, "You insist... exiting now.");
            std::process::exit(1);
        }
        let (ended, running): (Vec<_>, Vec<_>) = threads.into_iter().partition(JoinHandle::is_finished);
        threads = running;
        for thread in ended {
            let outcome = match thread.join() {
                Ok(outcome) => outcome.map_err(|e| e.to_string()),
                Err(_) => Err("a shard panicked".to_owned()),
            };
            if let Err(error) = outcome {
                log!(Level::Warning, "A shard has failed: {error}");
                // Without one of its shards the keyspace is not whole: nothing may be served.
                shared.shutdown.store(Shutdown::Asked as u64, Ordering::Release);
                failure.get_or_insert(error);
            }
        }
    }
    failure
}
