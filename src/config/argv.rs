//! The command line: what to do, and the configuration lines that it stands for.

use crate::base::words::{quoted, split_words};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    Version,
    Help,
    /// `--test-memory <megabytes>`; None when the number is missing.
    TestMemory(Option<Vec<u8>>),
    /// `--check-system`, and behind it what a server would be started with.
    CheckSystem(Sources),
    Serve(Sources),
}

/// Where the configuration comes from. Later ones win: file, standard input, options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    pub file: Option<Vec<u8>>,
    pub stdin: bool,
    /// Configuration lines made of the `--name value...` arguments.
    pub options: Vec<Vec<u8>>,
}

impl Sources {
    /// Whether anything was given at all.
    pub fn is_empty(&self) -> bool {
        *self == Sources::default()
    }
}

/// Reads the arguments after the program's name, as redis-server does: a first argument without a dash is the file, a
/// `-` at the beginning or end is standard input, `--name` begins an option, and all that follows belongs to it. The
/// first argument after a bare `--name` is its value, even when it begins with dashes.
pub fn parse(args: &[Vec<u8>]) -> Invocation {
    match args.first().map(Vec::as_slice) {
        Some(b"-v" | b"--version") => return Invocation::Version,
        Some(b"-h" | b"--help") => return Invocation::Help,
        Some(b"--test-memory") => {
            return Invocation::TestMemory(args.get(1).filter(|_| args.len() == 2).cloned())
        }
        Some(b"--check-system") => return Invocation::CheckSystem(sources(&args[1..])),
        _ => {}
    }
    Invocation::Serve(sources(args))
}

fn sources(args: &[Vec<u8>]) -> Sources {
    let file = args.first().filter(|first| !first.starts_with(b"-")).cloned();
    let mut sources = Sources { stdin: false, options: Vec::new(), file };
    let first = usize::from(sources.file.is_some());
    let mut has_value = true;
    for (index, arg) in args.iter().enumerate().skip(first) {
        let next = args.get(index + 1);
        if arg == b"-" && (index == 0 || next.is_none()) {
            sources.stdin = true;
        } else if let Some(option) = arg.strip_prefix(b"--").filter(|_| has_value) {
            let (line, complete) = begin_option(arg, option, next);
            sources.options.push(line);
            has_value = complete;
        } else {
            // An argument before any option stands on a line of its own, and is refused there.
            if sources.options.is_empty() {
                sources.options.push(Vec::new());
            }
            if let Some(line) = sources.options.last_mut() {
                line.extend(quoted(arg));
                line.push(b' ');
            }
            has_value = true;
        }
    }
    sources
}

/// Whether the command line asks for the mode of Redis Sentinel: by `--sentinel` in any place, or by the name of the program.
pub fn wants_sentinel(program: &[u8], args: &[Vec<u8>]) -> bool {
    let name = program.rsplit(|byte| *byte == b'/').next().unwrap_or(program);
    memchr::memmem::find(name, b"-sentinel").is_some() || args.iter().any(|arg| arg == b"--sentinel")
}

