//! The operating system's errors as users read them.

use std::io;

/// The text of the operating system's error, without Rust's "(os error N)".
pub fn error_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" (os error ") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}
