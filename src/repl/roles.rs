//! What this server is to others: the reply of ROLE, and INFO's section about replication.

use std::io::Write as _;

use super::failover::State as FailoverState;
use super::history::History;
use crate::resp::Reply;

/// A replica of this server.
#[derive(Clone, Debug)]
pub struct ReplicaLine {
    pub host: Vec<u8>,
    pub port: i64,
    /// INFO's name of its state.
    pub state: &'static str,
    pub is_online: bool,
    /// What it has acknowledged.
    pub offset: u64,
    /// How long ago, milliseconds.
    pub lag_ms: u64,
}

/// The link to this server's master.
#[derive(Clone, Debug)]
pub struct LinkFacts {
    pub host: Vec<u8>,
    pub port: u16,
    /// ROLE's name of its state.
    pub state: &'static str,
    pub is_up: bool,
    /// Since the master was last heard of, milliseconds; `None` while the link is down.
    pub silent_ms: Option<u64>,
    /// While a snapshot comes: bytes so far, and of all, if that is known; and how long nothing has come, milliseconds.
    pub sync: Option<(u64, Option<u64>, u64)>,
    /// Since the link is down, milliseconds; `None`: it never was up.
    pub down_ms: Option<u64>,
    /// Offset of what has come, and of what is applied; `None` when nothing is known of the master's history.
    pub offsets: Option<(u64, u64)>,
    pub priority: u32,
    pub is_read_only: bool,
    pub is_announced: bool,
}

#[derive(Debug)]
pub struct Facts<'a> {
    /// `None`: this server is a master.
    pub link: Option<LinkFacts>,
    pub replicas: Vec<ReplicaLine>,
    /// Replicas that are not late, while `min-replicas-to-write` demands some.
    pub good_replicas: Option<u32>,
    pub failover: FailoverState,
    pub history: &'a History,
    /// Of the stream.
    pub offset: u64,
    pub backlog_size: u64,
    /// The offset of the first byte of the backlog, and its length; `None`: there is none.
    pub backlog: Option<(u64, u64)>,
}

/// ROLE.
pub fn role(facts: &Facts, reply: &mut Reply) {
    match &facts.link {
        None => {
            reply.array(3);
            reply.bulk(b"master");
            reply.integer(facts.offset as i64);
            let online = || facts.replicas.iter().filter(|replica| replica.is_online);
            reply.array(online().count());
            for replica in online() {
                reply.array(3);
                reply.bulk(&replica.host);
                reply.bulk_integer(replica.port);
                reply.bulk_integer(replica.offset as i64);
            }
        }
        Some(link) => {
            reply.array(5);
            reply.bulk(b"slave");
            reply.bulk(&link.host);
            reply.integer(i64::from(link.port));
            reply.bulk(link.state.as_bytes());
            let offset = link.offsets.filter(|_| link.is_up).map_or(-1, |(_, applied)| applied as i64);
            reply.integer(offset);
        }
    }
}

/// INFO's section, without its head.
pub fn info(facts: &Facts) -> Vec<u8> {
    let mut text = Vec::new();
    // Writing to memory does not fail.
    let _ = write_info(facts, &mut text);
    text
}

fn write_info(facts: &Facts, text: &mut Vec<u8>) -> std::io::Result<()> {
    let role = if facts.link.is_some() { "slave" } else { "master" };
    write!(text, "role:{role}\r\n")?;
    if let Some(link) = &facts.link {
        write_link(link, text)?;
    }
    write!(text, "connected_slaves:{}\r\n", facts.replicas.len())?;
    if let Some(good) = facts.good_replicas {
        write!(text, "min_slaves_good_slaves:{good}\r\n")?;
    }
    for (index, replica) in facts.replicas.iter().enumerate() {
        let ReplicaLine { host, port, state, offset, lag_ms, .. } = replica;
        let (lag_s, behind) = (lag_ms / 1000, facts.offset.saturating_sub(*offset));
        write!(text, "slave{index}:ip=")?;
        text.extend_from_slice(host);
        write!(
            text,
            ",port={port},state={state},offset={offset},lag={lag_s},lag_ms={lag_ms},\
             lag_bytes={behind}\r\n"
        )?;
    }
    let history = facts.history;
    let (first, len) = facts.backlog.unwrap_or((0, 0));
    write!(
        text,
        "master_failover_state:{}\r\nmaster_replid:{}\r\nmaster_replid2:{}\r\nmaster_repl_offset:{}\r\n\
         second_repl_offset:{}\r\nrepl_backlog_active:{}\r\nrepl_backlog_size:{}\r\n\
         repl_backlog_first_byte_offset:{first}\r\nrepl_backlog_histlen:{len}\r\n",
        facts.failover.name(),
        history.id(),
        history.second_id(),
        facts.offset,
        history.second_offset(),
        u8::from(facts.backlog.is_some()),
        facts.backlog_size,
    )
}

