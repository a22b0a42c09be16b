//! Loading: files, includes, standard input, options, and what errors say.

use super::super::load::INCLUDE_DEPTH_MAX;
use super::*;

fn reason(text: &str) -> String {
    load_text(text).unwrap_err().reason.to_string()
}

#[test]
fn later_sources_win_file_then_stdin_then_options() {
    let scratch = Scratch::new();
    let file = scratch.write("gyre.conf", "port 1\ntimeout 1\nhz 20\n");
    let loaded = load_args(&[file.to_str().unwrap(), "--hz", "40", "-"], "timeout 2\nhz 30").unwrap();
    let config = &loaded.config;
    assert_eq!((config.network.port, config.network.timeout, config.general.hz), (1, 2, 40));
    assert_eq!(loaded.file, Some(file));
}

#[test]
fn the_file_is_remembered_by_its_absolute_path() {
    let scratch = Scratch::new();
    let file = scratch.write("gyre.conf", "port 1\n");
    let up = "../".repeat(std::env::current_dir().unwrap().components().count());
    let relative = format!("{up}{}", file.to_str().unwrap().trim_start_matches('/'));
    assert_eq!(load_args(&[&relative], "").unwrap().file, Some(file));
    assert_eq!(load_args(&["--port", "1"], "").unwrap().file, None);
}

#[test]
fn blanks_comments_case_and_quotes_are_as_in_redis() {
    let config = config_of("\n  # port 1\n\t PORT\t7000 \r\nrequirepass \"a \\x41\\\"\"\nlogfile ''\n");
    assert_eq!(config.network.port, 7000);
    assert_eq!(config.security.requirepass.as_deref(), Some(&b"a A\""[..]));
}

#[test]
fn save_lines_add_up_and_replace_the_default() {
    let save = |text: &str| shown(&config_of(text), "save");
    assert_eq!(save(""), "3600 1 300 100 60 10000");
    assert_eq!(save("save 900 1"), "900 1");
    assert_eq!(save("save 900 1\nsave 300 10 60 100"), "900 1 300 10 60 100");
    assert_eq!(save("save 900 1\nsave \"\""), "");
    assert_eq!(save("save \"\"\nsave 5 6"), "5 6");
    assert_eq!(save("save \"900 1 5 6\""), "900 1 5 6");
    for bad in ["save 1", "save 0 1", "save 1 -1", "save a b", "save 1 2 3"] {
        assert_eq!(reason(bad), "Invalid save parameters", "{bad}");
    }
}

#[test]
fn options_of_the_command_line_add_to_the_file() {
    let scratch = Scratch::new();
    let file = scratch.write("gyre.conf", "save 900 1\n");
    let file = file.to_str().unwrap();
    let save = |args: &[&str]| shown(&load_args(&[&[file], args].concat(), "").unwrap().config, "save");
    assert_eq!(save(&["--save", "100", "100"]), "900 1 100 100");
    assert_eq!(save(&["--save", ""]), "");
    assert_eq!(save(&["--save", "--loglevel", "verbose"]), "");
    assert_eq!(save(&["--proc-title-template", "--save", "--save", "", "--loglevel", "verbose"]), "");
    let config = load_args(&[file, "loglevel", "verbose", "--maxmemory '700mb'"], "").unwrap().config;
    assert_eq!(config.observing.loglevel, LogLevel::Verbose, "wrong, but accepted");
    assert_eq!(config.memory.maxmemory, 734_003_200);
    let args = ["--shutdown-on-sigint", "nosave", "force", "now", "--shutdown-on-sigterm", "nosave force"];
    let config = load_args(&args, "").unwrap().config;
    assert_eq!(shown(&config, "shutdown-on-sigint"), "nosave now force");
    assert_eq!(shown(&config, "shutdown-on-sigterm"), "nosave force");
}

