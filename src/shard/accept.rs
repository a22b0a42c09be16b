//! New connections: accepted on shard 0, which owns the listeners, and given to the shard with the fewest.
//!
//! Rebinding (CONFIG SET bind, port) opens the new listeners first; the old ones are cancelled only when all of
//! the new ones listen, so that a failure changes nothing. Established connections are not concerned.

use crate::shard::connections::Connections;
use crate::shard::turn::TurnState;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use super::io::RingJob;
use super::message::{Adopted, Message};
use super::Shard;
use crate::base::log::Level;
use crate::base::Address;
use crate::client::{Connection, Flag};
use crate::command::table::{CommandSpec, Role};
use crate::config::ProtectedAction;
use crate::runtime::listen::{self, ListenError, Listener};
use crate::runtime::socket;

/// The listeners, by the number that their completions carry.
#[derive(Default)]
pub struct Listeners {
    open: Vec<(u32, Listener)>,
    /// Cancelled; kept until their last completion so that the ring holds no closed descriptor.
    ending: Vec<(u32, Listener)>,
    last: u32,
    /// To be accepted on again, after the process ran out of descriptors.
    accept_again: Vec<u32>,
    /// Connections given to each shard since the last cron.
    pub(super) placed: Vec<u64>,
}

impl TurnState {
    /// Without a password, protected mode serves only this machine.
    fn is_protected_from(&self, c: &Connection) -> bool {
        if !self.config.network.protected_mode || !self.users.default_user().needs_no_password {
            return false;
        }
        !is_local(c)
    }

    /// DEBUG and its like are for those whom the configuration allows.
    pub(super) fn may_use_protected(&self, c: &Connection, spec: &CommandSpec) -> bool {
        let action = if spec.role == Role::Module {
            self.config.security.enable_module_command
        } else {
            self.config.security.enable_debug_command
        };
        match action {
            ProtectedAction::Yes => true,
            ProtectedAction::No => false,
            ProtectedAction::Local => is_local(c),
        }
    }
}

impl Connections {
    /// Starts to accept on `listeners`; shard 0 only. At a start with something to load that waits for the next cron, so that whoever
    /// connects at once does not hear that little is still being loaded.
    pub fn listen(&mut self, turn: &TurnState, listeners: Vec<Listener>) {
        for listener in listeners {
            self.listeners.last += 1;
            let number = self.listeners.last;
            if turn.shared.status.is_loading() {
                self.listeners.accept_again.push(number);
            } else {
                self.ring_jobs.push(RingJob::Accept(number, listener.fd()));
            }
            self.listeners.open.push((number, listener));
        }
    }

    /// Replaces the TCP listeners by ones at `addresses` and `port`. On an error the old ones stay.
    pub fn rebind(&mut self, turn: &TurnState, addresses: &[Vec<u8>], port: u16) -> Result<(), ListenError> {
        let network = &turn.config.network;
        // An address that stays bound cannot be bound a second time: such a listener is kept.
        let (backlog, mark) = (network.tcp_backlog as i32, network.socket_mark_id);
        let name_of =
            |address: &[u8]| listen::address_name(address.strip_prefix(b"-").unwrap_or(address), port);
        let wanted = |name: &[u8]| addresses.iter().any(|address| name_of(address) == name);
        let kept: Vec<Vec<u8>> = self
            .listeners
            .open
            .iter()
            .filter(|(_, l)| l.kind.is_rebound() && wanted(&l.name))
            .map(|(_, l)| l.name.clone())
            .collect();
        let missing: Vec<Vec<u8>> =
            addresses.iter().filter(|address| !kept.contains(&name_of(address))).cloned().collect();
        let opened = match listen::tcp(&missing, port, backlog, mark) {
            Ok(opened) => opened,
            Err(error) if error.is_in_use() && self.overlaps_own(port) => {
                // `*` and a single address of the same port exclude each other: ours must go first, and come
                // back when the new ones fail all the same.
                return self.rebind_overlapping(turn, addresses, port, backlog, mark);
            }
            Err(error) => return Err(error),
        };
        self.stop_listening(|l| l.kind.is_rebound() && !kept.contains(&l.name));
        self.listen(turn, opened);
        Ok(())
    }