fn write_link(link: &LinkFacts, text: &mut Vec<u8>) -> std::io::Result<()> {
    let status = if link.is_up { "up" } else { "down" };
    // Redis has 1 where nothing is known.
    let (read, applied) = link.offsets.unwrap_or((1, 1));
    let silent_s = link.silent_ms.map_or(-1, |ms| (ms / 1000) as i64);
    text.extend_from_slice(b"master_host:");
    text.extend_from_slice(&link.host);
    write!(
        text,
        "\r\nmaster_port:{}\r\nmaster_link_status:{status}\r\nmaster_last_io_seconds_ago:{silent_s}\r\n\
         master_sync_in_progress:{}\r\nslave_read_repl_offset:{read}\r\nslave_repl_offset:{applied}\r\n\
         slave_lag_bytes:{}\r\n",
        link.port,
        u8::from(link.sync.is_some()),
        read.saturating_sub(applied),
    )?;
    if let Some((read, total, silent_ms)) = link.sync {
        // A payload with a mark has no length before its end: Redis shows 0, and a negative rest.
        let total = total.unwrap_or(0);
        let left = (total as i64).wrapping_sub(read as i64);
        let percent = if total == 0 { 0.0 } else { read as f64 / total as f64 * 100.0 };
        write!(
            text,
            "master_sync_total_bytes:{total}\r\nmaster_sync_read_bytes:{read}\r\nmaster_sync_left_bytes:{left}\r\n\
             master_sync_perc:{percent:.2}\r\nmaster_sync_last_io_seconds_ago:{}\r\n",
            silent_ms / 1000,
        )?;
    }
    if !link.is_up {
        let down_s = link.down_ms.map_or(-1, |ms| (ms / 1000) as i64);
        write!(text, "master_link_down_since_seconds:{down_s}\r\n")?;
    }
    write!(
        text,
        "slave_priority:{}\r\nslave_read_only:{}\r\nreplica_announced:{}\r\n",
        link.priority,
        u8::from(link.is_read_only),
        u8::from(link.is_announced),
    )
}

#[cfg(test)]
mod tests {
    use super::super::history::ReplicationId;
    use super::*;

