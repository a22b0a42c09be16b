//! A master's snapshot on its way into a file. A thread writes, so that nothing here waits for the disk.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{channel, Receiver, Sender};
use tokio::sync::{oneshot, Notify};

use crate::base::error_text;
use crate::runtime::clock;

/// Pieces that wait for the disk; from then on the master waits.
const PIECES_MAX: usize = 16;

/// The file goes with it.
pub struct PayloadFile {
    path: PathBuf,
    pieces: Option<Sender<Bytes>>,
    /// What has found no room.
    held: Vec<Bytes>,
    ended: oneshot::Receiver<Result<(), String>>,
    pub bytes: u64,
}

impl PayloadFile {
    pub fn create(woken: Arc<Notify>) -> io::Result<PayloadFile> {
        let path = PathBuf::from(format!("temp-{}.{}.rdb", clock::unix_us(), std::process::id()));
        let file = File::options().write(true).create_new(true).open(&path)?;
        let (pieces, receiver) = channel(PIECES_MAX);
        let (end, ended) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let written = write_all(file, receiver, &woken);
            let _ = end.send(written.map_err(|error| error_text(&error)));
            woken.notify_one();
        });
        Ok(PayloadFile { path, pieces: Some(pieces), held: Vec::new(), ended, bytes: 0 })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn push(&mut self, bytes: Bytes) {
        self.bytes += bytes.len() as u64;
        self.held.push(bytes);
        self.give();
    }

    /// Hands over what the thread takes. True: it has all.
    pub fn give(&mut self) -> bool {
        let Some(pieces) = &self.pieces else { return true };
        let mut given = 0;
        for piece in &self.held {
            match pieces.try_send(piece.clone()) {
                Ok(()) => given += 1,
                Err(TrySendError::Full(_)) => break,
                // It has failed, and says so at the end.
                Err(TrySendError::Closed(_)) => given = self.held.len(),
            }
        }
        self.held.drain(..given.min(self.held.len()));
        self.held.is_empty()
    }

    /// All has come; `Some`: all has been written, or cannot be.
    pub fn end(&mut self) -> Option<Result<(), String>> {
        if !self.give() {
            return None;
        }
        self.pieces = None;
        match self.ended.try_recv() {
            Ok(result) => Some(result),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err("the thread that writes is gone".into())),
        }
    }
}

impl Drop for PayloadFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn write_all(mut file: File, mut pieces: Receiver<Bytes>, woken: &Notify) -> io::Result<()> {
    while let Some(piece) = pieces.blocking_recv() {
        file.write_all(&piece)?;
        woken.notify_one();
    }
    Ok(())
}
