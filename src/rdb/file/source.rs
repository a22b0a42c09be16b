//! The bytes of a file on their way: as many in memory as the record needs that is being read.
//!
//! A record is read by a function that goes over the bytes which are there, and fails when they end too early; then more are
//! fetched, and it is called again. The buffer only grows with bytes that have come, and each time at least by half, so that
//! however long a record is and whatever length it claims, time and memory stay proportional to its real size.

use std::io::{self, ErrorKind, Read};

use super::super::crc::Crc64;
use super::super::error::{Error, Reason};
use super::super::reader::Reader;

/// The buffer while records are short, bytes.
pub const BUFFER_LEN: usize = 1 << 20;
/// A record that needs more than so many bytes waits for half as many again before it is tried again.
const PATIENCE_LEN: usize = 64 << 10;

/// Why reading stopped.
#[derive(Debug)]
pub enum Stop {
    Io(io::Error),
    /// `at` is the position of what could not be read; the error's is where what it belongs to begins.
    Refused {
        at: u64,
        error: Error,
    },
}

#[derive(Debug)]
pub struct Source<R> {
    input: R,
    buffer: Vec<u8>,
    /// What of the buffer is there and has not been read yet.
    start: usize,
    end: usize,
    /// Position of the buffer's first byte.
    base: u64,
    /// What has been read, up to this place of the buffer, is in the checksum.
    summed: usize,
    crc: Option<Crc64>,
    is_at_end: bool,
    buffer_len: usize,
    /// The input had no more for now ([`ErrorKind::WouldBlock`]): so many unread bytes are to be there before what waits for them is
    /// tried again.
    awaited: Option<usize>,
}

impl<R: Read> Source<R> {
    /// `input` has to answer that it is at its end when the file is: a stream that goes on is to be cut by whoever knows where.
    pub fn new(input: R, with_checksum: bool) -> Source<R> {
        Source::with_buffer(input, with_checksum, BUFFER_LEN)
    }

    pub fn with_buffer(input: R, with_checksum: bool, buffer_len: usize) -> Source<R> {
        Source {
            input,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            base: 0,
            summed: 0,
            crc: with_checksum.then(Crc64::new),
            is_at_end: false,
            buffer_len,
            awaited: None,
        }
    }

    /// How many bytes have been read.
    pub fn position(&self) -> u64 {
        self.base + self.start as u64
    }

    /// The checksum of all that has been read; 0 without.
    pub fn checksum(&mut self) -> u64 {
        self.sum();
        self.crc.as_ref().map_or(0, Crc64::value)
    }

    /// What has been fetched behind what has been read, and where the rest comes from.
    pub fn into_rest(self) -> (Vec<u8>, R) {
        (self.buffer[self.start..self.end].to_vec(), self.input)
    }

    /// Reads one thing. `f` is called again from the start when bytes were missing, and then must not have done anything.
    pub fn parse<T>(&mut self, f: impl FnMut(&mut Reader) -> Result<T, Error>) -> Result<T, Stop> {
        let (value, len) = self.try_parse(f)?;
        self.start += len;
        Ok(value)
    }

    /// As `parse`, but what has been read will be read again.
    pub fn peek<T>(&mut self, f: impl FnMut(&mut Reader) -> Result<T, Error>) -> Result<T, Stop> {
        self.try_parse(f).map(|(value, _)| value)
    }

    #[inline]
    fn try_parse<T>(
        &mut self,
        mut f: impl FnMut(&mut Reader) -> Result<T, Error>,
    ) -> Result<(T, usize), Stop> {
        if let Some(enough) = self.awaited.take() {
            self.fetch(enough).map_err(Stop::Io)?;
        }
        loop {
            let mut reader = Reader::new_at(&self.buffer[self.start..self.end], self.position());
            match f(&mut reader) {
                Ok(value) => return Ok((value, (reader.position() - self.position()) as usize)),
                Err(error) if error.reason == Reason::End && !self.is_at_end => {}
                Err(error) => return Err(Stop::Refused { at: reader.position(), error }),
            }
            let there = self.end - self.start;
            let enough = if there > PATIENCE_LEN { there + there / 2 } else { there + 1 };
            self.fetch(enough).map_err(Stop::Io)?;
        }
    }