    fn overlaps_own(&self, port: u16) -> bool {
        let suffix = format!(":{port}");
        self.listeners.open.iter().any(|(_, l)| l.kind.is_rebound() && l.name.ends_with(suffix.as_bytes()))
    }

    fn rebind_overlapping(
        &mut self,
        turn: &TurnState,
        addresses: &[Vec<u8>],
        port: u16,
        backlog: i32,
        mark: u32,
    ) -> Result<(), ListenError> {
        let old: Vec<Vec<u8>> = self
            .listeners
            .open
            .iter()
            .filter(|(_, l)| l.kind.is_rebound())
            .filter_map(|(_, l)| memchr::memrchr(b':', &l.name).map(|end| l.name[..end].to_vec()))
            .collect();
        self.stop_listening_at_once(|l| l.kind.is_rebound());
        match listen::tcp(addresses, port, backlog, mark) {
            Ok(opened) => {
                self.listen(turn, opened);
                Ok(())
            }
            Err(error) => {
                match listen::tcp(&old, port, backlog, mark) {
                    Ok(back) => self.listen(turn, back),
                    Err(lost) => {
                        crate::log_text!(Level::Warning, "The old addresses are gone too: ", lost.text())
                    }
                }
                Err(error)
            }
        }
    }

    /// Nobody can connect any more.
    pub(super) fn end_listening(&mut self) {
        self.stop_listening_at_once(|_| true);
    }

    /// As `stop_listening`, but what connects in the next moments is refused; the descriptors themselves stay open until their
    /// accept has ended.
    fn stop_listening_at_once(&mut self, which: impl Fn(&Listener) -> bool) {
        for (_, listener) in self.listeners.open.iter().filter(|(_, listener)| which(listener)) {
            socket::shutdown(listener.socket());
        }
        self.stop_listening(which);
    }

    /// Ends the listeners that `which` names.
    pub fn stop_listening(&mut self, which: impl Fn(&Listener) -> bool) {
        let all = std::mem::take(&mut self.listeners.open);
        for (number, listener) in all {
            let is_idle = self.listeners.accept_again.contains(&number);
            if which(&listener) && is_idle {
                self.listeners.accept_again.retain(|idle| *idle != number);
            } else if which(&listener) {
                self.ring_jobs.push(RingJob::CancelAccept(number));
                self.listeners.ending.push((number, listener));
            } else {
                self.listeners.open.push((number, listener));
            }
        }
    }

    /// Accepts where that has to be begun, or begun again.
    pub fn accept_again(&mut self) {
        for number in std::mem::take(&mut self.listeners.accept_again) {
            if let Some((_, listener)) = self.listeners.open.iter().find(|(n, _)| *n == number) {
                self.ring_jobs.push(RingJob::Accept(number, listener.fd()));
            }
        }
    }
}