#[test]
fn errors_of_the_command_line_show_the_option() {
    let cases: [(&[&str], &str, &str); 12] = [
        (&["--invalid"], "invalid", "Bad directive or wrong number of arguments"),
        (&["--port"], "port", "wrong number of arguments"),
        (&["--port", "6380", "--loglevel"], "loglevel", "wrong number of arguments"),
        (&["--port", "6379", "6380"], r#"port "6379" "6380""#, "wrong number of arguments"),
        (&["--port", "--loglevel", "verbose"], r#"port "--loglevel" "verbose""#, "wrong number of arguments"),
        (&["--port", "--bla"], r#"port "--bla""#, "argument couldn't be parsed into an integer"),
        (
            &["--proc-title-template", "--a", "--loglevel", "--bla"],
            r#"loglevel "--bla""#,
            "argument(s) must be one of the following: debug, verbose, notice, warning, nothing",
        ),
        (
            &["--shutdown-on-sigint"],
            "shutdown-on-sigint",
            "argument(s) must be one of the following: default, save, nosave, now, force",
        ),
        (&["--replicaof", "127.0.0.1", "abc"], r#"replicaof "127.0.0.1" "abc""#, "Invalid master port"),
        (&["--replicaof", "--127.0.0.1", "abc"], r#"replicaof "--127.0.0.1" "abc""#, "Invalid master port"),
        (&["--replicaof", "--127.0.0.1", "--abc"], r#"replicaof "--127.0.0.1""#, "wrong number of arguments"),
        (&["--sentinel", "x"], r#"sentinel "x""#, "sentinel directive while not in sentinel mode"),
    ];
    for (args, line, reason) in cases {
        let error = load_args(args, "").unwrap_err();
        // A hint may come before it.
        assert_eq!(error.reason.to_string().lines().last(), Some(reason), "{args:?}");
        let text = error.to_string();
        assert!(text.contains(&format!(">>> '{line}'\n")), "{text}");
        assert!(text.contains("*** FATAL CONFIG FILE ERROR (Gyre "), "{text}");
    }
}

#[test]
fn errors_of_a_file_name_it_with_the_line() {
    let scratch = Scratch::new();
    let included = scratch.write("included.conf", "timeout 1\n\n  port abc  \n");
    let file = scratch.write("gyre.conf", &format!("hz 10\ninclude {}\n", included.display()));
    let text = load_file(&file).unwrap_err().to_string();
    let expected = format!(
        "Reading the configuration file {}, at line 3\n>>> 'port abc'\nargument couldn't be parsed into an integer",
        included.display()
    );
    assert!(text.ends_with(&expected), "{text}");
}

#[test]
fn reasons_are_those_of_redis() {
    let cases = [
        ("port \"1", "Unbalanced quotes in configuration line"),
        ("port 65536", "argument must be between 0 and 65535 inclusive"),
        ("port -1", "argument must be between 0 and 65535 inclusive"),
        ("port 01", "argument couldn't be parsed into an integer"),
        ("unixsocketperm 1000", "argument must be between 0 and 777 inclusive"),
        ("unixsocketperm 8", "argument couldn't be parsed as an octal number"),
        ("maxmemory 1tb", "argument must be a memory value"),
        ("maxmemory -1", "argument must be a memory value"),
        ("proto-max-bulk-len 1kb", "argument must be between 1048576 and 9223372036854775807 inclusive"),
        ("maxmemory-clients x", "argument must be a memory or percent value"),
        ("maxmemory-clients 101%", "percentage argument must be less or equal to 100"),
        ("appendonly maybe", "argument must be 'yes' or 'no'"),
        ("appendfsync never", "argument(s) must be one of the following: everysec, always, no"),
        ("oom-score-adj maybe", "argument(s) must be one of the following: no, yes, relative, absolute"),
        ("notify-keyspace-events q", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."),
        ("client-output-buffer-limit normal 1 1", "Wrong number of arguments in buffer limit configuration."),
        (
            "client-output-buffer-limit master 1 1 1",
            "Invalid client class specified in buffer limit configuration.",
        ),
        (
            "client-output-buffer-limit normal x 1 1",
            "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
        ),
        ("oom-score-adj-values 1 2", "wrong number of arguments"),
        (
            "oom-score-adj-values 1 2 3000",
            "Invalid oom-score-adj-values, elements must be between -2000 and 2000.",
        ),
        ("latency-tracking-info-percentiles a", "Invalid latency-tracking-info-percentiles parameters"),
        (
            "latency-tracking-info-percentiles 101",
            "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
        ),
        ("shutdown-on-sigint save nosave", "shutdown options SAVE and NOSAVE can't be used simultaneously"),
        ("dbfilename a/b", "dbfilename can't be a path, just a filename"),
        ("appendfilename \"\"", "appendfilename can't be empty"),
        ("appenddirname a/b", "appenddirname can't be a path, just a dirname"),
        ("proc-title-template {bad}", "template format is invalid or contains unknown variables"),
        ("locale-collate no_such_locale", "Invalid locale name"),
        (
            "cluster-announce-hostname a_b",
            "Hostnames may only contain alphanumeric characters, hyphens or dots",
        ),
        ("cluster-announce-human-nodename a=b;", "Announced human node name contained invalid character"),
        ("bind 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17", "Too many bind addresses specified."),
        ("dir /no/such/place", "No such file or directory"),
        ("dir /dev/null", "Not a directory"),
        ("module.option", "Module config specified without value"),
        ("rename-command a", "Bad directive or wrong number of arguments"),
        ("list-max-ziplist-entries", "Bad directive or wrong number of arguments"),
        ("logfile /no/such/place/log", "Can't open the log file: No such file or directory"),
        ("cluster-enabled yes\nreplicaof a 1", "replicaof directive not allowed in cluster mode"),
        ("shards 0", "argument must be 'auto' or between 1 and 1024"),
    ];
    for (text, expected) in cases {
        assert_eq!(reason(text), expected, "{text}");
    }
}

#[test]
fn includes_take_patterns_and_relative_paths_and_may_match_nothing() {
    let scratch = Scratch::new();
    scratch.write("conf.d/a.conf", "port 1\nhz 20");
    scratch.write("conf.d/b.conf", "port 2\n");
    let file = scratch.write(
        "gyre.conf",
        &format!("dir {}\ninclude conf.d/*.conf\ninclude none/*.conf\n", scratch.0.display()),
    );
    let config = load_file(&file).unwrap().config;
    assert_eq!((config.network.port, config.general.hz), (2, 20));
    assert_eq!(config.general.dir.0, scratch.0);
}

#[test]
fn a_missing_include_is_an_error_at_its_line() {
    let error = load_text("\ninclude /no/such.conf").unwrap_err();
    assert_eq!(
        error.reason,
        "Fatal error, can't open config file '/no/such.conf': No such file or directory"
    );
    assert!(error.to_string().contains("at line 2\n>>> 'include /no/such.conf'"), "{error}");
}

#[test]
fn includes_nest_to_a_limit() {
    let scratch = Scratch::new();
    let path = |depth: usize| scratch.0.join(format!("{depth}.conf"));
    for depth in 0..=INCLUDE_DEPTH_MAX {
        fs::write(path(depth), format!("include {}\n", path(depth + 1).display())).unwrap();
    }
    fs::write(path(INCLUDE_DEPTH_MAX + 1), "port 7000\n").unwrap();
    assert_eq!(load_file(&path(1)).unwrap().config.network.port, 7000);
    assert_eq!(load_file(&path(0)).unwrap_err().reason, "Too many nested include directives");
}

#[test]
fn files_that_include_each_other_end_in_an_error() {
    let scratch = Scratch::new();
    let file = scratch.0.join("loop.conf");
    fs::write(&file, format!("include {0}\ninclude {0}\n", file.display())).unwrap();
    assert_eq!(load_file(&file).unwrap_err().reason, "Too many nested include directives");
}

#[test]
fn a_relative_dir_starts_where_the_one_before_led() {
    let scratch = Scratch::new();
    scratch.write("a/b/file", "");
    let config = config_of(&format!("dir {}\ndir a\ndir ./b", scratch.0.display()));
    assert_eq!(config.general.dir.0, scratch.0.join("a/b"));
}

#[test]
fn hz_out_of_range_is_moved_inside_and_cluster_mode_has_one_database() {
    assert_eq!(config_of("hz 0").general.hz, HZ_MIN);
    assert_eq!(config_of("hz 100000").general.hz, HZ_MAX);
    let loaded = load_text("cluster-enabled yes").unwrap();
    assert_eq!(loaded.config.general.databases, 1);
    assert_eq!(loaded.warnings.len(), 1);
}

#[test]
fn what_needs_other_parts_of_the_server_is_handed_on_with_its_line() {
    let loaded = load_text("rename-command CONFIG \"\"\nuser alice on >secret ~* +@all\n").unwrap();
    let [rename] = loaded.renames.as_slice() else { panic!("{loaded:?}") };
    assert_eq!((rename.from.as_slice(), rename.to.as_slice()), (&b"CONFIG"[..], &b""[..]));
    let error = ConfigError::at(&rename.origin, "No such command in rename-command").to_string();
    assert!(error.contains("at line 1\n>>> 'rename-command CONFIG \"\"'\nNo such command"), "{error}");
    let [user] = loaded.users.as_slice() else { panic!("{loaded:?}") };
    assert_eq!((user.name.as_slice(), user.rules.len()), (&b"alice"[..], 4));
}

#[test]
fn sentinel_lines_are_taken_in_sentinel_mode() {
    let sources = argv::Sources { stdin: true, ..argv::Sources::default() };
    let loaded = load(&sources, &mut "sentinel monitor m 127.0.0.1 1 2".as_bytes(), true).unwrap();
    assert_eq!(loaded.sentinel[0].args.len(), 5);
}

#[test]
fn forgotten_directives_do_not_stop_a_start() {
    let loaded = load_text("list-max-ziplist-value 64\nlua-replicate-commands no\nactivedefrag yes").unwrap();
    assert_eq!(loaded.warnings, [""; 0]);
}

#[test]
fn modules_stop_a_start_with_the_line_that_wants_them() {
    for (text, line, why) in [
        (
            "\nloadmodule /x/y.so arg",
            "2\n>>> 'loadmodule /x/y.so arg'",
            "Can't load module from /x/y.so: Gyre has no",
        ),
        ("y.option 1", "1\n>>> 'y.option 1'", "'y.option' belongs to a module: Gyre has no"),
        ("loadmodule", "1\n>>> 'loadmodule'", "Bad directive or wrong number of arguments"),
    ] {
        let error = load_text(text).unwrap_err().to_string();
        assert!(error.contains(&format!("at line {line}\n{why}")), "{error}");
    }
}

#[test]
fn an_option_without_a_value_is_named_with_what_it_took_for_one() {
    for (args, why) in [
        (
            &["--port", "--shards", "1"][..],
            "'--port' has no value of its own: it takes '--shards' for it\nwrong number of arguments",
        ),
        (
            &["--port", "--bla"],
            "'--port' has no value of its own: it takes '--bla' for it\nargument couldn't be parsed",
        ),
        (&["--maxmemory"], "wrong number of arguments"),
        (&["--port", "1", "--shards", "--", "2"], "'--shards' has no value of its own: it takes '--' for it"),
    ] {
        let error = load_args(args, "").unwrap_err();
        assert!(error.reason.starts_with(why.as_bytes()), "{args:?}: {error}");
    }
    // In a file they may be what somebody means.
    assert_eq!(reason("port --shards 1"), "wrong number of arguments");
}

#[test]
fn a_list_may_be_emptied() {
    let config =
        config_of("bind \"\"\nlatency-tracking-info-percentiles \"\"\nrequirepass \"\"\nunixsocket ''");
    assert_eq!(config.network.bind.0, [b""; 0]);
    assert_eq!(config.observing.latency_tracking_info_percentiles.0, [0.0; 0]);
    assert_eq!((config.security.requirepass, config.network.unixsocket), (None, None));
}

proptest::proptest! {
    /// No text makes the loader panic or hang.
    #[test]
    fn any_text_loads_or_is_refused(text in "(port|save|bind|user|include|dir|hz|[a-z.]{1,4})( [\"'\\\\x0-9a-z%-]{0,6}){0,4}\n?") {
        if !text.contains("logfile") {
            let _ = load_text(&text);
        }
    }
}
