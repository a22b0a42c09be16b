//! Reads an RDB file record by record, without knowing what to do with any of them.
//!
//! What a file says between its keys is handed out as it comes. A key is handed out as its [`KeyHead`], and key and value are
//! to be read next, by [`FileReader::key`], or are passed over.

use std::io::{ErrorKind, Read};

use super::super::error::{Error, Reason};
use super::super::kind::{code, module_name, RdbType};
use super::super::reader::Reader;
use super::super::skip::{skip, skip_module_data, skip_single};
use super::super::{is_readable, OLDEST_VALKEY};
use super::failure::{Cause, Doing, Failure};
use super::opcode::{Opcode, HASH_TEMPLATES, KEY_META, SLOT_IMPORT};
use super::source::{Source, Stop};

/// `REDIS` and four digits, or `VALKEY` and three.
const SIGNATURE_LEN: u64 = 9;
/// Files before it have no checksum.
const CHECKSUM_SINCE: u16 = 5;
/// What stands before the number that tells when a module wrote its data.
const MODULE_UNSIGNED: u64 = 2;
/// An expiry that says that there is none.
const NO_EXPIRY: i64 = -1;

/// One thing in a file.
#[derive(Debug)]
pub enum Record {
    /// A field that a server wrote for whoever knows it.
    Aux {
        name: Vec<u8>,
        value: Vec<u8>,
    },
    /// The keys that follow are of this database.
    SelectDb(u64),
    /// The database has so many keys, so many of them with an expiry. A hint.
    ResizeDb {
        keys: u64,
        volatile: u64,
    },
    /// The source of a library of functions.
    Function(Vec<u8>),
    /// Data of this module, which have been passed over.
    ModuleAux {
        module: String,
        /// Position of the data.
        data_at: u64,
    },
    /// The keys that follow are of this slot. A hint.
    SlotInfo {
        slot: u64,
        keys: u64,
        volatile: u64,
    },
    /// A key: to be read by [`FileReader::key`].
    Key(KeyHead),
    End(Checksum),
}

/// What is told about a key in front of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyHead {
    /// The type of its value, by its code ([`code`]).
    pub kind: u8,
    pub db: u64,
    /// Unix time, milliseconds.
    pub expire_at: Option<i64>,
    /// How long it had not been used, seconds.
    pub idle_s: Option<u64>,
    /// Its LFU counter.
    pub frequency: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    Right,
    /// The file was written without.
    Absent,
    /// The file is too old to have one, or nobody wants to know.
    NotChecked,
}

#[derive(Debug)]
pub struct FileReader<R> {
    source: Source<R>,
    is_verified: bool,
    version: u16,
    doing: Doing,
    /// What has been told so far of the key that comes next, or of the one that is next.
    head: KeyHead,
    /// `head` has been handed out, and its key is to be read or passed over.
    is_at_key: bool,
    /// What has been read, while what follows it has not.
    opcode: Option<Opcode>,
    is_over: bool,
}

impl<R: Read> FileReader<R> {
    /// Begins to read: the signature tells whether it is a file that can be read. `with_checksum` is `rdbchecksum`. `input` ends
    /// where the file does, or at least answers then that it is at its end; what is behind the file is left alone.
    pub fn open(input: R, with_checksum: bool) -> Result<FileReader<R>, Failure> {
        FileReader::of_source(Source::new(input, with_checksum), with_checksum)
    }

    pub(super) fn of_source(source: Source<R>, is_verified: bool) -> Result<FileReader<R>, Failure> {
        let mut reader = FileReader::unopened(source, is_verified);
        reader.read_signature()?;
        Ok(reader)
    }

    /// Begins to read an input that may have nothing for now ([`Failure::is_pause`]): the first record comes behind the signature.
    pub fn begin(input: R, with_checksum: bool) -> FileReader<R> {
        FileReader::unopened(Source::new(input, with_checksum), with_checksum)
    }

    fn unopened(source: Source<R>, is_verified: bool) -> FileReader<R> {
        FileReader {
            source,
            is_verified,
            version: 0,
            doing: Doing::Start,
            head: KeyHead::default(),
            is_at_key: false,
            opcode: None,
            is_over: false,
        }
    }

    fn read_signature(&mut self) -> Result<(), Failure> {
        let signature: [u8; SIGNATURE_LEN as usize] = self.parse(|reader| reader.array())?;
        self.version = version_of(&signature).map_err(|cause| self.failure(cause))?;
        Ok(())
    }

