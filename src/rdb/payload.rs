//! The payloads of DUMP and RESTORE: type, value, version of the format (16 bits), checksum of all that (64 bits); both
//! little-endian. Those of FUNCTION DUMP are libraries, sealed in the same way.

use super::build::{decode_value, Checks};
use super::crc::crc64;
use super::encode::{Encoder, Format};
use super::error::{Error, Reason};
use super::file::{Opcode, KEY_META};
use super::is_readable;
use super::kind::code;
use super::reader::Reader;
use crate::store::{Detached, Settings, Value};

const CHECKSUM_LEN: usize = 8;
const VERSION_LEN: usize = 2;

/// Why a payload cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayloadError {
    /// Too short, of a version that cannot be read, or damaged on its way.
    VersionOrChecksum,
    /// `kind` is the type, by its number.
    Value { kind: u8, error: Error },
}

/// What DUMP answers.
pub fn dump(value: &Value, format: Format) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut encoder = Encoder::new(format);
    payload.push(encoder.kind(value) as u8);
    encoder.value(value, &mut payload);
    seal(&mut payload, format);
    payload
}

/// Puts version and checksum behind what is in a payload.
pub fn seal(payload: &mut Vec<u8>, format: Format) {
    payload.extend_from_slice(&format.version.number().to_le_bytes());
    let checksum = crc64(payload);
    payload.extend_from_slice(&checksum.to_le_bytes());
}

/// The value in a payload. Bytes behind it, as Redis lets them be, are not looked at.
pub fn restore(payload: &[u8], settings: &Settings, checks: Checks) -> Result<Detached, PayloadError> {
    let body = unsealed(payload, settings.skips_checksums).ok_or(PayloadError::VersionOrChecksum)?;
    let mut reader = Reader::new(body);
    let Ok(number) = reader.byte() else {
        return Err(PayloadError::Value { kind: 0, error: Reason::End.at(0) });
    };
    if number == Opcode::KeyMeta as u8 {
        return Err(PayloadError::Value { kind: number, error: KEY_META.at(0) });
    }
    // There is no signature here: the version tells the families apart.
    let version = version_of(payload).ok_or(PayloadError::VersionOrChecksum)?;
    let kind = code(number, version).unwrap_or(number);
    decode_value(kind, &mut reader, settings, checks).map_err(|error| PayloadError::Value { kind, error })
}

fn version_of(payload: &[u8]) -> Option<u16> {
    let (checked, _) = payload.split_last_chunk::<CHECKSUM_LEN>()?;
    checked.last_chunk::<VERSION_LEN>().map(|version| u16::from_le_bytes(*version))
}

/// What is in a payload, when its version and checksum are right.
pub fn unsealed(payload: &[u8], skips_checksum: bool) -> Option<&[u8]> {
    let (checked, checksum) = payload.split_last_chunk::<CHECKSUM_LEN>()?;
    let (body, version) = checked.split_last_chunk::<VERSION_LEN>()?;
    let is_right = is_readable(u16::from_le_bytes(*version))
        && (skips_checksum || crc64(checked) == u64::from_le_bytes(*checksum));
    is_right.then_some(body)
}
