//! Checks of single values that their types do not make.

use super::directive::Reason;
use super::title;
use std::ffi::CString;

/// The longest host name, bytes, end mark included.
const HOST_NAME_MAX: usize = 256;

fn is_base_name(path: &[u8]) -> bool {
    !path.contains(&b'/') && !path.contains(&b'\\')
}

pub fn dbfilename(name: &[u8]) -> Result<(), Reason> {
    if !is_base_name(name) {
        return Err("dbfilename can't be a path, just a filename".into());
    }
    Ok(())
}

pub fn appendfilename(name: &[u8]) -> Result<(), Reason> {
    if name.is_empty() {
        return Err("appendfilename can't be empty".into());
    }
    if !is_base_name(name) {
        return Err("appendfilename can't be a path, just a filename".into());
    }
    Ok(())
}

pub fn appenddirname(name: &[u8]) -> Result<(), Reason> {
    if name.is_empty() {
        return Err("appenddirname can't be empty".into());
    }
    if !is_base_name(name) {
        return Err("appenddirname can't be a path, just a dirname".into());
    }
    Ok(())
}

pub fn hostname(name: &[u8]) -> Result<(), Reason> {
    if name.len() >= HOST_NAME_MAX {
        return Err(format!("Hostnames must be less than {HOST_NAME_MAX} characters").into());
    }
    if !name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
        return Err("Hostnames may only contain alphanumeric characters, hyphens or dots".into());
    }
    Ok(())
}

/// The name goes into nodes.conf between commas and equal signs.
pub fn nodename(name: &[u8]) -> Result<(), Reason> {
    const REFUSED: &[u8] = b"!#$%&()*+:;<>?@[]^{|}~\0";
    if name.iter().any(|byte| REFUSED.contains(byte)) {
        return Err("Announced human node name contained invalid character".into());
    }
    Ok(())
}

pub fn proc_title_template(template: &[u8]) -> Result<(), Reason> {
    if !title::is_valid(template) {
        return Err("template format is invalid or contains unknown variables".into());
    }
    Ok(())
}

pub fn locale(name: &[u8]) -> Result<(), Reason> {
    let known = CString::new(name).is_ok_and(|name| crate::runtime::sys::locale_exists(&name));
    if !known {
        return Err("Invalid locale name".into());
    }
    Ok(())
}
