//! Writes a large value in pieces, for whoever has something else to do in between: the bytes are those that `Encoder::value`
//! writes, but that long strings are compressed in segments, or, when they are very long, not at all.

use std::collections::VecDeque;

use super::super::blob::stream_node::id_bytes;
use super::super::output::{
    is_compression_worth, put_compressed_head, put_double, put_length, Compression, Output,
};
use super::{put_pending, Encoder};
use crate::store::lzf::Compressor;
use crate::store::stream::{Group, Stream, StreamId};
use crate::store::{HashView, ListView, NodeItems, SetView, SortedSetView, Value};

/// For tests, which have small values to break up.
const SCALE: usize = if cfg!(test) { 64 } else { 1 };
/// A piece ends when it has so many bytes, before or after compression,
const PIECE_BYTES: usize = 32 * 1024 / SCALE;
/// or so many elements.
const PIECE_ELEMENTS: usize = 1024 / SCALE;
/// Bytes of a string that are copied at once.
const COPIED_BYTES: usize = 128 * 1024 / SCALE;
/// Bytes of a string that are compressed at once. Repetitions of what is in another segment are not found: some percent of what
/// compression gains.
const SEGMENT_BYTES: usize = 32 * 1024 / SCALE;
/// A longer string is not compressed: its compressed form would have to be kept until its length is known.
const COMPRESSED_WHOLE_MAX: usize = (16 << 20) / SCALE;

/// How much of a value is written. The value must stay as it is from `begin` until `go_on` has answered true.
#[derive(Debug, Default)]
pub struct Pieces {
    place: Position,
    compressor: Compressor,
}

/// What comes next.
#[derive(Debug, Default)]
enum Position {
    /// All of it: it is not written in pieces.
    #[default]
    Whole,
    /// Of a set or hash, as its walk counts.
    Member(usize),
    /// Of a sorted set: so many elements are left.
    Ranks(usize),
    /// A node of a list.
    ListNode(usize),
    /// A node of a stream; `None`: there are no more, and the counters follow.
    StreamNode(Option<StreamId>),
    /// The groups of a stream behind this one.
    GroupAfter(Option<Box<[u8]>>),
    Pending {
        group: Box<[u8]>,
        from: StreamId,
    },
    /// What is pending for consumer number `index`; its head comes first when `from` is `None`.
    Consumer {
        group: Box<[u8]>,
        index: usize,
        from: Option<StreamId>,
    },
    Text(Text),
}

/// A string, of which so many bytes are done.
#[derive(Debug)]
enum Text {
    Compressing { done: usize, segments: VecDeque<Vec<u8>> },
    Compressed(VecDeque<Vec<u8>>),
    Plain(usize),
}

/// Counts what is put.
struct Metered<'a, O> {
    output: &'a mut O,
    bytes: usize,
    elements: usize,
}

impl<O: Output> Output for Metered<'_, O> {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.output.put(bytes);
    }
}

impl<O> Metered<'_, O> {
    /// One element more; false when that was enough.
    fn goes_on(&mut self) -> bool {
        self.elements += 1;
        self.elements < PIECE_ELEMENTS && self.bytes < PIECE_BYTES
    }
}

impl Pieces {
    /// Writes what stands in front of the first piece.
    pub fn begin(&mut self, encoder: &Encoder, value: &Value, output: &mut impl Output) {
        self.place = match value {
            Value::Set(set @ SetView::Table(_)) => {
                put_length(output, set.len() as u64);
                Position::Member(0)
            }
            Value::Hash(hash @ HashView::Table(_)) => {
                put_length(output, hash.len() as u64);
                Position::Member(0)
            }
            Value::SortedSet(sorted_set @ SortedSetView::Large(_)) => {
                put_length(output, sorted_set.len() as u64);
                Position::Ranks(sorted_set.len())
            }
            Value::List(list) => {
                put_length(output, list.nodes() as u64);
                Position::ListNode(0)
            }
            Value::Stream(stream) => {
                put_length(output, stream.log().node_count() as u64);
                Position::StreamNode(stream.log().first_node_id())
            }
            Value::Shared(bytes) if bytes.len() > SEGMENT_BYTES => {
                let compresses = encoder.writer.compression() == Compression::Lzf;
                Position::Text(if compresses && bytes.len() <= COMPRESSED_WHOLE_MAX {
                    Text::Compressing { done: 0, segments: VecDeque::new() }
                } else {
                    put_length(output, bytes.len() as u64);
                    Text::Plain(0)
                })
            }
            _ => Position::Whole,
        };
    }