    /// The version of the format.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        self.source.position()
    }

    /// Behind the end of the file: what has been fetched already, and where the rest comes from.
    pub fn into_rest(self) -> (Vec<u8>, R) {
        self.source.into_rest()
    }

    /// The next record. After the end, and after a failure, there is none.
    #[allow(clippy::should_implement_trait)] // an iterator of results would go on after a failure
    pub fn next(&mut self) -> Result<Record, Failure> {
        if self.version == 0 && !self.is_over {
            self.read_signature()?;
        }
        if self.is_at_key {
            self.skip_key()?;
        }
        if self.is_over {
            return Err(self.failure(Cause::Data(Reason::End.at(self.position()))));
        }
        loop {
            if let Some(opcode) = self.opcode {
                // Bytes may be missing: then it is this one's turn again.
                let record = self.opcode(opcode)?;
                self.opcode = None;
                match record {
                    Some(record) => return Ok(record),
                    None => continue,
                }
            }
            self.doing = Doing::Type;
            let byte = self.parse(|reader| reader.byte())?;
            self.opcode = Opcode::of_byte(byte);
            if self.opcode.is_none() {
                let Some(kind) = code(byte, self.version) else {
                    return Err(self.failure(Cause::Type(byte)));
                };
                self.head.kind = kind;
                self.is_at_key = true;
                return Ok(Record::Key(self.head));
            }
        }
    }

    /// What follows an opcode; `None` when it tells about the next key.
    fn opcode(&mut self, opcode: Opcode) -> Result<Option<Record>, Failure> {
        Ok(Some(match opcode {
            Opcode::ExpireTime => {
                self.doing = Doing::Expire;
                let seconds = i32::from_le_bytes(self.parse(|reader| reader.array())?);
                self.head.expire_at = Some(seconds as i64 * 1000);
                return Ok(None);
            }
            Opcode::ExpireTimeMs => {
                self.doing = Doing::Expire;
                let at_ms = self.parse(|reader| reader.time_ms())?;
                self.head.expire_at = Some(at_ms).filter(|at_ms| *at_ms != NO_EXPIRY);
                return Ok(None);
            }
            Opcode::Frequency => {
                self.head.frequency = Some(self.parse(|reader| reader.byte())?);
                return Ok(None);
            }
            Opcode::Idle => {
                self.head.idle_s = Some(self.parse(|reader| reader.length())?);
                return Ok(None);
            }
            Opcode::SelectDb => {
                self.doing = Doing::Length;
                self.head.db = self.parse(|reader| reader.length())?;
                Record::SelectDb(self.head.db)
            }
            Opcode::ResizeDb => {
                self.doing = Doing::Length;
                let (keys, volatile) = self.parse(|reader| Ok((reader.length()?, reader.length()?)))?;
                Record::ResizeDb { keys, volatile }
            }
            Opcode::SlotInfo => {
                self.doing = Doing::Length;
                let (slot, keys, volatile) =
                    self.parse(|reader| Ok((reader.length()?, reader.length()?, reader.length()?)))?;
                Record::SlotInfo { slot, keys, volatile }
            }
            Opcode::KeyMeta => {
                let reason = if self.version >= OLDEST_VALKEY { SLOT_IMPORT } else { KEY_META };
                return Err(self.unsupported(reason));
            }
            Opcode::HashTemplates => return Err(self.unsupported(HASH_TEMPLATES)),
            Opcode::Aux => {
                self.doing = Doing::Aux;
                let (name, value) =
                    self.parse(|reader| Ok((reader.blob()?.into_owned(), reader.blob()?.into_owned())))?;
                Record::Aux { name, value }
            }
            Opcode::ModuleAux => self.module_aux()?,
            Opcode::Function2 => {
                self.doing = Doing::Functions;
                Record::Function(self.parse(|reader| Ok(reader.blob()?.into_owned()))?)
            }
            Opcode::FunctionBeforeRelease => return Err(self.failure(Cause::FunctionBeforeRelease)),
            Opcode::End => {
                let checksum = self.check_sum()?;
                self.is_over = true;
                Record::End(checksum)
            }
        }))
    }

    /// What follows an opcode cannot be passed over.
    fn unsupported(&mut self, reason: Reason) -> Failure {
        self.failure(Cause::Data(reason.at(self.position())))
    }

    fn module_aux(&mut self) -> Result<Record, Failure> {
        self.doing = Doing::ModuleAux;
        let (identifier, when_kind, data_at) = self.parse(|reader| {
            let (identifier, when_kind) = (reader.length()?, reader.length()?);
            reader.length()?;
            let data_at = reader.position();
            if when_kind == MODULE_UNSIGNED {
                skip_module_data(reader)?;
            }
            Ok((identifier, when_kind, data_at))
        })?;
        if when_kind != MODULE_UNSIGNED {
            return Err(self.failure(Cause::ModuleAuxWhen));
        }
        Ok(Record::ModuleAux { module: module_name(identifier), data_at })
    }

    fn check_sum(&mut self) -> Result<Checksum, Failure> {
        if self.version < CHECKSUM_SINCE {
            return Ok(Checksum::NotChecked);
        }
        let computed = self.source.checksum();
        self.doing = Doing::Checksum;
        let stored = u64::from_le_bytes(self.parse(|reader| reader.array())?);
        if !self.is_verified {
            Ok(Checksum::NotChecked)
        } else if stored == 0 {
            Ok(Checksum::Absent)
        } else if stored == computed {
            Ok(Checksum::Right)
        } else {
            Err(self.failure(Cause::Checksum { computed, stored }))
        }
    }

    /// Reads the key that [`FileReader::next`] has just announced, with its value, which `f` takes from the reader. `f` is called again
    /// when it came to the end of the bytes that were there, and must not have done anything then.
    pub fn key<T>(
        &mut self,
        mut f: impl FnMut(&KeyHead, &[u8], &mut Reader) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        if !self.is_at_key {
            return Err(self.failure(Cause::Data(Reason::End.at(self.position()))));
        }
        self.doing = Doing::Value;
        let head = self.head;
        let mut digits = itoa::Buffer::new();
        let read = self.source.parse(|reader| {
            let key = reader.string()?;
            f(&head, key.bytes(&mut digits), reader)
        });
        match read {
            Ok(value) => {
                self.is_at_key = false;
                self.head = KeyHead { db: head.db, ..KeyHead::default() };
                Ok(value)
            }
            Err(stop) => Err(self.stopped(stop)),
        }
    }

    /// Calls `each` with the key that [`FileReader::next`] has announced and those behind it, at most `count`, and their positions, as
    /// far as they have been fetched and nothing but small values is between them. What is damaged shows later.
    pub fn prefetch_table(&self, count: usize, each: &mut dyn FnMut(u64, &[u8])) {
        let mut reader = self.source.fetched();
        let mut digits = itoa::Buffer::new();
        let mut kind = self.head.kind;
        for _ in 0..count {
            let at = reader.position();
            let Ok(key) = reader.string() else { return };
            each(at, key.bytes(&mut digits));
            let next = skip_single(kind, &mut reader).and_then(|()| next_kind(&mut reader, self.version));
            let Some(next) = next else { return };
            kind = next;
        }
    }

    /// Passes over the key that [`FileReader::next`] has announced.
    pub fn skip_key(&mut self) -> Result<(), Failure> {
        self.key(|head, _, reader| skip(head.kind, reader))
    }

    /// The failure of whoever does not want to read on, because the type of the key that comes next is none.
    pub fn type_failure(&mut self) -> Failure {
        self.is_at_key = false;
        self.failure(Cause::Type(self.head.kind))
    }

    fn parse<T>(&mut self, f: impl FnMut(&mut Reader) -> Result<T, Error>) -> Result<T, Failure> {
        self.source.parse(f).map_err(|stop| self.stopped(stop))
    }

    fn stopped(&mut self, stop: Stop) -> Failure {
        let (at, cause) = match stop {
            // Whatever was under way goes on later.
            Stop::Io(error) if error.kind() == ErrorKind::WouldBlock => {
                let (position, doing) = (self.position(), self.doing);
                return Failure { position, doing, key: None, kind: None, cause: Cause::Io(error) };
            }
            Stop::Io(error) => (self.position(), Cause::Io(error)),
            Stop::Refused { at, error } => (at, Cause::Data(error)),
        };
        let mut failure = self.failure(cause);
        failure.position = at;
        failure
    }

    /// A failure here.
    pub(super) fn failure(&mut self, cause: Cause) -> Failure {
        self.is_over = true;
        let mut failure =
            Failure { position: self.position(), doing: self.doing, key: None, kind: None, cause };
        if std::mem::take(&mut self.is_at_key) {
            failure.kind = Some(self.head.kind);
            // The key again, which may be what cannot be read.
            match self.source.peek(|reader| Ok(reader.blob()?.into_owned())) {
                Ok(key) => failure.key = Some(key),
                Err(_) => failure.doing = Doing::Key,
            }
        }
        failure
    }
}

