//! Closed loop: each connection sends a pipeline of requests, waits for all the replies, sends the next.
//!
//! It finds how fast a server can go. A slow server is asked less often, so its latencies look better than
//! what independent clients would see; for those, use an open loop.

use crate::connection::{receive_buffer, Socket};
use crate::replies::ReplyReader;
use crate::run::Shared;
use std::collections::VecDeque;
use std::rc::Rc;

/// Starts one task per connection.
pub(crate) fn start(shared: &Rc<Shared>, sockets: &[Rc<Socket>], check_values: bool) {
    for socket in sockets {
        let (shared, socket) = (Rc::clone(shared), Rc::clone(socket));
        tokio_uring::spawn(async move {
            let result = converse(&shared, &socket, check_values).await;
            shared.finish(if shared.draining() { Ok(()) } else { result });
        });
    }
}

async fn converse(shared: &Shared, socket: &Socket, check_values: bool) -> Result<(), String> {
    let mut reader = ReplyReader::new(check_values);
    let mut pending = VecDeque::with_capacity(shared.pipeline);
    let mut input = receive_buffer();
    let mut out = Vec::new();
    while shared.issue(shared.now_ns(), &mut out, &mut pending) {
        let mut write = socket.start_write(out);
        while !pending.is_empty() {
            let (result, received) = write.read_meanwhile(input).await;
            result.map_err(|error| format!("receiving failed: {error}"))?;
            if received.is_empty() {
                return Err("the server closed the connection".into());
            }
            shared.receive(&received, &mut reader, &mut pending).map_err(|error| error.0)?;
            input = received;
        }
        let (result, sent) = write.finish().await;
        result.map_err(|error| format!("sending failed: {error}"))?;
        out = sent;
        out.clear();
    }
    Ok(())
}
