//! Boot order: configuration, checks of the machine, shards, listeners, signals, and the way down.

use crate::acl::Users;
use crate::base::log::Level;
use crate::base::{error_text, log as server_log};
use crate::command::table::{self, Names};
use crate::config::argv::Sources;
use crate::config::{self, AclPubsubDefault, Config, ConfigError, Loaded, Network};
use crate::control::Control;
use crate::migrate::Migrator;
use crate::observe::stats::ShardStats;
use crate::observe::{logo, ServerStats};
use crate::persist::status::Status;
use crate::process::{self, OomRole, OomScore, PidFile, Supervisor, Title};
use crate::replication::{ReplMessage, Replication};
use crate::resp::Text;
use crate::runtime::listen::{self, ListenError, Listener};
use crate::runtime::mesh::Mesh;
use crate::runtime::probe::{Fit, Missing};
use crate::runtime::signals::{self, EndSignal};
use crate::runtime::thread_inbox::ThreadInbox;
use crate::runtime::{clock, cpus, crash, executor, machine, probe, purge, sys};
use crate::shard::message::Message;
use crate::shard::saving::{remove_temporary_files, ShutdownRequest};
use crate::shard::scripts::KnownScripts;
use crate::shard::shared::{Pause, Settings, Shared, Shutdown};
use crate::shard::users::read_users;
use crate::shard::{Shard, LEADER};
use crate::slots::SlotMap;
use crate::{log, log_text, recovery, text};
use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[cfg(test)]
mod feed_tests;
#[cfg(test)]
mod following_tests;

/// How often the boot thread looks for the end of the shards when nobody rings, and while they are about to end.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
const STOPPING_WATCH_INTERVAL: Duration = Duration::from_millis(10);

/// How long the start waits for an address that is in use.
const ADDRESS_IN_USE_PATIENCE: Duration = Duration::from_secs(3);
const ADDRESS_RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Why the server did not start, or stopped; for the log and the terminal. Empty: the log has it already.
pub type Failure = Text;

/// Whether the machine has what a server would need that is started with this. What the operator should know.
pub fn check_system(sources: &Sources) -> Result<Vec<String>, Failure> {
    let loaded = load(sources)?;
    let fit = probe::check(loaded.config.engine.shards).map_err(|missing| missing.to_string())?;
    Ok(fit.notes)
}

/// Runs the server with the configuration that `sources` name, until it is told to end.
pub fn run(sources: &Sources) -> Result<(), Failure> {
    process::remember_start();
    let loaded = load(sources)?;
    let config = &loaded.config;
    if let Some(reason) = config::unsupported_setting(&loaded) {
        return Err(reason.into());
    }
    let names = names(&loaded).map_err(|error| error.text())?;
    process::enter_dir(config)
        .map_err(|e| text!("Can't chdir to '", config.general.dir.0, "': ", error_text(&e)))?;
    let supervisor = Supervisor::find(config.general.supervised);
    let daemon = config.general.daemonize && supervisor == Supervisor::None;
    if daemon {
        process::daemonize().map_err(|e| format!("Can't become a daemon: {}", error_text(&e)))?;
    }
    server_log::set_up(log_options(config));
    crash::enable_reports(config.observing.crash_log_enabled);
    crash::install();
    greet(sources, &loaded);
    // From here on the log is where the operator looks.
    serve(loaded, names, supervisor, daemon).inspect_err(|failure| {
        if !failure.is_empty() {
            log_text!(Level::Warning, failure);
        }
    })
}

fn log_options(config: &Config) -> server_log::Options {
    let observing = &config.observing;
    let file = Some(&observing.logfile).filter(|file| !file.as_os_str().is_empty());
    let syslog = observing.syslog_enabled.then(|| server_log::Syslog {
        ident: observing.syslog_ident.clone(),
        facility: observing.syslog_facility.code(),
    });
    server_log::Options {
        file: file.map(|file| config.general.dir.0.join(file)),
        syslog,
        lowest: observing.loglevel.lowest(),
        utc_offset: sys::utc_offset_seconds,
    }
}

