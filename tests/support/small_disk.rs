//! A small file system of one test's own, which it can fill.
//!
//! It is mounted in a name space of the calling thread: nobody else sees it, servers that this thread starts do, and it goes with the last
//! of them. Only root may do that.

use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};
use std::ptr::null;

pub struct SmallDisk {
    dir: PathBuf,
}

impl SmallDisk {
    /// A tmpfs of so many bytes. None, and a line that says why, where the machine does not allow it.
    pub fn mount(size_bytes: u64) -> Option<SmallDisk> {
        let dir = super::server::temporary_dir();
        match mount_tmpfs(&dir, size_bytes) {
            Ok(()) => Some(SmallDisk { dir }),
            Err(error) => {
                let _ = std::fs::remove_dir(&dir);
                eprintln!("SKIPPED: no file system can be mounted here: {error}");
                None
            }
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Everything in it, relative to it.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.dir.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("the folder can be read").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(path) = path.strip_prefix(&self.dir) {
                    found.push(path.to_owned());
                }
            }
        }
        found
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Ok(target) = CString::new(self.dir.as_os_str().as_encoded_bytes()) {
            // SAFETY: reads a string that ends with a zero byte.
            unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
        }
        let _ = std::fs::remove_dir(&self.dir);
    }
}

fn mount_tmpfs(dir: &Path, size_bytes: u64) -> io::Result<()> {
    let checked = |status: libc::c_int| match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    let target = CString::new(dir.as_os_str().as_encoded_bytes())?;
    let options = CString::new(format!("size={size_bytes}"))?;
    // SAFETY: the strings end with zero bytes and outlive the calls; what they change is this thread's own view of
    // the file system.
    unsafe {
        checked(libc::unshare(libc::CLONE_NEWNS))?;
        let private = libc::MS_REC | libc::MS_PRIVATE;
        checked(libc::mount(null(), c"/".as_ptr(), null(), private, null()))?;
        let tmpfs = c"tmpfs".as_ptr();
        checked(libc::mount(tmpfs, target.as_ptr(), tmpfs, 0, options.as_ptr().cast()))
    }
}