    /// Writes the next piece; true when that was the last.
    pub fn go_on(&mut self, encoder: &mut Encoder, value: &Value, output: &mut impl Output) -> bool {
        let mut output = Metered { output, bytes: 0, elements: 0 };
        let next = match (std::mem::take(&mut self.place), value) {
            (Position::Member(position), Value::Set(set)) => members(encoder, *set, position, &mut output),
            (Position::Member(position), Value::Hash(hash)) => fields(encoder, *hash, position, &mut output),
            (Position::Ranks(left), Value::SortedSet(sorted_set)) => {
                elements(encoder, *sorted_set, left, &mut output)
            }
            (Position::ListNode(number), Value::List(list)) => {
                list_nodes(encoder, *list, number, &mut output)
            }
            (Position::Text(text), Value::Shared(bytes)) => {
                self.text(text, bytes, &mut output).map(Position::Text)
            }
            (place, Value::Stream(stream)) => part_of_stream(encoder, stream, place, &mut output),
            _ => {
                encoder.value(value, &mut output);
                None
            }
        };
        let is_done = next.is_none();
        self.place = next.unwrap_or_default();
        is_done
    }

    fn text(&mut self, text: Text, bytes: &[u8], output: &mut impl Output) -> Option<Text> {
        match text {
            Text::Compressing { done, mut segments } if done < bytes.len() => {
                let end = bytes.len().min(done + SEGMENT_BYTES);
                let mut segment = Vec::new();
                // Enough for what does not get shorter at all.
                let limit = (end - done) + (end - done) / 16 + 16;
                let fits = self.compressor.compress(&bytes[done..end], &mut segment, limit);
                debug_assert!(fits);
                segments.push_back(segment);
                Some(Text::Compressing { done: end, segments })
            }
            Text::Compressing { segments, .. } => {
                // One segment after the other is compressed text again, as no repetition reaches out of its own.
                let compressed_len = segments.iter().map(Vec::len).sum();
                if is_compression_worth(compressed_len, bytes.len()) {
                    put_compressed_head(output, compressed_len, bytes.len());
                    Some(Text::Compressed(segments))
                } else {
                    put_length(output, bytes.len() as u64);
                    Some(Text::Plain(0))
                }
            }
            Text::Compressed(mut segments) => {
                let segment = segments.pop_front()?;
                output.put(&segment);
                (!segments.is_empty()).then_some(Text::Compressed(segments))
            }
            Text::Plain(done) => {
                let end = bytes.len().min(done + COPIED_BYTES);
                output.put(&bytes[done..end]);
                (end < bytes.len()).then_some(Text::Plain(end))
            }
        }
    }
}

fn members<O: Output>(
    encoder: &mut Encoder,
    set: SetView,
    mut position: usize,
    output: &mut Metered<O>,
) -> Option<Position> {
    let mut goes_on = true;
    while goes_on {
        position = set.walk(position, |member| {
            encoder.item(member, output);
            goes_on = output.goes_on();
        })?;
    }
    Some(Position::Member(position))
}