impl Shard {
    pub(super) fn accepted(&mut self, number: u32, result: Result<OwnedFd, i32>, armed: bool) {
        let errno = result.as_ref().err().copied();
        let listener = self
            .connections
            .listeners
            .open
            .iter()
            .chain(&self.connections.listeners.ending)
            .find(|(n, _)| *n == number);
        match result {
            Ok(socket) => match listener {
                Some((_, listener)) => self.place(socket, listener.kind),
                None => drop(socket),
            },
            Err(libc::ECANCELED | libc::EINVAL | libc::ECONNABORTED) => {}
            Err(errno) => crate::log!(
                Level::Warning,
                "{}",
                format!(
                    "Accepting client connection: {}",
                    crate::base::error_text(&std::io::Error::from_raw_os_error(errno))
                )
            ),
        }
        if armed {
            return;
        }
        self.connections.listeners.ending.retain(|(n, _)| *n != number);
        if let Some((_, listener)) = self.connections.listeners.open.iter().find(|(n, _)| *n == number) {
            // Out of descriptors, or the kernel gave up the multishot: the next cron tries again in the first case.
            if matches!(errno, Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS)) {
                self.connections.listeners.accept_again.push(number);
            } else {
                self.connections.ring_jobs.push(RingJob::Accept(number, listener.fd()));
            }
        }
    }

    /// Chooses the shard for a new connection: the one that serves the fewest.
    fn place(&mut self, socket: OwnedFd, kind: listen::Kind) {
        let connected = self.shared.connected.fetch_add(1, Ordering::Relaxed);
        if connected >= self.shared.maxclients.load(Ordering::Relaxed) {
            self.shared.connected.fetch_sub(1, Ordering::Relaxed);
            self.stats.connections_rejected.add(1);
            socket::send_now(&socket, b"-ERR max number of clients reached\r\n");
            return;
        }
        let load = &mut self.connections.listeners.placed;
        if load.len() != self.turn.slots.shards() {
            *load = vec![0; self.turn.slots.shards()];
        }
        // Counts of other shards lag behind what is on its way to them; what was placed since the last cron is added.
        let target = (self.turn.slots.all())
            .min_by_key(|shard| self.shared.stats[*shard].clients.get() + load[*shard])
            .unwrap_or(self.id);
        load[target] += 1;
        self.send(target, Message::Adopt(Adopted { socket, id: self.shared.next_client_id(), kind }));
    }

    /// Serves a new connection.
    pub(super) fn adopt(&mut self, Adopted { socket, id, kind }: Adopted) {
        let now_ms = self.turn.now_ms();
        let user = self.turn.users.default_user();
        let (peer, local) = match kind {
            listen::Kind::Tcp => {
                socket::set_no_delay(&socket);
                if self.turn.config.network.tcp_keepalive > 0 {
                    socket::set_keep_alive(&socket, self.turn.config.network.tcp_keepalive);
                }
                (socket::peer(&socket), socket::local(&socket))
            }
            listen::Kind::Unix => (Address::Unix, Address::Unix),
        };
        let token =
            self.connections.table.insert(|token| Connection::new(id, token, Some(socket), user, now_ms));
        let Some(mut connection) = self.connections.table.take(token) else { return };
        let c = &mut *connection;
        c.flags.assign(Flag::UnixSocket, kind == listen::Kind::Unix);
        (c.peer, c.local) = (peer, local);
        self.stats.connections_received.add(1);
        self.stats.clients.set(self.connections.table.open() as u64);
        self.turn.log_in_as_default(c);
        if self.turn.is_protected_from(c) {
            if let Some(socket) = &c.socket {
                socket::send_now(socket, PROTECTED_MODE_REPLY.as_bytes());
            }
            self.stats.connections_rejected.add(1);
            self.close(c);
        } else {
            self.connections.resume_receiving(c);
        }
        self.finish(connection);
    }
}

/// Connected from this machine.
pub fn is_local(c: &Connection) -> bool {
    match c.peer {
        Address::Ip(ip, _) => ip.to_canonical().is_loopback(),
        Address::Unix => true,
        Address::Unknown => false,
    }
}

const PROTECTED_MODE_REPLY: &str = "-DENIED Gyre is running in protected mode because protected mode is enabled and no \
password is set for the default user. In this mode connections are only accepted from the loopback interface. To connect \
from elsewhere, do one of these: 1) set a password with 'requirepass' in the configuration file or CONFIG SET; 2) when the \
network is trusted, switch the mode off with 'CONFIG SET protected-mode no' from this machine, and 'protected-mode no' in \
the configuration file; 3) for a test, start the server with '--protected-mode no'.\r\n";