    fn facts(history: &History) -> Facts<'_> {
        Facts {
            link: None,
            replicas: Vec::new(),
            good_replicas: None,
            failover: FailoverState::None,
            history,
            offset: 700,
            backlog_size: 1 << 20,
            backlog: Some((1, 700)),
        }
    }

    fn history() -> History {
        let id = |letter| ReplicationId::parse(&[letter; 40]).unwrap();
        let mut history = History::new(id(b'a'));
        history.promote(500, id(b'b'));
        history
    }

    fn link() -> LinkFacts {
        LinkFacts {
            host: b"10.0.0.1".to_vec(),
            port: 6379,
            state: "connected",
            is_up: true,
            silent_ms: Some(2500),
            sync: None,
            down_ms: None,
            offsets: Some((720, 700)),
            priority: 100,
            is_read_only: true,
            is_announced: true,
        }
    }

    fn replica(port: i64, is_online: bool) -> ReplicaLine {
        let state = if is_online { "online" } else { "wait_bgsave" };
        ReplicaLine { host: b"10.0.0.2".to_vec(), port, state, is_online, offset: 690, lag_ms: 1200 }
    }

    fn role_of(facts: &Facts) -> String {
        let mut reply = Reply::default();
        role(facts, &mut reply);
        String::from_utf8(reply.as_bytes_if_plain().unwrap().to_vec()).unwrap()
    }

    fn text_of(facts: &Facts) -> String {
        String::from_utf8(info(facts)).unwrap()
    }

    #[test]
    fn a_host_is_shown_as_it_was_told() {
        let history = history();
        let mut facts = facts(&history);
        facts.replicas = vec![ReplicaLine { host: b"\xffhost".to_vec(), ..replica(6380, true) }];
        assert!(memchr::memmem::find(&info(&facts), b"slave0:ip=\xffhost,port=6380,").is_some());
        facts.link = Some(LinkFacts { host: b"\xfemaster".to_vec(), ..link() });
        assert!(memchr::memmem::find(&info(&facts), b"master_host:\xfemaster\r\n").is_some());
    }

    #[test]
    fn a_master_lists_the_replicas_that_are_online() {
        let history = history();
        let mut facts = facts(&history);
        facts.replicas = vec![replica(6380, true), replica(6381, false)];
        facts.good_replicas = Some(1);
        let expected =
            "*3\r\n$6\r\nmaster\r\n:700\r\n*1\r\n*3\r\n$8\r\n10.0.0.2\r\n$4\r\n6380\r\n$3\r\n690\r\n";
        assert_eq!(role_of(&facts), expected);
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        let expected = format!(
            "role:master\r\nconnected_slaves:2\r\nmin_slaves_good_slaves:1\r\n\
             slave0:ip=10.0.0.2,port=6380,state=online,offset=690,lag=1,lag_ms=1200,lag_bytes=10\r\n\
             slave1:ip=10.0.0.2,port=6381,state=wait_bgsave,offset=690,lag=1,lag_ms=1200,lag_bytes=10\r\n\
             master_failover_state:no-failover\r\nmaster_replid:{b}\r\nmaster_replid2:{a}\r\nmaster_repl_offset:700\r\n\
             second_repl_offset:501\r\nrepl_backlog_active:1\r\nrepl_backlog_size:1048576\r\n\
             repl_backlog_first_byte_offset:1\r\nrepl_backlog_histlen:700\r\n"
        );
        assert_eq!(text_of(&facts), expected);
    }

    #[test]
    fn a_replica_shows_its_link() {
        let history = history();
        let mut facts = Facts { link: Some(link()), backlog: None, ..facts(&history) };
        let head = "*5\r\n$5\r\nslave\r\n$8\r\n10.0.0.1\r\n:6379\r\n";
        assert_eq!(role_of(&facts), format!("{head}$9\r\nconnected\r\n:700\r\n"));
        let text = text_of(&facts);
        assert!(text.starts_with(
            "role:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\nmaster_link_status:up\r\n\
             master_last_io_seconds_ago:2\r\nmaster_sync_in_progress:0\r\nslave_read_repl_offset:720\r\n\
             slave_repl_offset:700\r\nslave_lag_bytes:20\r\nslave_priority:100\r\nslave_read_only:1\r\n\
             replica_announced:1\r\nconnected_slaves:0\r\n"
        ));
        assert!(text.contains("repl_backlog_active:0\r\n"));
        facts.link = Some(LinkFacts {
            state: "sync",
            is_up: false,
            silent_ms: None,
            sync: Some((50, Some(200), 3000)),
            down_ms: Some(9999),
            offsets: None,
            ..link()
        });
        assert_eq!(role_of(&facts), format!("{head}$4\r\nsync\r\n:-1\r\n"));
        assert!(text_of(&facts).contains(
            "master_link_status:down\r\nmaster_last_io_seconds_ago:-1\r\nmaster_sync_in_progress:1\r\n\
             slave_read_repl_offset:1\r\nslave_repl_offset:1\r\nslave_lag_bytes:0\r\nmaster_sync_total_bytes:200\r\n\
             master_sync_read_bytes:50\r\nmaster_sync_left_bytes:150\r\nmaster_sync_perc:25.00\r\n\
             master_sync_last_io_seconds_ago:3\r\nmaster_link_down_since_seconds:9\r\nslave_priority:100\r\n"
        ));
    }
}
