//! What is appended to a log: commands as RESP, and how several become one unit.
//!
//! A unit is put as `[#TS] [#GTX] command` or `[#TS] [#GTX] MULTI ... EXEC`. A SELECT that a single command needs may stand in front
//! of it, also behind its #GTX: to the reader of units, a SELECT is not one.

use super::annotation;
pub use super::annotation::{put_after, put_cut, put_part};
pub use crate::resp::put_command;

pub fn put_select(out: &mut Vec<u8>, db: usize) {
    put_command(out, &[b"SELECT", itoa::Buffer::new().format(db).as_bytes()]);
}

/// Opens a unit of more than one command.
pub fn put_multi(out: &mut Vec<u8>) {
    out.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n");
}

/// Closes it.
pub fn put_exec(out: &mut Vec<u8>) {
    out.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
}

/// `aof-timestamp-enabled`: says the time in front of a unit, at most once a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timestamps {
    /// Unix seconds.
    last: i64,
}

impl Timestamps {
    /// To be called in front of each unit, never inside of one: where the log is cut to a time, no unit is torn.
    pub fn put(&mut self, out: &mut Vec<u8>, now: i64) {
        if self.last < now {
            self.put_always(out, now);
        }
    }

    /// At the beginning of a base.
    pub fn put_always(&mut self, out: &mut Vec<u8>, now: i64) {
        self.last = now;
        annotation::put_time(out, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_resp() {
        let mut out = Vec::new();
        put_command(&mut out, &[b"SET", b"k", b"", b"0123456789"]);
        put_multi(&mut out);
        put_select(&mut out, 12);
        put_exec(&mut out);
        let expected = "*4 $3 SET $1 k $0  $10 0123456789 *1 $5 MULTI *2 $6 SELECT $2 12 *1 $4 EXEC ";
        assert_eq!(String::from_utf8(out).unwrap().replace("\r\n", " "), expected);
    }

    #[test]
    fn the_time_is_said_once_a_second_and_never_goes_back() {
        let (mut out, mut times) = (Vec::new(), Timestamps::default());
        for now in [5, 5, 4, 6, 6] {
            times.put(&mut out, now);
        }
        assert_eq!(out, b"#TS:5\r\n#TS:6\r\n");
        times.put_always(&mut out, 6);
        assert!(out.ends_with(b"#TS:6\r\n#TS:6\r\n"));
    }
}