/// The first lines of the log.
fn greet(sources: &Sources, loaded: &Loaded) {
    log!(Level::Notice, "oO0OoO0OoO0Oo Gyre is starting oO0OoO0OoO0Oo");
    log!(
        Level::Notice,
        "Gyre version={}, Redis version={}, bits={}, commit={}, modified=0, pid={}, just started",
        crate::VERSION,
        crate::REDIS_VERSION,
        usize::BITS,
        crate::GIT_SHA1,
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
}

fn serve(loaded: Loaded, names: &'static Names, supervisor: Supervisor, daemon: bool) -> Result<(), Failure> {
    let config = &loaded.config;
    let Fit { shards, notes } = probe::check(config.engine.shards).map_err(|missing| missing.to_string())?;
    for note in notes {
        log!(Level::Warning, "{note}");
    }
    log!(Level::Notice, "Running with {shards} shard{}", if shards == 1 { "" } else { "s" });
    let maxclients = limit_clients(config, shards);
    clock::calibrate();
    purge::by_others();
    machine::check(config.network.tcp_backlog, config.general.disable_thp);

    let listeners = open_listeners(config)?;
    let ready: Vec<&str> = listeners.iter().map(|listener| listener.kind.name()).collect();
    let has = |kind: &str| ready.contains(&kind);
    let (tcp, unix) = (has("tcp"), has("unix"));
    let pid_file = PidFile::create(config, daemon);
    signals::catch().map_err(|e| format!("Signals cannot be waited for: {}", error_text(&e)))?;
    let settings = settings(&loaded, supervisor);
    show_logo(config);
    let users = users(&loaded)?;
    let shared = Arc::new(share(loaded, settings, names, users, shards, maxclients)?);
    log!(Level::Notice, "Server initialized");
    let kept = recovery::find(&shared)?;
    recovery::announce(&shared, &kept);
    let threads = start_shards(&shared, listeners)?;
    shared.server_stats.startup_memory.store(shared.used_memory(), Ordering::Relaxed);
    recovery::recover(&shared, kept)?;
    for (kind, is_open) in [("tcp", tcp), ("unix", unix)] {
        if is_open {
            log!(Level::Notice, "Ready to accept connections {kind}");
        }
    }
    supervisor.notify("STATUS=Ready to accept connections\n");
    supervisor.notify("READY=1\n");

    let failed = watch(&shared, threads, supervisor);
    if let Some(path) = &shared.current_config().network.unixsocket {
        log!(Level::Notice, "Removing the unix socket file.");
        // Somebody may have been faster.
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

/// Raises the limit of open files for `maxclients`; returns how many clients there may be.
fn limit_clients(config: &Config, shards: usize) -> u32 {
    let wanted = config.network.maxclients;
    let (fit, files) = probe::raise_open_files(wanted, shards);
    if fit < wanted {
        log!(
            Level::Warning,
            "The limit of open files is {files}: maxclients is reduced from {wanted} to {fit}. Raise it with 'ulimit -n' or \
             LimitNOFILE= to serve more"
        );
    }
    fit
}

/// What changes of the configuration and INFO need to know about this process. Before threads start.
fn settings(loaded: &Loaded, supervisor: Supervisor) -> Settings {
    let config = &loaded.config;
    let name = std::env::args_os().next().unwrap_or_else(|| "gyre-server".into());
    let executable = std::env::current_exe().unwrap_or_default();
    let mut oom_score = OomScore::read().ok();
    if let Some(Err(error)) = oom_score.as_mut().map(|score| score.set(config, OomRole::Master)) {
        log!(Level::Warning, "Unable to write oom_score_adj: {}", error_text(&error));
    }
    // It overwrites the arguments, so it comes after they were read.
    let mut title = Title::claim(config, &name, loaded.file.as_deref());
    if let Some(title) = &mut title {
        title.show(config);
    }
    Settings { file: loaded.file.clone(), title, oom_score, executable, supervisor: supervisor.word() }
}

/// With `always-show-logo`, or on a terminal that gets the log; otherwise one line.
fn show_logo(config: &Config) {
    let (mode, port) = ("standalone", config.network.port);
    let observing = &config.observing;
    let to_terminal =
        io::stdout().is_terminal() && observing.logfile.as_os_str().is_empty() && !observing.syslog_enabled;
    if config.general.always_show_logo || to_terminal {
        server_log::write_raw(logo::logo(mode, port));
    } else {
        log!(Level::Notice, "Running mode={mode}, port={port}.");
    }
}

fn load(sources: &Sources) -> Result<Loaded, Failure> {
    let mut stdin = io::stdin().lock();
    config::load(sources, &mut stdin as &mut dyn Read, false).map_err(|error| error.text())
}

/// The command names under `rename-command`.
fn names(loaded: &Loaded) -> Result<&'static Names, ConfigError> {
    let mut names = Names::new();
    for rename in &loaded.renames {
        names.rename(&rename.from, &rename.to).map_err(|e| ConfigError::at(&rename.origin, e.text()))?;
    }
    Ok(Box::leak(Box::new(names)))
}

/// Listens on the TCP addresses. One that is in use is tried again for a while: the kernel lets go of what the rings of a
/// killed process held only some time after the process is gone.
fn listen_patiently(network: &Network, backlog: i32) -> Result<Vec<Listener>, ListenError> {
    let began = Instant::now();
    loop {
        match listen::tcp(&network.bind.0, network.port, backlog, network.socket_mark_id) {
            Err(error) if error.is_in_use() && began.elapsed() < ADDRESS_IN_USE_PATIENCE => {
                std::thread::sleep(ADDRESS_RETRY_INTERVAL);
            }
            result => return result,
        }
    }
}

/// The users of the configuration, or of the ACL file.
fn users(loaded: &Loaded) -> Result<Users, Failure> {
    let security = &loaded.config.security;
    let (file, hear_all) = (&security.aclfile, security.acl_pubsub_default == AclPubsubDefault::AllChannels);
    if !file.as_os_str().is_empty() {
        if loaded.users.is_empty() {
            return read_users(file, hear_all)
                .map_err(|why| text!("Aborting Gyre startup because of ACL errors: ", why));
        }
        return Err("Configuring Gyre with users defined in redis.conf and at the same setting an ACL file path is invalid. \
                    This setup is very likely to lead to configuration errors and security holes, please define either an ACL \
                    file or declare users directly in your redis.conf, but not both."
            .into());
    }
    let lines = loaded.users.iter().map(|line| (&line.name[..], &line.rules[..]));
    let users = Users::new(security.requirepass.as_deref()).with_configured(lines, hear_all);
    let users = users.map_err(|(index, error)| {
        let reason = text!("Error in user declaration '", error.word, "': ", error.why);
        ConfigError::at(&loaded.users[index].origin, reason).text()
    })?;
    for user in users.iter().filter(|user| !user.is_enabled) {
        log_text!(
            Level::Notice,
            "The user '",
            user.name,
            "' is disabled (there is no 'on' modifier in the user description). Make sure this is not a configuration error."
        );
    }
    Ok(users)
}

fn open_listeners(config: &Config) -> Result<Vec<Listener>, Failure> {
    let network = &config.network;
    let backlog = network.tcp_backlog as i32;
    let mut listeners = listen_patiently(network, backlog).map_err(|error| {
        log_text!(Level::Warning, "Warning: ", error.text());
        format!("Failed listening on port {} (tcp), aborting.", network.port)
    })?;
    if let Some(path) = &network.unixsocket {
        let path: &Path = path;
        let listener = listen::unix(path, network.unixsocketperm, backlog)
            .map_err(|e| text!("Failed opening Unix socket: bind: ", path, ": ", error_text(&e)))?;
        listeners.push(listener);
    }
    if listeners.is_empty() {
        return Err("Configured to not listen anywhere, exiting.".into());
    }
    Ok(listeners)
}

fn share(
    loaded: Loaded,
    settings: Settings,
    names: &'static Names,
    users: Users,
    shards: usize,
    maxclients: u32,
) -> Result<Shared, Failure> {
    let control =
        Control::start().map_err(|e| format!("The control plane cannot start: {}", start_error(&e)))?;
    let mut config = loaded.config;
    config.network.maxclients = maxclients;
    let databases = config.general.databases as usize;
    Ok(Shared {
        shards,
        stats: (0..shards).map(|_| Arc::new(ShardStats::new(table::COUNT, databases))).collect(),
        settings: Mutex::new(settings),
        port: AtomicU64::new(u64::from(config.network.port)),
        maxclients: AtomicUsize::new(maxclients as usize),
        config: Mutex::new(Arc::new(config)),
        slots: Mutex::new(Arc::new(SlotMap::even(shards))),
        users: Mutex::new(Arc::new(users)),
        acl_log: Mutex::default(),
        config_version: AtomicU64::new(1),
        scripts: KnownScripts::new(shards),
        names,
        transaction_number: AtomicU64::new(0),
        client_id: AtomicU64::new(0),
        connected: AtomicUsize::new(0),
        pause: Pause::default(),
        logs: Default::default(),
        tickets: Default::default(),
        shutdown: AtomicU64::new(Shutdown::No as u64),
        sleep_until_us: AtomicI64::new(0),
        server_stats: ServerStats::default(),
        status: Status::default(),
        thread_inbox: ThreadInbox::new(shards),
        migrator: Arc::new(Migrator::new(control.clone())),
        control,
        replication: Replication::new(),
        inboxes: (0..shards).map(|_| Default::default()).collect(),
        listeners: Default::default(),
        started_ms: clock::unix_ms(),
        run_id: process::random_id(),
    })
}

/// Why a shard's thread or its ring cannot be had, and what helps.
fn start_error(error: &io::Error) -> String {
    let remedy = match error.raw_os_error() {
        Some(libc::ENOMEM) => return Missing::Memory.to_string(),
        Some(libc::EMFILE | libc::ENFILE) => ": raise the limit of open files ('ulimit -n', LimitNOFILE=)",
        Some(libc::EAGAIN) => {
            ": raise the limit of threads ('ulimit -u', LimitNPROC=, TasksMax=) or of memory ('ulimit -v')"
        }
        _ => "",
    };
    format!("{}{remedy}", error_text(error))
}

/// What is for shards that do not run yet waits for them.
fn start_replication(shared: &Arc<Shared>) {
    // The task does not keep the server alive.
    let weak = Arc::downgrade(shared);
    let post = move |shard: usize, message: ReplMessage| {
        if let Some(shared) = weak.upgrade() {
            shared.thread_inbox.post(shard, message.into());
        }
    };
    shared.replication.start(&shared.control, shared.shards, shared.current_config(), Arc::new(post));
}

/// Starts the shards and waits until each one runs.
fn start_shards(
    shared: &Arc<Shared>,
    listeners: Vec<Listener>,
) -> Result<Vec<JoinHandle<io::Result<()>>>, Failure> {
    start_replication(shared);
    let cores = cpus::allowed();
    let mut listeners = Some(listeners);
    let mut threads = Vec::new();
    let (running, is_running) = mpsc::channel();
    for (id, mesh) in Mesh::connect(shared.shards).into_iter().enumerate() {
        let (shared, running) = (shared.clone(), running.clone());
        let listeners = if id == 0 { listeners.take() } else { None };
        let make = move |ring: &crate::runtime::ring::SocketRing| {
            mesh.set_ring(ring.fd());
            shared.thread_inbox.set_ring(id, ring.fd());
            let mut shard = Shard::new(id, shared, mesh);
            shard.connections.listen(&shard.turn, listeners.unwrap_or_default());
            // Nobody listens any more when another shard has failed to start.
            let _ = running.send(());
            Ok(shard)
        };
        let thread = executor::spawn(&format!("shard-{id}"), cores[id % cores.len()], make)
            .map_err(|e| format!("Shard {id} cannot start: {}", start_error(&e)))?;
        threads.push(thread);
    }
    // A shard that fails hangs up instead, and its thread tells why.
    drop(running);
    let started = (0..threads.len()).take_while(|_| is_running.recv().is_ok()).count();
    if started == threads.len() {
        return Ok(threads);
    }
    // The thread that hung up is about to end.
    std::thread::sleep(STOPPING_WATCH_INTERVAL);
    let failed = threads.into_iter().find(JoinHandle::is_finished).map(JoinHandle::join);
    Err(match failed {
        Some(Ok(Err(error))) => format!("A shard cannot start: {}", start_error(&error)).into(),
        _ => "A shard cannot start.".into(),
    })
}

/// Waits for signals and for the shards to end. Returns why, when one ended by a failure.
fn watch(
    shared: &Shared,
    mut threads: Vec<JoinHandle<io::Result<()>>>,
    supervisor: Supervisor,
) -> Option<Failure> {
    let mut failure = None;
    let mut is_stopping = false;
    while !threads.is_empty() {
        signals::wait(if is_stopping { STOPPING_WATCH_INTERVAL } else { WATCH_INTERVAL });
        let signal = signals::take();
        let is_under_way = shared.shutdown.load(Ordering::Acquire) != Shutdown::No as u64;
        if is_under_way && signal == Some(EndSignal::Interrupt) {
            log!(Level::Warning, "You insist... exiting now.");
            remove_temporary_files(shared.shards);
            std::process::exit(1);
        }
        if let Some(signal) = signal.filter(|_| !is_under_way) {
            log!(Level::Warning, "Received {} scheduling shutdown...", signal.name());
            let config = shared.current_config();
            let flags = match signal {
                EndSignal::Interrupt => config.general.shutdown_on_sigint,
                EndSignal::Terminate => config.general.shutdown_on_sigterm,
            };
            let save = (flags.save || flags.nosave).then_some(flags.save);
            let request = ShutdownRequest { save, force: flags.force, asker: None };
            shared.thread_inbox.post(LEADER, Message::ShutDown(request));
        }
        if shared.shutdown.load(Ordering::Acquire) == Shutdown::Asked as u64
            && !std::mem::replace(&mut is_stopping, true)
        {
            supervisor.notify("STOPPING=1\n");
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
                failure.get_or_insert(error.into());
            }
        }
    }
    failure
}
