//! A replica of a few lines: it asks for synchronisation, takes the snapshot, and reads the stream byte by byte. What it has can be
//! compared with its master: the snapshot is loaded by another server, to which the stream is played.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{parse_reply, Client, Server, Value};

pub struct Little {
    socket: TcpStream,
    input: Vec<u8>,
    pub id: String,
    /// Offset of the last byte that it has.
    pub offset: u64,
    pub snapshot: Vec<u8>,
    /// The commands that have come, pings and the like left out.
    pub commands: Vec<Vec<Vec<u8>>>,
}

impl Little {
    fn connect(server: &Server) -> Little {
        let socket = TcpStream::connect(server.address()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        socket.set_nodelay(true).unwrap();
        Little {
            socket,
            input: Vec::new(),
            id: "?".into(),
            offset: 0,
            snapshot: Vec::new(),
            commands: Vec::new(),
        }
    }

    /// Asks for everything. `options`: of REPLCONF, such as `capa eof`.
    pub fn full(server: &Server, options: &[&str]) -> Little {
        let mut little = Little::connect(server);
        little.greet(options);
        little.send(&["PSYNC", "?", "-1"]);
        let line = little.line();
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!((words[0], words.len()), ("+FULLRESYNC", 3), "{line}");
        little.id = words[1].to_owned();
        little.offset = words[2].parse().unwrap();
        little.take_snapshot();
        little.acknowledge();
        little
    }

    /// Goes on where `self` has ended, over a new connection. The answer's first word.
    pub fn resume(&mut self, server: &Server) -> String {
        let mut next = Little::connect(server);
        next.greet(&["capa", "eof", "capa", "psync2"]);
        next.send(&["PSYNC", &self.id, &(self.offset + 1).to_string()]);
        let line = next.line();
        self.socket = next.socket;
        self.input = next.input;
        line.split(' ').next().unwrap_or_default().to_owned()
    }

    fn greet(&mut self, options: &[&str]) {
        self.send(&[&["REPLCONF", "listening-port", "7"], options].concat());
        assert_eq!(self.line(), "+OK");
    }

    pub fn send(&mut self, args: &[&str]) {
        self.socket.write_all(&Client::encode(args)).unwrap();
    }

    pub fn acknowledge(&mut self) {
        let offset = self.offset.to_string();
        self.send(&["REPLCONF", "ACK", &offset]);
    }

    /// False: the connection has ended.
    fn more(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        let len = self.socket.read(&mut piece).unwrap_or(0);
        self.input.extend_from_slice(&piece[..len]);
        len > 0
    }

    /// The next line, newlines that keep a connection alive left out.
    fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if !line.is_empty() {
                    return line;
                }
            } else {
                assert!(self.more(), "the connection has ended");
            }
        }
    }

    fn take_snapshot(&mut self) {
        let line = self.line();
        if let Some(mark) = line.strip_prefix("$EOF:") {
            let mark = mark.as_bytes();
            while !self.input.ends_with(mark) {
                assert!(self.more(), "the snapshot ends early");
            }
            self.snapshot = std::mem::take(&mut self.input);
            self.snapshot.truncate(self.snapshot.len() - mark.len());
        } else {
            let len: usize = line.strip_prefix('$').unwrap().parse().unwrap();
            while self.input.len() < len {
                assert!(self.more(), "the snapshot ends early");
            }
            self.snapshot = self.input.drain(..len).collect();
        }
        assert!(self.snapshot.starts_with(b"REDIS"));
    }

    /// The next command, whatever it is; `None`: the connection has ended.
    pub fn next(&mut self) -> Option<Vec<Vec<u8>>> {
        loop {
            match parse_reply(&self.input).unwrap() {
                Some((Value::Array(words), len)) => {
                    self.input.drain(..len);
                    self.offset += len as u64;
                    let word = |word: &Value| match word {
                        Value::Bulk(bytes) => bytes.clone(),
                        other => panic!("{other:?} in the stream"),
                    };
                    return Some(words.iter().map(word).collect());
                }
                Some((other, _)) => panic!("{other:?} in the stream"),
                None if self.more() => {}
                None => return None,
            }
        }
    }

    /// Reads until a command that is not in the stream of itself, and keeps the others.
    pub fn read_until(&mut self, last: &[&str]) {
        loop {
            let command = self.next().expect("the stream ends early");
            let is_last = command.len() == last.len()
                && command.iter().zip(last).all(|(has, wanted)| has.eq_ignore_ascii_case(wanted.as_bytes()));
            let is_upkeep =
                command[0].eq_ignore_ascii_case(b"ping") || command[0].eq_ignore_ascii_case(b"replconf");
            if !is_upkeep {
                self.commands.push(command);
            }
            if is_last {
                return self.acknowledge();
            }
        }
    }

    /// The commands since the last call, as text.
    pub fn texts(&mut self) -> Vec<String> {
        let text = |command: Vec<Vec<u8>>| {
            let words: Vec<String> =
                command.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            words.join(" ")
        };
        std::mem::take(&mut self.commands).into_iter().map(text).collect()
    }

    /// A server that has loaded the snapshot, and has been played what came after it.
    pub fn play(&mut self) -> Server {
        let file = Server::start(&["--shards", "1"]);
        let path = file.dir.join("dump.rdb");
        fs::write(&path, &self.snapshot).unwrap();
        let dir = file.dir.display().to_string();
        let options = ["--shards", "2", "--enable-debug-command", "yes", "--dir", &dir];
        let server = Server::start(&[&options[..], &["--dbfilename", "dump.rdb"]].concat());
        let mut client = server.client();
        client.call(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
        let commands = std::mem::take(&mut self.commands);
        for reply in client.pipeline(&commands) {
            assert!(!reply.is_error(), "{}", reply.text());
        }
        server
    }
}