/// The beginning of an option's line, and whether it may end there.
fn begin_option(arg: &[u8], option: &[u8], next: Option<&Vec<u8>>) -> (Vec<u8>, bool) {
    let mut line = option.to_vec();
    line.push(b' ');
    // `"--port 6380"` is name and value in one argument.
    if split_words(arg).is_none_or(|words| words.len() != 1) {
        return (line, true);
    }
    let another_option_follows = next.is_some_and(|next| next.starts_with(b"--"));
    // `--save` without a value means none, as scripts that build the command line from a list have it.
    if arg.eq_ignore_ascii_case(b"--save") && (next.is_none() || another_option_follows) {
        line.extend(b"\"\"");
        return (line, true);
    }
    (line, arg.eq_ignore_ascii_case(b"--sentinel") && another_option_follows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(args: &[&str]) -> Sources {
        let args: Vec<Vec<u8>> = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        match parse(&args) {
            Invocation::Serve(sources) => sources,
            other => panic!("{other:?}"),
        }
    }

    fn options(args: &[&str]) -> Vec<String> {
        let lines = sources(args).options;
        lines.into_iter().map(|line| String::from_utf8_lossy(&line).trim().to_owned()).collect()
    }

    #[test]
    fn the_first_argument_is_the_file_unless_it_has_a_dash() {
        assert_eq!(sources(&["/etc/x.conf", "--port", "1"]).file.unwrap(), b"/etc/x.conf");
        assert_eq!(sources(&["--port", "1"]).file, None);
        assert!(sources(&[]).is_empty());
    }

    #[test]
    fn a_dash_at_either_end_is_standard_input() {
        assert!(sources(&["-"]).stdin);
        assert!(sources(&["x.conf", "--port", "1", "-"]).stdin);
        assert!(sources(&["-", "--port", "1"]).stdin);
        assert!(!sources(&["--bind", "-", "1"]).stdin);
    }

    #[test]
    fn values_belong_to_the_option_before_them() {
        assert_eq!(
            options(&["--port", "7000", "--save", "3600", "1", "300", "100"]),
            [r#"port "7000""#, r#"save "3600" "1" "300" "100""#]
        );
        assert_eq!(options(&["--port 6380", "--loglevel verbose"]), ["port 6380", "loglevel verbose"]);
    }

    #[test]
    fn the_first_value_may_begin_with_dashes() {
        assert_eq!(options(&["--port", "--bla", "--loglevel", "x"]), [r#"port "--bla""#, r#"loglevel "x""#]);
        assert_eq!(options(&["--port", "--loglevel", "verbose"]), [r#"port "--loglevel" "verbose""#]);
    }

    #[test]
    fn save_without_a_value_means_none() {
        assert_eq!(options(&["--save", "--loglevel", "verbose"]), [r#"save """#, r#"loglevel "verbose""#]);
        assert_eq!(options(&["--loglevel", "verbose", "--save"]), [r#"loglevel "verbose""#, r#"save """#]);
        assert_eq!(options(&["--save", ""]), [r#"save """#]);
    }

    #[test]
    fn sentinel_takes_no_value() {
        assert_eq!(options(&["--sentinel", "--port", "1"]), ["sentinel", r#"port "1""#]);
        assert_eq!(options(&["--port", "1", "--sentinel"]), [r#"port "1""#, "sentinel"]);
    }

    #[test]
    fn sentinel_is_asked_for_by_an_option_or_by_the_name_of_the_program() {
        let wants = |program: &str, args: &[&str]| {
            let args: Vec<Vec<u8>> = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
            wants_sentinel(program.as_bytes(), &args)
        };
        for program in ["redis-sentinel", "/usr/bin/redis-sentinel", "./gyre-sentinel", "/a/redis-sentinel-7"]
        {
            assert!(wants(program, &[]), "{program}");
        }
        assert!(wants("gyre-server", &["/etc/sentinel.conf", "--sentinel"]));
        assert!(wants("gyre-server", &["--port", "26379", "--sentinel", "--loglevel", "debug"]));
        assert!(!wants("gyre-server", &["/etc/redis-sentinel.conf"]));
        assert!(!wants("/opt/redis-sentinel/gyre-server", &["--Sentinel"]));
    }

    #[test]
    fn help_version_and_tests_come_first_only() {
        let parsed =
            |args: &[&str]| parse(&args.iter().map(|arg| arg.as_bytes().to_vec()).collect::<Vec<_>>());
        assert_eq!(parsed(&["-v"]), Invocation::Version);
        assert_eq!(parsed(&["--help"]), Invocation::Help);
        assert_eq!(parsed(&["--test-memory", "5"]), Invocation::TestMemory(Some(b"5".to_vec())));
        assert_eq!(parsed(&["--test-memory"]), Invocation::TestMemory(None));
        assert_eq!(parsed(&["--check-system"]), Invocation::CheckSystem(Sources::default()));
        let Invocation::CheckSystem(sources) = parsed(&["--check-system", "--shards", "9"]) else {
            panic!("no check");
        };
        assert_eq!(Invocation::Serve(sources), parsed(&["--shards", "9"]));
    }
}
