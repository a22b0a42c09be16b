//! Connections between servers: bytes arrive later, in order, unless the connection breaks or dies silently.

use std::collections::VecDeque;

use super::Random;

pub type ConnectionId = u64;
const DELAY_MAX_MS: u64 = 40;

/// One direction.
#[derive(Debug, Default)]
struct Pipe {
    under_way: VecDeque<(u64, Vec<u8>)>,
    last_ms: u64,
}

#[derive(Debug)]
pub struct Connection {
    /// Who has made it, and whom it reaches.
    pub ends: [usize; 2],
    pipes: [Pipe; 2],
    /// Bytes vanish, and nobody is told.
    pub is_dead: bool,
    /// When each end learns that it is closed.
    closed_ms: Option<u64>,
    told: [bool; 2],
}

impl Connection {
    pub fn new(from: usize, to: usize) -> Connection {
        Connection {
            ends: [from, to],
            pipes: Default::default(),
            is_dead: false,
            closed_ms: None,
            told: [false; 2],
        }
    }

    pub fn send(&mut self, end: usize, bytes: &[u8], now_ms: u64, random: &mut Random) {
        if self.is_dead || self.closed_ms.is_some() || bytes.is_empty() {
            return;
        }
        let pipe = &mut self.pipes[end];
        pipe.last_ms = pipe.last_ms.max(now_ms + 1 + random.below(DELAY_MAX_MS));
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
        let pipe = &mut self.pipes[1 - end];
        pipe.under_way.front().filter(|(at, _)| *at <= now_ms)?;
        pipe.under_way.pop_front().map(|(_, bytes)| bytes)
    }

    /// Bytes that this end has sent and that have not arrived.
    pub fn under_way(&self, end: usize) -> usize {
        self.pipes[end].under_way.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// Breaks: what is under way is lost, and both ends learn of it soon.
    pub fn close(&mut self, now_ms: u64) {
        if self.closed_ms.is_none() {
            self.closed_ms = Some(now_ms + 1);
            self.pipes = Default::default();
        }
    }

    /// Whether this end learns now that it is closed; once.
    pub fn is_closed(&mut self, end: usize, now_ms: u64) -> bool {
        let is_over = !self.is_dead && self.closed_ms.is_some_and(|at| at <= now_ms);
        is_over && !std::mem::replace(&mut self.told[end], true)
    }

    pub fn is_open(&self) -> bool {
        self.closed_ms.is_none()
    }
}
