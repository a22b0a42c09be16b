//! Intsets: bytes per number (2, 4 or 8), how many there are, and the numbers in ascending order; all little-endian.

const HEADER_LEN: usize = 8;

/// An intset that has been checked. It is not empty.
#[derive(Clone, Copy, Debug)]
pub struct Intset<'a> {
    width: usize,
    numbers: &'a [u8],
}

impl<'a> Intset<'a> {
    /// `None` unless its length is that of the numbers that it announces, which are at least one. Whether they are in order says
    /// [`Intset::ascends`].
    pub fn check(blob: &'a [u8]) -> Option<Intset<'a>> {
        let (header, numbers) = blob.split_first_chunk::<HEADER_LEN>()?;
        let [a, b, c, d, e, f, g, h] = *header;
        let width = u32::from_le_bytes([a, b, c, d]) as usize;
        let count = u32::from_le_bytes([e, f, g, h]) as usize;
        if !matches!(width, 2 | 4 | 8) || count == 0 || count.checked_mul(width)? != numbers.len() {
            return None;
        }
        Some(Intset { width, numbers })
    }

    /// Whether each number is greater than the one before, as they must be.
    pub fn ascends(&self) -> bool {
        self.iter().zip(self.iter().skip(1)).all(|(a, b)| a < b)
    }

    /// Bytes per number.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The numbers alone, each `width` bytes, little-endian.
    pub fn numbers(&self) -> &'a [u8] {
        self.numbers
    }

    pub fn len(&self) -> usize {
        self.numbers.len() / self.width
    }

    pub fn iter(&self) -> impl Iterator<Item = i64> + 'a {
        let width = self.width;
        self.numbers.chunks_exact(width).map(move |bytes| {
            let mut number = [0; 8];
            number[8 - width..].copy_from_slice(bytes);
            i64::from_le_bytes(number) >> (64 - 8 * width)
        })
    }
}
