//! The connection to a master: a task that connects and reads, and one that writes.
//!
//! What comes waits in a short queue. The follower takes from it while it has a use for more; otherwise the task waits, and then the
//! master, as TCP has it.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{channel, unbounded_channel, Receiver, Sender, UnboundedReceiver, UnboundedSender};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::base::error_text;

/// Pieces that wait for the follower.
const PIECES_MAX: usize = 8;
/// Bytes of a piece.
const PIECE_BYTES: usize = 64 * 1024;

pub enum LinkEvent {
    Connected,
    Input(Bytes),
    /// It could not be made, or has ended.
    Lost(String),
}

/// A connection that is made, or is there. Dropped, it is closed.
pub struct Connection {
    events: Receiver<LinkEvent>,
    /// Its bound: a few bytes a second, and the link is closed when the master is silent.
    output: UnboundedSender<Vec<u8>>,
    task: JoinHandle<()>,
}

impl Connection {
    /// Begins to connect. `woken` is rung whenever there is something to take.
    pub fn begin(host: Vec<u8>, port: u16, patience: Duration, woken: Arc<Notify>) -> Connection {
        let (sender, events) = channel(PIECES_MAX);
        let (output, to_send) = unbounded_channel();
        let task = tokio::spawn(run(host, port, patience, Feeder { sender, woken }, to_send));
        Connection { events, output, task }
    }

    /// What has happened, in order; `None`: nothing more for now.
    pub fn next(&mut self) -> Option<LinkEvent> {
        match self.events.try_recv() {
            Ok(event) => Some(event),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(LinkEvent::Lost("the connection is gone".into())),
        }
    }

    pub fn send(&self, bytes: Vec<u8>) {
        // When the task has ended it has said so.
        let _ = self.output.send(bytes);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Feeder {
    sender: Sender<LinkEvent>,
    woken: Arc<Notify>,
}

impl Feeder {
    /// False: nobody hears it.
    async fn tell(&self, event: LinkEvent) -> bool {
        let is_heard = self.sender.send(event).await.is_ok();
        self.woken.notify_one();
        is_heard
    }
}

async fn run(
    host: Vec<u8>,
    port: u16,
    patience: Duration,
    feeder: Feeder,
    mut output: UnboundedReceiver<Vec<u8>>,
) {
    let stream = match connect(&host, port, patience).await {
        Ok(stream) => stream,
        Err(error) => {
            feeder.tell(LinkEvent::Lost(error_text(&error))).await;
            return;
        }
    };
    let (mut reader, mut writer) = stream.into_split();
    if !feeder.tell(LinkEvent::Connected).await {
        return;
    }
    // The end of writing is not the end: what the master has sent is still read.
    let _writes = AbortOnDrop(tokio::spawn(async move {
        while let Some(bytes) = output.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
    }));
    let lost = loop {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        match reader.read_buf(&mut piece).await {
            Ok(0) => break "the master has closed it".to_owned(),
            Ok(_) => {
                if !feeder.tell(LinkEvent::Input(piece.freeze())).await {
                    return;
                }
            }
            Err(error) => break error_text(&error),
        }
    };
    feeder.tell(LinkEvent::Lost(lost)).await;
}

/// A task that ends with whoever began it.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tries all addresses of the host.
async fn connect(host: &[u8], port: u16, patience: Duration) -> io::Result<TcpStream> {
    let host = std::str::from_utf8(host).map_err(|_| io::Error::other("the host's name is no text"))?;
    let attempt = async {
        let mut last = io::Error::other("the host has no address");
        for address in tokio::net::lookup_host((host, port)).await? {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    let stream = match timeout(patience, attempt).await {
        Ok(stream) => stream?,
        Err(_) => return Err(io::Error::from(io::ErrorKind::TimedOut)),
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    async fn next(connection: &mut Connection, woken: &Notify) -> LinkEvent {
        loop {
            if let Some(event) = connection.next() {
                return event;
            }
            timeout(Duration::from_secs(20), woken.notified()).await.unwrap();
        }
    }

    #[test]
    fn a_connection_says_what_comes_and_when_it_ends() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let woken = Arc::new(Notify::new());
            let begin =
                || Connection::begin(b"localhost".to_vec(), port, Duration::from_secs(20), woken.clone());
            let mut connection = begin();
            let (mut peer, _) = listener.accept().await.unwrap();
            assert!(matches!(next(&mut connection, &woken).await, LinkEvent::Connected));
            connection.send(b"PING\r\n".to_vec());
            let mut heard = [0; 6];
            peer.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"PING\r\n");
            peer.write_all(b"+PONG\r\n").await.unwrap();
            let LinkEvent::Input(bytes) = next(&mut connection, &woken).await else { panic!("no input") };
            assert_eq!(bytes, "+PONG\r\n");
            drop(peer);
            assert!(matches!(next(&mut connection, &woken).await, LinkEvent::Lost(_)));
            let connection = begin();
            let (mut peer, _) = listener.accept().await.unwrap();
            drop(connection);
            assert_eq!(peer.read(&mut [0; 1]).await.unwrap_or(0), 0, "it is closed");
            drop(listener);
            let mut refused = begin();
            assert!(matches!(next(&mut refused, &woken).await, LinkEvent::Lost(_)));
        });
    }
}
