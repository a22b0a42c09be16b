//! A connection to another server: what MIGRATE says to it and hears from it.
//!
//! AUTH and SELECT, where needed, are answered before the first RESTORE is sent: a key must not end up in the wrong database
//! because the right one was refused. The RESTOREs go out in one pipeline.

use std::io::{self, ErrorKind};
use std::time::Duration;

use super::{Job, PackedKey, Target};
use crate::net::client::Client;
use crate::net::replies::{Limits, Reply};
use crate::runtime::clock;

/// What is answered to AUTH, SELECT and RESTORE is a line; of an error, this part is passed on.
const LIMITS: Limits = Limits { line_bytes_max: 64 * 1024, bulk_bytes_max: 0, elements_max: 0 };
const ERROR_BYTES_MAX: usize = 1023;

/// The connection cannot be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    pub writing: bool,
    pub timed_out: bool,
}

impl Broken {
    fn new(writing: bool, error: &io::Error) -> Broken {
        let timed_out = matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock);
        Broken { writing, timed_out }
    }
}

/// What became of one attempt at a job.
#[derive(Debug, Default)]
pub struct Run {
    pub acknowledged: Vec<usize>,
    /// The first error that was answered.
    pub refusal: Option<Vec<u8>>,
    /// Replies to RESTORE.
    pub answers: usize,
    pub broken: Option<Broken>,
}

pub struct Link {
    client: Client,
    /// The database that is selected there, if that is sure.
    database: Option<i64>,
}

impl Link {
    pub async fn connect(target: &Target, limit: Duration) -> io::Result<Link> {
        let invalid = || io::Error::from(ErrorKind::InvalidInput);
        let host = std::str::from_utf8(&target.host).map_err(|_| invalid())?;
        let port = port(&target.port).ok_or_else(invalid)?;
        Ok(Link { client: Client::connect(host, port, limit, LIMITS).await?, database: None })
    }

    pub async fn deliver(&mut self, job: &Job) -> Run {
        let mut run = Run::default();
        run.broken = self.try_deliver(job, &mut run).await.err();
        // After an error nobody knows what is selected.
        self.database = run.refusal.is_none().then_some(job.database);
        run
    }

    async fn try_deliver(&mut self, job: &Job, run: &mut Run) -> Result<(), Broken> {
        self.greet(job, run).await?;
        if run.refusal.is_some() {
            return Ok(());
        }
        let now_ms = clock::unix_ms();
        let mut sent = Vec::with_capacity(job.packed.len());
        let mut outgoing = self.client.send(job.timeout);
        let broken = |error: io::Error| Broken::new(true, &error);
        for packed in &job.packed {
            // A key that has expired on its way stays where it is.
            let Some(ttl_ms) = ttl_ms(packed, now_ms) else { continue };
            let mut digits = itoa::Buffer::new();
            let ttl = digits.format(ttl_ms).as_bytes();
            let command: [&[u8]; 5] = [b"RESTORE", &job.keys[packed.key], ttl, &packed.payload, b"REPLACE"];
            outgoing.command(if job.replace { &command } else { &command[..4] }).await.map_err(broken)?;
            sent.push(packed.key);
        }
        outgoing.flush().await.map_err(broken)?;
        for key in sent {
            let refusal = self.read_reply(job.timeout).await?;
            run.answers += 1;
            match refusal {
                None => run.acknowledged.push(key),
                Some(text) => run.refusal = run.refusal.take().or(Some(text)),
            }
        }
        Ok(())
    }

    /// AUTH and SELECT.
    async fn greet(&mut self, job: &Job, run: &mut Run) -> Result<(), Broken> {
        let mut outgoing = self.client.send(job.timeout);
        let broken = |error: io::Error| Broken::new(true, &error);
        let mut count = 0;
        if let Some(credentials) = &job.credentials {
            let mut command: Vec<&[u8]> = vec![b"AUTH"];
            command.extend(credentials.username.as_deref());
            command.push(&credentials.password);
            outgoing.command(&command).await.map_err(broken)?;
            count += 1;
        }
        if self.database != Some(job.database) {
            let mut digits = itoa::Buffer::new();
            outgoing.command(&[b"SELECT", digits.format(job.database).as_bytes()]).await.map_err(broken)?;
            count += 1;
        }
        outgoing.flush().await.map_err(broken)?;
        for _ in 0..count {
            let refusal = self.read_reply(job.timeout).await?;
            run.refusal = run.refusal.take().or(refusal);
        }
        Ok(())
    }

    /// The next reply: None when it is a status, the text when it is an error.
    async fn read_reply(&mut self, limit: Duration) -> Result<Option<Vec<u8>>, Broken> {
        match self.client.reply(limit).await {
            Ok(Reply::Status(_)) => Ok(None),
            Ok(Reply::Error(mut text)) => {
                text.truncate(ERROR_BYTES_MAX);
                Ok(Some(text))
            }
            // Who answers otherwise is no such server, and must not be taken to have the keys.
            Ok(_) => Err(Broken::new(false, &ErrorKind::InvalidData.into())),
            Err(error) => Err(Broken::new(false, &error)),
        }
    }
}

/// The number at the beginning of the text, as Redis reads a port.
fn port(text: &[u8]) -> Option<u16> {
    let text = text.trim_ascii_start();
    let len = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    std::str::from_utf8(&text[..len]).ok()?.parse().ok()
}

/// RESTORE's argument, 0 for a key that does not expire. None: it has expired.
fn ttl_ms(packed: &PackedKey, now_ms: i64) -> Option<i64> {
    match packed.expire_at_ms {
        None => Some(0),
        Some(at_ms) if at_ms < now_ms => None,
        Some(at_ms) => Some((at_ms - now_ms).max(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_the_number_that_the_text_begins_with() {
        assert_eq!(port(b"6379"), Some(6379));
        assert_eq!(port(b" 80x"), Some(80));
        assert_eq!(port(b"70000"), None);
        assert_eq!(port(b"redis"), None);
    }

    #[test]
    fn what_is_left_of_a_life_is_at_least_a_millisecond() {
        let packed = |expire_at_ms| PackedKey { key: 0, payload: Vec::new(), expire_at_ms };
        assert_eq!(ttl_ms(&packed(None), 100), Some(0));
        assert_eq!(ttl_ms(&packed(Some(150)), 100), Some(50));
        assert_eq!(ttl_ms(&packed(Some(100)), 100), Some(1));
        assert_eq!(ttl_ms(&packed(Some(99)), 100), None);
    }
}
