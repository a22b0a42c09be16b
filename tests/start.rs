//! What the program says before it serves: to tools that read its version, to those who ask for what it has not, and in the first
//! lines of the log.

mod support;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::{free_port, temporary_dir, Server, Value};

const BINARY: &str = env!("CARGO_BIN_EXE_gyre-server");

/// Runs what is expected to end by itself.
fn run(program: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.arg("10").arg(program).args(args).stdin(Stdio::null());
    command.output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// It has not started: exit code 1, and this is what it says. (124: it had to be ended.)
fn refusal(program: &Path, args: &[&str]) -> String {
    let output = run(program, args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output.stdout));
    assert_eq!(text(&output.stdout), "", "{args:?}");
    text(&output.stderr)
}

#[test]
fn the_version_is_what_tools_read_of_redis_and_the_same_in_info() {
    let lines = ["-v", "--version"].map(|option| {
        let output = run(Path::new(BINARY), &[option]);
        assert!(output.status.success());
        text(&output.stdout)
    });
    assert_eq!(lines[0], lines[1]);
    let words: Vec<&str> = lines[0].trim_end().split(' ').collect();
    assert_eq!(words[..2], ["Redis", "server"]);
    let fields: Vec<(&str, &str)> = words[2..].iter().filter_map(|word| word.split_once('=')).collect();
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["v", "sha", "malloc", "bits", "build", "gyre"], "{}", lines[0]);
    let field = |name: &str| fields.iter().find(|(known, _)| *known == name).expect("checked before").1;
    assert_eq!(field("gyre"), env!("CARGO_PKG_VERSION"));
    assert!(!field("build").is_empty() && field("build").bytes().all(|byte| byte.is_ascii_hexdigit()));

    let info = Server::with_shards(1).client().call(&["INFO", "everything"]).text();
    let (sha, dirty) = field("sha").split_once(':').expect("commit and state");
    for (name, value) in [
        ("redis_version", field("v")),
        ("redis_git_sha1", sha),
        ("redis_git_dirty", dirty),
        ("redis_build_id", field("build")),
        ("gyre_version", field("gyre")),
        ("mem_allocator", field("malloc")),
        ("arch_bits", field("bits")),
    ] {
        assert!(info.contains(&format!("\r\n{name}:{value}\r\n")), "{name} is not {value}:\n{info}");
    }
}

#[test]
fn sentinel_is_refused_in_one_line_whatever_asks_for_it() {
    let dir = temporary_dir();
    let sentinel = dir.join("redis-sentinel");
    symlink(BINARY, &sentinel).expect("a link can be made");
    let config = dir.join("sentinel.conf");
    std::fs::write(&config, "port 26379\nsentinel monitor mymaster 127.0.0.1 6379 2\n")
        .expect("a file can be written");
    let (config, port) = (config.to_str().expect("a plain name"), free_port().to_string());
    for (program, args) in [
        (Path::new(BINARY), &["--sentinel", "--port", &port][..]),
        (Path::new(BINARY), &["--port", &port, "--sentinel"]),
        (Path::new(BINARY), &[config, "--sentinel"]),
        (&sentinel, &[config]),
        (&sentinel, &["--port", &port]),
    ] {
        let said = refusal(program, args);
        assert!(
            said.starts_with("Gyre has no Sentinel mode") && said.lines().count() == 1,
            "{args:?}: {said}"
        );
    }
    assert!(run(&sentinel, &["-v"]).status.success());
    let _ = std::fs::remove_dir_all(&dir);
}

#[test]
fn a_module_in_the_configuration_stops_the_start_with_file_line_and_reason() {
    let dir = temporary_dir();
    let config = dir.join("gyre.conf");
    std::fs::write(&config, "maxmemory 1gb\n\nloadmodule /usr/lib/redisbloom.so a b\n")
        .expect("a file can be written");
    let name = config.to_str().expect("a plain name");
    let said = refusal(Path::new(BINARY), &[name, "--port", &free_port().to_string()]);
    let expected = format!(
        "Reading the configuration file {name}, at line 3\n>>> 'loadmodule /usr/lib/redisbloom.so a b'\n\
         Can't load module from /usr/lib/redisbloom.so: Gyre has no C module API, and loads no modules\n"
    );
    assert!(said.ends_with(&expected), "{said}");
    let said = refusal(Path::new(BINARY), &["--loadmodule", "/x.so"]);
    assert!(said.contains(">>> 'loadmodule \"/x.so\"'\nCan't load module from /x.so: "), "{said}");
    let _ = std::fs::remove_dir_all(&dir);
}

#[test]
fn an_option_that_takes_the_next_one_for_its_value_is_named() {
    let said = refusal(Path::new(BINARY), &["--port", "--shards", "1"]);
    assert!(
        said.contains(
            ">>> 'port \"--shards\" \"1\"'\n'--port' has no value of its own: it takes '--shards' for it\n"
        ),
        "{said}"
    );
}

#[test]
fn a_line_of_the_configuration_is_shown_as_it_is() {
    let dir = temporary_dir();
    let config = dir.join("gyre.conf");
    std::fs::write(&config, b"maxmemory \xff\xfe\n").expect("a file can be written");
    let output = run(Path::new(BINARY), &[config.to_str().expect("a plain name")]);
    let shown = b">>> 'maxmemory \xff\xfe'\n";
    assert!(output.stderr.windows(shown.len()).any(|part| part == shown), "{}", output.stderr.escape_ascii());
    let _ = std::fs::remove_dir_all(&dir);
}

#[test]
fn the_log_says_how_many_shards_run_and_calls_the_server_by_one_name() {
    for (shards, line) in [(1, "Running with 1 shard\n"), (2, "Running with 2 shards\n")] {
        let mut server = Server::with_shards(shards);
        assert_eq!(server.client().call(&["PING"]), Value::Simple("PONG".to_owned()));
        assert!(server.stop().is_some_and(|status| status.success()));
        let log = server.log();
        assert!(log.contains(line), "{log}");
        assert!(
            log.contains("Gyre is starting") && log.contains("Gyre is now ready to exit, bye bye..."),
            "{log}"
        );
        let foreign = log.lines().find(|line| line.contains("Redis") && !line.contains("Redis version="));
        assert_eq!(foreign, None, "{log}");
    }
}

#[test]
fn module_load_fails_as_redis_says_it() {
    let server = Server::start(&["--enable-module-command", "yes"]);
    let mut client = server.client();
    let error = |text: &str| Value::Error(text.to_owned());
    let failed = error("ERR Error loading the extension. Please check the server logs.");
    assert_eq!(client.call(&["MODULE", "LOAD", "/x.so"]), failed);
    assert_eq!(client.call(&["MODULE", "LOADEX", "/x.so", "ARGS", "a"]), failed);
    assert!(
        server.log().contains("Module /x.so failed to load: Gyre has no C module API"),
        "{}",
        server.log()
    );
    let unknown = error("ERR Error unloading module: no such module with that name");
    assert_eq!(client.call(&["MODULE", "UNLOAD", "x"]), unknown);
    assert_eq!(client.call(&["MODULE", "LIST"]), Value::Array(Vec::new()));

    let protected = Server::with_shards(1).client().call(&["MODULE", "LOAD", "/x.so"]);
    assert!(
        protected.text().starts_with("ERR MODULE command not allowed. If the enable-module-command option"),
        "{protected:?}"
    );
}