/// The type of the value that comes next, when nothing is told in between but about its key.
fn next_kind(reader: &mut Reader, version: u16) -> Option<u8> {
    loop {
        let byte = reader.byte().ok()?;
        match Opcode::of_byte(byte) {
            None => return code(byte, version),
            Some(Opcode::ExpireTimeMs) => drop(reader.time_ms().ok()?),
            Some(Opcode::Frequency) => drop(reader.byte().ok()?),
            Some(Opcode::Idle) => drop(reader.length().ok()?),
            Some(_) => return None,
        }
    }
}

/// Whether the code of a type is that of some value, of a module's too, or of one that is refused by name.
pub fn is_value_type(number: u8) -> bool {
    RdbType::is_known(number)
}

fn version_of(signature: &[u8; SIGNATURE_LEN as usize]) -> Result<u16, Cause> {
    let (digits, is_valkey) = match (signature.strip_prefix(b"REDIS"), signature.strip_prefix(b"VALKEY")) {
        (Some(digits), _) => (digits, false),
        (_, Some(digits)) => (digits, true),
        _ => return Err(Cause::Signature),
    };
    let is_digit = |digit: &&u8| digit.is_ascii_digit();
    let number =
        digits.iter().take_while(is_digit).fold(0, |number, digit| number * 10 + (digit - b'0') as u32);
    let version = u16::try_from(number).ok().filter(|version| *version >= 1 && is_readable(*version));
    version.filter(|version| (*version >= OLDEST_VALKEY) == is_valkey).ok_or(Cause::Version(number))
}