fn fields<O: Output>(
    encoder: &mut Encoder,
    hash: HashView,
    mut position: usize,
    output: &mut Metered<O>,
) -> Option<Position> {
    let mut goes_on = true;
    while goes_on {
        position = hash.walk(position, |field, value| {
            encoder.item(field, output);
            encoder.item(value, output);
            goes_on = output.goes_on();
        })?;
    }
    Some(Position::Member(position))
}

fn elements<O: Output>(
    encoder: &mut Encoder,
    sorted_set: SortedSetView,
    mut left: usize,
    output: &mut Metered<O>,
) -> Option<Position> {
    for (member, score) in sorted_set.elements(0..left, true) {
        encoder.item(member, output);
        put_double(output, score);
        left -= 1;
        if !output.goes_on() {
            break;
        }
    }
    (left > 0).then_some(Position::Ranks(left))
}

fn list_nodes<O: Output>(
    encoder: &mut Encoder,
    list: ListView,
    mut number: usize,
    output: &mut Metered<O>,
) -> Option<Position> {
    list.visit_nodes_from(number, |node| {
        // Compression may make little of much.
        output.bytes += match &node {
            NodeItems::Packed(items) => items.as_bytes().len(),
            NodeItems::Plain(element) => element.len(),
        };
        encoder.list_node(node, output);
        number += 1;
        output.goes_on()
    });
    (number < list.nodes()).then_some(Position::ListNode(number))
}

fn part_of_stream<O: Output>(
    encoder: &mut Encoder,
    stream: &Stream,
    place: Position,
    output: &mut Metered<O>,
) -> Option<Position> {
    match place {
        Position::StreamNode(Some(first)) => {
            let mut nodes = stream.log().nodes_from(first);
            let mut goes_on = true;
            while let (true, Some(node)) = (goes_on, nodes.next()) {
                encoder.stream_node(node, output);
                output.bytes += encoder.blob.len();
                goes_on = output.goes_on();
            }
            Some(Position::StreamNode(if goes_on { None } else { nodes.next().map(|node| node.first_id()) }))
        }
        Position::StreamNode(None) => {
            encoder.stream_counters(stream, output);
            group_after(encoder, stream, None, output)
        }
        Position::GroupAfter(name) => group_after(encoder, stream, name.as_deref(), output),
        Position::Pending { group: name, from } => {
            let group = group(stream, &name);
            for (id, pending) in group.pending_range(from..=StreamId::MAX) {
                if output.bytes >= PIECE_BYTES {
                    return Some(Position::Pending { group: name, from: id });
                }
                put_pending(output, (id, pending));
            }
            put_length(output, group.consumer_count() as u64);
            Some(Position::Consumer { group: name, index: 0, from: None })
        }
        Position::Consumer { group: name, index, from } => {
            for (index, consumer) in group(stream, &name).consumers().enumerate().skip(index) {
                if output.bytes >= PIECE_BYTES {
                    return Some(Position::Consumer { group: name, index, from: None });
                }
                // Only the first one may be half done.
                let from = from.filter(|_| output.bytes == 0);
                if from.is_none() {
                    encoder.consumer_head(consumer, output);
                }
                for id in consumer.pending_from(from.unwrap_or(StreamId::MIN)) {
                    if output.bytes >= PIECE_BYTES {
                        return Some(Position::Consumer { group: name, index, from: Some(id) });
                    }
                    output.put(&id_bytes(id));
                }
            }
            Some(Position::GroupAfter(Some(name)))
        }
        // No part of a stream.
        _ => {
            encoder.value(&Value::Stream(stream), output);
            None
        }
    }
}

fn group<'a>(stream: &'a Stream, name: &[u8]) -> &'a Group {
    stream.group(name).expect("a value does not change while it is written")
}

fn group_after(
    encoder: &mut Encoder,
    stream: &Stream,
    name: Option<&[u8]>,
    output: &mut impl Output,
) -> Option<Position> {
    let (name, group) = stream.group_after(name)?;
    encoder.group_head(name, group, output);
    Some(Position::Pending { group: name.into(), from: StreamId::MIN })
}
