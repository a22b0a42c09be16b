//! What MIGRATE is asked to do.

use std::time::Duration;

use super::parse::integer;
use super::table::keys::FoundKeys;
use super::{Args, CommandError, CommandResult};

const TIMEOUT_DEFAULT_MS: i64 = 1000;
/// A longer timeout is taken for this one, 24 days.
const TIMEOUT_MAX_MS: i64 = i32::MAX as i64;

/// Who logs in at the other server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// None: the default user.
    pub username: Option<Vec<u8>>,
    pub password: Vec<u8>,
}

/// MIGRATE's arguments.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    pub copy: bool,
    pub replace: bool,
    pub credentials: Option<Credentials>,
    pub database: i64,
    pub timeout: Duration,
    /// The index of the first of `keys`, which follow each other.
    pub first_key: usize,
    pub keys: &'a [&'a [u8]],
}

impl<'a> Request<'a> {
    /// MIGRATE host port key|"" destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 username password]
    /// [KEYS key [key ...]]
    pub fn parse(args: &'a [&'a [u8]]) -> Result<Request<'a>, CommandError> {
        let (mut copy, mut replace, mut credentials) = (false, false, None);
        let (mut first_key, mut keys) = (3, &args[3..4]);
        let mut rest = &args[6..];
        while let [option, behind @ ..] = rest {
            let is = |word: &str| option.eq_ignore_ascii_case(word.as_bytes());
            rest = behind;
            if is("copy") {
                copy = true;
            } else if is("replace") {
                replace = true;
            } else if is("auth") {
                let [password, behind @ ..] = behind else { return Err(CommandError::Syntax) };
                credentials = Some((None, *password));
                rest = behind;
            } else if is("auth2") {
                let [username, password, behind @ ..] = behind else { return Err(CommandError::Syntax) };
                credentials = Some((Some(*username), *password));
                rest = behind;
            } else if is("keys") {
                if !args[3].is_empty() {
                    return Err(CommandError::other(
                        "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                    ));
                }
                (first_key, keys, rest) = (args.len() - behind.len(), behind, &[]);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        let timeout_ms = match integer(args[5])? {
            ms if ms <= 0 => TIMEOUT_DEFAULT_MS,
            ms => ms.min(TIMEOUT_MAX_MS),
        };
        let credentials = credentials.map(|(username, password)| Credentials {
            username: username.map(<[u8]>::to_vec),
            password: password.to_vec(),
        });
        Ok(Request {
            copy,
            replace,
            credentials,
            database: integer(args[4])?,
            timeout: Duration::from_millis(timeout_ms as u64),
            first_key,
            keys,
        })
    }
}

/// Where MIGRATE's keys are, for the command table.
pub fn request_keys(args: Args, found: &mut FoundKeys) -> CommandResult {
    let Request { first_key, keys, .. } = Request::parse(args)?;
    (first_key..first_key + keys.len()).for_each(|index| found.key(index, 0));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::{self, KeyPositions};

    fn parsed(line: &str) -> Result<String, String> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let request = Request::parse(&args).map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let credentials = request
            .credentials
            .map(|given| format!("{:?} {}", given.username.as_deref().map(text), text(&given.password)));
        let keys: Vec<String> = request.keys.iter().map(|key| text(key)).collect();
        let Request { copy, replace, database, timeout, .. } = request;
        Ok(format!("{copy} {replace} {credentials:?} {database} {timeout:?} {keys:?}"))
    }

    #[test]
    fn options_may_come_in_any_order_and_keys_take_the_rest() {
        assert_eq!(parsed("migrate h 1 k 9 50").unwrap(), "false false None 9 50ms [\"k\"]");
        assert_eq!(parsed("migrate h 1 k 0 0 REPLACE copy").unwrap(), "true true None 0 1s [\"k\"]");
        assert_eq!(
            parsed("migrate h 1  0 -5 KEYS copy b").unwrap(),
            "false false None 0 1s [\"copy\", \"b\"]"
        );
        assert_eq!(
            parsed("migrate h 1  0 7 AUTH keys KEYS a").unwrap(),
            "false false Some(\"None keys\") 0 7ms [\"a\"]"
        );
        assert_eq!(
            parsed("migrate h 1 k 0 7 auth2 copy replace").unwrap(),
            "false false Some(\"Some(\\\"copy\\\") replace\") 0 7ms [\"k\"]"
        );
        assert_eq!(parsed("migrate h 1  0 7 KEYS").unwrap(), "false false None 0 7ms []");
        assert_eq!(parsed("migrate h 1  0 7").unwrap(), "false false None 0 7ms [\"\"]");
    }

    #[test]
    fn wrong_combinations_are_refused_before_anything_is_sent() {
        let syntax = Err("ERR syntax error".to_owned());
        for line in ["k 0 1 auth", "k 0 1 auth2 me", "k 0 1 nonsense", "k x y nonsense"] {
            assert_eq!(parsed(&format!("migrate h 1 {line}")), syntax, "{line}");
        }
        let integer = Err("ERR value is not an integer or out of range".to_owned());
        assert_eq!(parsed("migrate h 1 k 0 soon"), integer);
        assert_eq!(parsed("migrate h 1 k first 1"), integer);
        assert_eq!(
            parsed("migrate h 1 k 0 1 KEYS a"),
            Err("ERR When using MIGRATE KEYS option, the key argument must be set to the empty string"
                .to_owned())
        );
    }

    #[test]
    fn keys_are_found_where_the_request_has_them() {
        let keys = |line: &str| {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let mut positions = KeyPositions::new();
            table::lookup(b"migrate").unwrap().key_positions(&args, &mut positions);
            positions.iter().map(|key| key.index).collect::<Vec<_>>()
        };
        assert_eq!(keys("migrate h 1 k 0 9 COPY"), [3]);
        assert_eq!(keys("migrate h 1  0 9 KEYS a b"), [7, 8]);
        assert_eq!(keys("migrate h 1  0 9 AUTH keys"), [3]);
        assert_eq!(keys("migrate h 1 k 0 9 AUTH2 keys x"), [3]);
        assert_eq!(keys("migrate h 1  0 9 AUTH keys KEYS KEYS a"), [9, 10]);
    }

    #[test]
    fn a_timeout_has_an_end() {
        assert_eq!(
            parsed(&format!("migrate h 1 k 0 {}", i64::MAX)).unwrap(),
            "false false None 0 2147483.647s [\"k\"]"
        );
    }
}
