//! A connection's input, and what is written back: requests are parsed, as many at a time as lie there whole, their keys fetched into
//! the caches together, and each goes its way (`route`).

use smallvec::SmallVec;

use super::route::Taken;
use super::Shard;
use crate::client::{Connection, Flag};
use crate::command::table::CommandSpec;
use crate::resp::{Limits, Progress, ProtocolError, Reply, RequestParser};
use crate::store::{slot_of, Prefetched};
use crate::txn::message::Slices;

/// Requests of a pipeline whose keys are fetched into the caches together.
pub(super) const LOOK_AHEAD: usize = 16;

impl Shard {
    /// Runs the complete requests at the head of `input`; returns how many bytes they took.
    pub(super) fn process(&mut self, c: &mut Connection, input: &[u8]) -> usize {
        let mut parser = std::mem::take(&mut c.parser);
        c.running_bytes = input.len();
        c.running_parser_bytes = parser.memory_bytes();
        c.awaited_bytes = 0;
        c.input_peak_bytes = c.input_peak_bytes.max(input.len());
        let mut at = 0;
        let mut using =
            self.executor.begin_share(&self.turn, c.share, c.collected_bytes(), self.turn.collected_max(c));
        while !c.is_held() {
            if self.executor.is_used_up(&using, c.collected_bytes()) {
                self.connections.run_later(c);
                break;
            }
            let limits = Limits {
                bulk_len_max: self.turn.config.network.proto_max_bulk_len,
                authenticated: self.turn.is_admitted(c),
            };
            let mut batch: SmallVec<[Prepared; LOOK_AHEAD]> = SmallVec::new();
            // What the first AUTH changes is not known before it has run.
            let depth = if limits.authenticated { LOOK_AHEAD } else { 1 };
            let end = gather(&mut parser, input, at, &limits, depth, &mut batch);
            if batch.len() > 1 {
                self.fetch_keys(c.db, &mut batch);
            }
            let all = batch.iter().all(|request| {
                let run = !c.is_held()
                    && !self.executor.is_used_up(&using, c.collected_bytes())
                    && self.dispatch(c, request) == Taken::Yes;
                if run {
                    using.add_request();
                    at = request.end;
                }
                run
            });
            drop(batch);
            if !all {
                if !c.is_held() {
                    self.connections.run_later(c);
                }
                // The rest is parsed again when the connection goes on.
                parser = RequestParser::new();
                break;
            }
            at = end.at;
            match end.stop {
                None => {}
                Some(Stop::Incomplete { total_hint }) => {
                    c.flags.set(Flag::NeedsInput);
                    c.awaited_bytes = total_hint;
                    break;
                }
                Some(Stop::Error(_)) if c.is_held() => {
                    // Said when the connection goes on, in its place behind what is under way.
                    parser = RequestParser::new();
                    break;
                }
                Some(Stop::Error(error)) => {
                    self.write_reply(c, |_, _, reply| reply.protocol_error(&error));
                    self.stats.count_error(b"ERR");
                    c.flags.set(Flag::CloseAfterReply);
                    break;
                }
            }
        }
        c.share = self.executor.end_share(&using, c.collected_bytes());
        c.parser = parser;
        c.running_bytes = 0;
        c.running_parser_bytes = 0;
        at
    }

    /// Fetches the keys of a batch into the caches, step by step for all of them.
    fn fetch_keys(&self, db: usize, batch: &mut [Prepared]) {
        for request in batch.iter_mut() {
            let Ok(spec) = self.shared.names.resolve(&request.args) else { continue };
            request.spec = Some(spec);
            let Some((index, _)) = spec.single_key() else { continue };
            let key = request.args[index];
            let slot = slot_of(key);
            if self.turn.slots.shard_of_slot(slot) == self.id {
                request.ahead = Some(self.store.prefetch_table(db, key, slot));
            }
        }
        for ahead in batch.iter().filter_map(|request| request.ahead) {
            self.store.fetch_bucket(db, ahead);
        }
        for ahead in batch.iter().filter_map(|request| request.ahead) {
            self.store.fetch_entry(db, ahead);
        }
    }