    /// Reads, without moving on, what has been fetched already.
    pub fn fetched(&self) -> Reader<'_> {
        Reader::new_at(&self.buffer[self.start..self.end], self.position())
    }

    fn sum(&mut self) {
        if let Some(crc) = &mut self.crc {
            crc.update(&self.buffer[self.summed..self.start]);
        }
        self.summed = self.start;
    }

    /// Fetches more behind what is there, until so many bytes are unread.
    fn fetch(&mut self, enough: usize) -> io::Result<()> {
        self.sum();
        let there = self.end - self.start;
        if self.buffer.is_empty() {
            self.buffer = vec![0; self.buffer_len];
        } else if there <= self.buffer_len / 2 && self.buffer.len() > 4 * self.buffer_len {
            // A long record is over.
            let mut short = vec![0; self.buffer_len];
            short[..there].copy_from_slice(&self.buffer[self.start..self.end]);
            self.buffer = short;
        } else {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
            }
            if there * 2 > self.buffer.len() {
                self.buffer.resize(there * 2, 0);
            }
        }
        self.base += self.start as u64;
        (self.start, self.end, self.summed) = (0, there, 0);
        while self.end < enough && !self.is_at_end {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.is_at_end = true,
                Ok(len) => self.end += len,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    if error.kind() == ErrorKind::WouldBlock {
                        self.awaited = Some(enough);
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = self.1.min(self.0.len()).min(buffer.len());
            buffer[..len].copy_from_slice(&self.0[..len]);
            self.0 = &self.0[len..];
            Ok(len)
        }
    }

    #[test]
    fn records_come_whole_however_the_input_is_cut() {
        let bytes: Vec<u8> = (0..1000u32).map(|i| ((i * 7) >> 2) as u8).collect();
        for buffer_len in [1, 2, 16, 300, 5000] {
            for drip in [1, 3, 1000] {
                let mut source = Source::with_buffer(Drip(&bytes, drip), true, buffer_len);
                let mut read = Vec::new();
                for len in [0, 1, 2, 97, 300, 600] {
                    assert_eq!(
                        source.peek(|reader| reader.take(len).map(<[u8]>::len)).unwrap(),
                        len as usize
                    );
                    read.extend(source.parse(|reader| reader.take(len).map(<[u8]>::to_vec)).unwrap());
                    assert_eq!(source.position(), read.len() as u64);
                    assert_eq!(source.checksum(), super::super::super::crc64(&read));
                }
                assert_eq!(read, bytes);
                let stop = source.parse(|reader| reader.byte()).unwrap_err();
                assert!(matches!(stop, Stop::Refused { at: 1000, error: Error { reason: Reason::End, .. } }));
            }
        }
    }

    /// Has a few bytes now and then, and for the rest of the time none.
    struct Stutter<'a>(Drip<'a>, bool);

    impl Read for Stutter<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.0.read(buffer)
        }
    }

    #[test]
    fn what_waits_for_its_bytes_is_tried_again_when_more_have_come() {
        let bytes: Vec<u8> = (0..400_000u32).map(|i| (i >> 3) as u8).collect();
        let mut source = Source::with_buffer(Stutter(Drip(&bytes, 500), false), true, 64);
        let (mut tries, mut pauses, mut read) = (0, 0, Vec::new());
        for len in [1, 3, 300_000, 0, 99_996] {
            loop {
                let piece = source.parse(|reader| {
                    tries += 1;
                    reader.take(len).map(<[u8]>::to_vec)
                });
                match piece {
                    Ok(piece) => break read.extend(piece),
                    Err(Stop::Io(error)) if error.kind() == ErrorKind::WouldBlock => pauses += 1,
                    Err(stop) => panic!("{stop:?}"),
                }
            }
        }
        assert_eq!(read, bytes);
        assert_eq!(source.checksum(), super::super::super::crc64(&bytes));
        assert!(pauses >= 800, "{pauses}");
        assert!(tries < 400, "the longer it is, the more must come in between: {tries}");
    }

    #[test]
    fn a_claimed_length_alone_takes_no_memory() {
        let mut source = Source::with_buffer(Drip(&[1; 100], 100), true, 64);
        assert!(source.parse(|reader| reader.take(1 << 60).map(drop)).is_err());
        assert!(source.buffer.capacity() <= 400, "{}", source.buffer.capacity());
    }

    #[test]
    fn what_is_behind_the_last_record_is_handed_over() {
        let mut source = Source::with_buffer(&b"abcdefgh"[..], true, 4);
        source.parse(|reader| reader.take(3).map(drop)).unwrap();
        let (fetched, mut input) = source.into_rest();
        let mut rest = fetched;
        input.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"defgh");
    }
}
