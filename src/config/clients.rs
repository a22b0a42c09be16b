//! What clients may hold of the server's memory: output buffers by class, and all of them together.

use super::directive::{Field, Reason, Rule, Source};
use super::values::{integer, memory_size, memory_text, one};

/// When a client that does not read its replies is disconnected. Zero means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputBufferLimit {
    /// At once beyond this.
    pub hard_bytes: u64,
    /// Beyond this for `soft_seconds` without a break.
    pub soft_bytes: u64,
    pub soft_seconds: u64,
}

/// `client-output-buffer-limit`: a limit for each class of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputBufferLimits {
    pub normal: OutputBufferLimit,
    pub replica: OutputBufferLimit,
    pub pubsub: OutputBufferLimit,
}

impl Default for OutputBufferLimits {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            normal: OutputBufferLimit::default(),
            replica: OutputBufferLimit { hard_bytes: 256 * MIB, soft_bytes: 64 * MIB, soft_seconds: 60 },
            pubsub: OutputBufferLimit { hard_bytes: 32 * MIB, soft_bytes: 8 * MIB, soft_seconds: 60 },
        }
    }
}

impl OutputBufferLimits {
    /// The name of a class as it is written now.
    fn class(name: &[u8]) -> Option<&'static str> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Some("normal"),
            b"slave" | b"replica" => Some("replica"),
            b"pubsub" => Some("pubsub"),
            _ => None,
        }
    }

    fn class_mut(&mut self, name: &[u8]) -> Option<&mut OutputBufferLimit> {
        match Self::class(name)? {
            "normal" => Some(&mut self.normal),
            "replica" => Some(&mut self.replica),
            _ => Some(&mut self.pubsub),
        }
    }
}

impl Field for OutputBufferLimits {
    fn text(&self, _: &Rule) -> Vec<u8> {
        // CONFIG GET keeps the old word for replicas, which clients may look for.
        let classes = [("normal", self.normal), ("slave", self.replica), ("pubsub", self.pubsub)];
        let texts: Vec<String> = classes
            .iter()
            .map(|(name, limit)| {
                format!("{name} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_seconds)
            })
            .collect();
        texts.join(" ").into_bytes()
    }

    /// Takes `<class> <hard> <soft> <soft seconds>`, any number of times; classes that are not named keep theirs.
    fn assign(&mut self, args: &[Vec<u8>], _: &Rule, _: Source) -> Result<(), Reason> {
        if !args.len().is_multiple_of(4) {
            return Err("Wrong number of arguments in buffer limit configuration.".into());
        }
        for group in args.chunks_exact(4) {
            let class = self
                .class_mut(&group[0])
                .ok_or("Invalid client class specified in buffer limit configuration.")?;
            let seconds = integer(&group[3]).and_then(|seconds| u32::try_from(seconds).ok());
            let (Some(hard_bytes), Some(soft_bytes), Some(seconds)) =
                (memory_size(&group[1]), memory_size(&group[2]), seconds)
            else {
                return Err(
                    "Error in hard, soft or soft_seconds setting in buffer limit configuration.".into()
                );
            };
            *class = OutputBufferLimit { hard_bytes, soft_bytes, soft_seconds: seconds.into() };
        }
        Ok(())
    }

    fn lines(&self, _: &Rule) -> Vec<Vec<u8>> {
        let line = |name: &str, limit: &OutputBufferLimit| {
            let mut line = name.as_bytes().to_vec();
            for bytes in [limit.hard_bytes, limit.soft_bytes] {
                line.push(b' ');
                line.extend(memory_text(bytes.into()));
            }
            line.extend(format!(" {}", limit.soft_seconds).into_bytes());
            line
        };
        vec![line("normal", &self.normal), line("replica", &self.replica), line("pubsub", &self.pubsub)]
    }

    fn subject(&self, args: &[Vec<u8>]) -> &'static str {
        args.first().and_then(|class| Self::class(class)).unwrap_or_default()
    }
}

/// `maxmemory-clients`: what all clients together may use; 0 for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMemoryLimit {
    Bytes(u64),
    /// Of `maxmemory`.
    Percent(u8),
}

impl ClientMemoryLimit {
    /// The limit in bytes; None when there is none.
    pub fn bytes(self, maxmemory: u64) -> Option<u64> {
        match self {
            ClientMemoryLimit::Bytes(0) => None,
            ClientMemoryLimit::Bytes(bytes) => Some(bytes),
            ClientMemoryLimit::Percent(_) if maxmemory == 0 => None,
            ClientMemoryLimit::Percent(percent) => {
                Some((u128::from(maxmemory) * u128::from(percent) / 100) as u64)
            }
        }
    }
}

impl Field for ClientMemoryLimit {
    fn text(&self, _: &Rule) -> Vec<u8> {
        match self {
            ClientMemoryLimit::Bytes(bytes) => bytes.to_string().into_bytes(),
            ClientMemoryLimit::Percent(percent) => format!("{percent}%").into_bytes(),
        }
    }

    fn assign(&mut self, args: &[Vec<u8>], _: &Rule, _: Source) -> Result<(), Reason> {
        const BYTES_MAX: u64 = i64::MAX as u64;
        let word = one(args)?;
        if let Some(bytes) = memory_size(word) {
            if bytes > BYTES_MAX {
                return Err(format!("argument must be between -100 and {BYTES_MAX} inclusive").into());
            }
            *self = ClientMemoryLimit::Bytes(bytes);
            return Ok(());
        }
        *self = match word.strip_suffix(b"%").and_then(integer) {
            Some(0) => ClientMemoryLimit::Bytes(0),
            Some(percent @ 1..=100) => ClientMemoryLimit::Percent(percent as u8),
            Some(percent) if percent > 100 => {
                return Err("percentage argument must be less or equal to 100".into())
            }
            _ => return Err("argument must be a memory or percent value".into()),
        };
        Ok(())
    }

    fn lines(&self, rule: &Rule) -> Vec<Vec<u8>> {
        match self {
            ClientMemoryLimit::Bytes(bytes) => vec![memory_text((*bytes).into())],
            ClientMemoryLimit::Percent(_) => vec![self.text(rule)],
        }
    }
}