    /// Writes a reply in its place: behind the replies that are still awaited, and not at all when the
    /// client has switched replies off.
    pub(super) fn write_reply(
        &mut self,
        c: &mut Connection,
        write: impl FnOnce(&mut Self, &mut Connection, &mut Reply),
    ) {
        let silent = c.flags.any(Flag::ReplyOff as u32 | Flag::ReplySkip as u32);
        if c.pipeline.is_empty() && !silent {
            // What takes its place meanwhile tells the protocol to those who ask the connection.
            let stand_in = Reply::new(c.output.reply.protocol());
            let mut reply = std::mem::replace(&mut c.output.reply, stand_in);
            reply.bound(self.executor.reply_bytes_max);
            write(self, c, &mut reply);
            c.output.reply = reply;
            return;
        }
        let mut reply = self.executor.take_reply(c.output.reply.protocol());
        write(self, c, &mut reply);
        // The command may have switched replies off or on for itself (CLIENT REPLY).
        c.output.reply.set_protocol(reply.protocol());
        let silent = c.flags.any(Flag::ReplyOff as u32 | Flag::ReplySkip as u32);
        if silent || reply.is_empty() {
            reply.clear();
            self.executor.spare_reply = reply;
        } else if c.pipeline.is_empty() {
            c.output.reply.append(&mut reply);
            self.executor.spare_reply = reply;
        } else {
            c.pipeline.push(&mut reply);
            self.executor.spare_reply = reply;
        }
    }
}

/// A complete request, and what is known about it before it runs.
pub(super) struct Prepared<'a> {
    pub args: Slices<'a>,
    /// Where it ends in the input.
    end: usize,
    pub spec: Option<&'static CommandSpec>,
    pub ahead: Option<Prefetched>,
}

/// Why no further request follows.
enum Stop {
    Incomplete { total_hint: usize },
    Error(ProtocolError),
}

struct End {
    /// Everything in front of this has been parsed.
    at: usize,
    stop: Option<Stop>,
}

/// Parses up to `depth` requests from `at` on.
fn gather<'a>(
    parser: &'a mut RequestParser,
    input: &'a [u8],
    at: usize,
    limits: &Limits,
    depth: usize,
    batch: &mut SmallVec<[Prepared<'a>; LOOK_AHEAD]>,
) -> End {
    let mut end = End { at, stop: None };
    while batch.len() < depth {
        match parser.parse(&input[end.at..], limits) {
            Ok(Progress::Complete { len }) => {
                if parser.unquoted().is_some() {
                    break;
                }
                let source = &input[end.at..end.at + len];
                end.at += len;
                if !parser.args().is_empty() {
                    let args =
                        parser.args().iter().map(|arg| &source[arg.start..arg.start + arg.len]).collect();
                    batch.push(Prepared { args, end: end.at, spec: None, ahead: None });
                }
            }
            Ok(Progress::Incomplete { total_hint }) => {
                end.stop = Some(Stop::Incomplete { total_hint });
                return end;
            }
            Err(error) => {
                end.stop = Some(Stop::Error(error));
                return end;
            }
        }
    }
    // An inline request whose arguments the parser has unescaped into its own memory: the last of the batch.
    let parser: &'a RequestParser = parser;
    if let (true, Some(text)) = (batch.len() < depth, parser.unquoted()) {
        end.at = parser_end(input, end.at);
        let args = parser.args().iter().map(|arg| &text[arg.start..arg.start + arg.len]).collect();
        batch.push(Prepared { args, end: end.at, spec: None, ahead: None });
    }
    end
}

/// The end of the line that begins at `at`.
fn parser_end(input: &[u8], at: usize) -> usize {
    memchr::memchr(b'\n', &input[at..]).map_or(input.len(), |line| at + line + 1)
}
