//! The arguments of a request: borrowed from the input, or owned while the command travels or waits.

use smallvec::SmallVec;

/// The arguments of a request; the command's name is the first.
pub type Args<'a> = &'a [&'a [u8]];

pub type Slices<'a> = SmallVec<[&'a [u8]; 8]>;

/// The arguments of one command, in one piece of memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedArgs {
    bytes: Vec<u8>,
    ends: SmallVec<[usize; 4]>,
}

impl OwnedArgs {
    pub fn from_slices(args: &[&[u8]]) -> Self {
        let mut owned = OwnedArgs::default();
        owned.bytes.reserve_exact(args.iter().map(|a| a.len()).sum());
        for arg in args {
            owned.push(arg);
        }
        owned
    }

    pub fn push(&mut self, arg: &[u8]) {
        self.bytes.extend_from_slice(arg);
        self.ends.push(self.bytes.len());
    }

    pub fn slices(&self) -> Slices<'_> {
        let mut start = 0;
        self.ends
            .iter()
            .map(|end| {
                let arg = &self.bytes[start..*end];
                start = *end;
                arg
            })
            .collect()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
}
