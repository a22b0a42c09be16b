//! Arguments that nobody but the server may see: MONITOR and the slow log show `(redacted)` in their place.

use crate::command::table::{CommandSpec, Role};
use crate::command::Args;
use crate::config;
use crate::txn::message::Slices;

const REDACTED: &[u8] = b"(redacted)";

/// The arguments as they may be shown.
pub(super) fn redacted<'a>(spec: &CommandSpec, args: Args<'a>) -> Slices<'a> {
    let mut shown: Slices = args.iter().copied().collect();
    match spec.role {
        Role::Auth => shown[1..].fill(REDACTED),
        Role::Hello => redact_hello(&mut shown),
        Role::Migrate => redact_migrate(&mut shown),
        Role::ConfigSet => {
            for pair in shown[2..].chunks_exact_mut(2) {
                if config::is_sensitive(pair[0]) {
                    pair[1] = REDACTED;
                }
            }
        }
        Role::AclSetUser => shown.iter_mut().skip(2).for_each(|rule| *rule = REDACTED),
        _ => {}
    }
    shown
}

/// Hides what follows AUTH. A name that SETNAME gives may be called like it.
fn redact_hello(args: &mut [&[u8]]) {
    let mut at = 2;
    while at < args.len() {
        let is = |word: &str| args[at].eq_ignore_ascii_case(word.as_bytes());
        let (secrets, others) = if is("auth") { (2, 0) } else { (0, usize::from(is("setname"))) };
        let end = (at + 1 + secrets).min(args.len());
        args[at + 1..end].fill(REDACTED);
        at = end + others;
    }
}

/// Hides what follows AUTH and AUTH2. Behind KEYS there are only keys.
fn redact_migrate(args: &mut [&[u8]]) {
    let mut at = 6;
    while at < args.len() {
        let is = |word: &str| args[at].eq_ignore_ascii_case(word.as_bytes());
        let count = match () {
            () if is("keys") => return,
            () if is("auth") => 1,
            () if is("auth2") => 2,
            () => 0,
        };
        let behind = at + 1..(at + 1 + count).min(args.len());
        at = behind.end;
        args[behind].fill(REDACTED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table;

    fn shown(line: &str) -> String {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let spec = table::resolve(&args).unwrap();
        let shown = redacted(spec, &args);
        shown.iter().map(|arg| String::from_utf8_lossy(arg)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(shown("AUTH secret"), "AUTH (redacted)");
        assert_eq!(shown("auth me secret"), "auth (redacted) (redacted)");
        assert_eq!(
            shown("hello 3 AUTH me secret SETNAME auth"),
            "hello 3 AUTH (redacted) (redacted) SETNAME auth"
        );
        assert_eq!(
            shown("hello 3 SETNAME auth AUTH me secret"),
            "hello 3 SETNAME auth AUTH (redacted) (redacted)"
        );
        assert_eq!(
            shown("config set maxmemory 1 RequirePass secret"),
            "config set maxmemory 1 RequirePass (redacted)"
        );
        assert_eq!(
            shown("migrate h 1 auth 0 9 AUTH2 me secret KEYS auth k"),
            "migrate h 1 auth 0 9 AUTH2 (redacted) (redacted) KEYS auth k"
        );
    }

    #[test]
    fn everything_else_is_shown() {
        assert_eq!(shown("set auth secret"), "set auth secret");
        assert_eq!(shown("hello 3 AUTH"), "hello 3 AUTH");
    }
}
