//! Connections between servers: bytes arrive later, in order, unless the connection breaks or dies silently, in one direction or in both.

use std::collections::VecDeque;

use super::Random;

pub type ConnectionId = u64;
const DELAY_MAX_MS: u64 = 40;

/// One direction.
#[derive(Debug, Default)]
struct Pipe {
    under_way: VecDeque<(u64, Vec<u8>)>,
    last_ms: u64,
    /// What is sent vanishes, and nobody is told.
    is_dead: bool,
    /// The sender has closed: the receiver learns it then, after what it was sent before.
    closed_ms: Option<u64>,
}

#[derive(Debug)]
pub struct Connection {
    /// Who has made it, and whom it reaches.
    pub ends: [usize; 2],
    /// What each end sends.
    pipes: [Pipe; 2],
    /// Whether each end knows that it is over.
    is_over: [bool; 2],
    /// What it carries in a millisecond; `None`: whatever it is given.
    bytes_in_ms: Option<u64>,
}

impl Connection {
    pub fn new(from: usize, to: usize, bytes_in_ms: Option<u64>) -> Connection {
        Connection { ends: [from, to], pipes: Default::default(), is_over: [false; 2], bytes_in_ms }
    }

    pub fn send(&mut self, end: usize, bytes: &[u8], now_ms: u64, random: &mut Random) {
        let pipe = &mut self.pipes[end];
        if pipe.is_dead || pipe.closed_ms.is_some() || bytes.is_empty() {
            return;
        }
        let len = bytes.len() as u64;
        pipe.last_ms = match self.bytes_in_ms {
            None => pipe.last_ms.max(now_ms + 1 + random.below(DELAY_MAX_MS)),
            Some(rate) => pipe.last_ms.max(now_ms) + 1 + len / rate,
        };
        // The network cuts where it likes.
        let at = random.below(bytes.len() as u64 + 1) as usize;
        for piece in [&bytes[..at], &bytes[at..]] {
            if !piece.is_empty() {
                pipe.under_way.push_back((pipe.last_ms, piece.to_vec()));
            }
        }
    }

    /// What arrives at this end now.
    pub fn receive(&mut self, end: usize, now_ms: u64) -> Option<Vec<u8>> {
        if self.is_over[end] {
            return None;
        }
        let pipe = &mut self.pipes[1 - end];
        pipe.under_way.front().filter(|(at, _)| *at <= now_ms)?;
        pipe.under_way.pop_front().map(|(_, bytes)| bytes)
    }

    /// Bytes that this end has sent and that have not arrived.
    pub fn under_way(&self, end: usize) -> usize {
        self.pipes[end].under_way.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// What one or both ends send vanishes from now on.
    pub fn die(&mut self, ends: &[usize]) {
        ends.iter().for_each(|end| self.pipes[*end].is_dead = true);
    }

    /// Breaks: what is under way is lost, and both ends learn of it soon, unless it is dead.
    pub fn cut(&mut self, now_ms: u64) {
        for end in 0..2 {
            self.pipes[end].under_way.clear();
            self.close(end, now_ms);
        }
    }

    /// One end closes. The other one still gets what it was sent before, as a rule.
    pub fn close(&mut self, end: usize, now_ms: u64) {
        let pipe = &mut self.pipes[end];
        if pipe.closed_ms.is_none() && !pipe.is_dead {
            pipe.last_ms = pipe.last_ms.max(now_ms + 1);
            pipe.closed_ms = Some(pipe.last_ms);
        }
    }

    /// This end has closed it, and wants nothing of it any more.
    pub fn close_own(&mut self, end: usize, now_ms: u64) {
        self.close(end, now_ms);
        self.is_over[end] = true;
        self.pipes[1 - end].under_way.clear();
    }

    /// Whether this end learns now that it is closed; once.
    pub fn is_closed(&mut self, end: usize, now_ms: u64) -> bool {
        let pipe = &self.pipes[1 - end];
        let is_over = pipe.closed_ms.is_some_and(|at| at <= now_ms) && pipe.under_way.is_empty();
        is_over && !std::mem::replace(&mut self.is_over[end], true)
    }

    pub fn is_open(&self) -> bool {
        self.pipes.iter().all(|pipe| pipe.closed_ms.is_none() && !pipe.is_dead)
    }
}
