//! What the answers of a transaction's step are for, and what they come to.

use super::join::{join, prefer};
use super::message::RemoteValue;
use super::plan::{Join, ShardArgs};

#[derive(Debug)]
pub enum Step {
    /// Whole commands, each with a place of its own for its reply; or answers that nothing is made of.
    Commands,
    /// The parts of command `command`.
    Parts { command: usize, parts: Vec<ShardArgs>, join: Join, replies: Vec<(usize, Vec<u8>)> },
    /// The home shard finds out which keys command `command` will look up.
    Reaching { command: usize, home: usize },
    /// Values for command `command` are on their way to the coordinator.
    Copying { command: usize, home: usize, remote_values: Vec<RemoteValue> },
}

/// What all answers of a step come to.
#[derive(Debug)]
pub enum Complete {
    /// Nothing: each was taken as it came.
    Nothing,
    /// The reply of a command, of the replies of its parts.
    Reply { command: usize, reply: Vec<u8> },
    /// The command runs now at `home`, with these values.
    Copied { command: usize, home: usize, remote_values: Vec<RemoteValue> },
}

impl Step {
    pub fn parts(command: usize, parts: Vec<ShardArgs>, join: Join) -> Step {
        Step::Parts { command, parts, join, replies: Vec::new() }
    }

    pub fn copying(command: usize, home: usize) -> Step {
        Step::Copying { command, home, remote_values: Vec::new() }
    }

    /// Takes the reply of a part. Gives back that of a whole command.
    pub fn take_reply(&mut self, from: usize, reply: Vec<u8>) -> Option<Vec<u8>> {
        match self {
            Step::Parts { replies, .. } => {
                replies.push((from, reply));
                None
            }
            _ => Some(reply),
        }
    }

    pub fn take_values(&mut self, values: Vec<RemoteValue>) {
        if let Step::Copying { remote_values, .. } = self {
            remote_values.extend(values);
        }
    }

    /// All answers are there. `preferred`: of command `command`, the shard whose reply is taken where one is enough.
    pub fn complete(&mut self, preferred: impl FnOnce(usize) -> usize) -> Complete {
        match std::mem::replace(self, Step::Commands) {
            Step::Parts { command, parts, join: joining, mut replies } => {
                if joining == Join::OneOf {
                    prefer(preferred(command), &mut replies);
                }
                Complete::Reply { command, reply: join(joining, &parts, replies) }
            }
            Step::Copying { command, home, remote_values } => {
                Complete::Copied { command, home, remote_values }
            }
            Step::Commands | Step::Reaching { .. } => Complete::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_parts_are_joined_and_whole_ones_are_given_back() {
        let mut step = Step::parts(3, Vec::new(), Join::Sum);
        assert!(step.take_reply(0, b":2\r\n".to_vec()).is_none());
        assert!(step.take_reply(1, b":3\r\n".to_vec()).is_none());
        let complete = step.complete(|_| unreachable!("all of them count"));
        assert!(matches!(complete, Complete::Reply { command: 3, reply } if reply == b":5\r\n"));
        assert_eq!(step.take_reply(0, b"+OK\r\n".to_vec()), Some(b"+OK\r\n".to_vec()));
        assert!(matches!(step.complete(|_| 0), Complete::Nothing));
    }

    #[test]
    fn where_one_is_enough_the_preferred_one_is_taken() {
        let mut step = Step::parts(0, Vec::new(), Join::OneOf);
        step.take_reply(0, b"$1\r\na\r\n".to_vec());
        step.take_reply(1, b"$1\r\nb\r\n".to_vec());
        assert!(matches!(step.complete(|_| 1), Complete::Reply { reply, .. } if reply == b"$1\r\nb\r\n"));
    }
}
