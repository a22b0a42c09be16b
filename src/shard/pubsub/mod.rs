//! Publish/subscribe over shards, and the notifications of what happens to keys, which are published alike.
//!
//! A channel has an owner, as a key has: the shard of its slot. The owner knows how many subscribers of the channel each shard has, and
//! every shard knows how many subscribers of each pattern each shard has. PUBLISH runs on the owner like a command on a key:
//! it answers from these tallies alone, and what was published goes once to each shard with somebody who listens, which knows its
//! own subscribers. A message costs one look-up on the owner and one on each shard that is concerned, however many shards there are.
//!
//! What happens to a key is published by the key's own shard, so that the events of a key keep their order, whatever channels they
//! go to. So of the channels for events every shard has a tally.
//!
//! Order: the messages of a channel come to all subscribers in one order. What is published after something else was answered comes after it,
//! also on another channel and by another client: it is in the subscribers' inbox before the answer is on its way.
//!
//! A connection that subscribes is entered on its own shard at once, and gets its answer when it has been counted everywhere: what is
//! published after the answer, by anybody, reaches it. A message that comes in between goes behind the answer.

mod registry;

use crate::shard::journal::Journal;
use crate::shard::message::SubscriberMessage;
use crate::shard::peers::Peers;
use crate::shard::scatter::Heard;
use crate::shard::scatter::Question;
use crate::shard::subscribers::Subscribers;
use crate::shard::turn::TurnState;
use crate::store::Store;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use self::registry::{SubscriberList, Tally};
use super::push::Push;
use super::{Flow, Shard};
use crate::base::glob::glob_match;
use crate::base::Token;
use crate::client::{confirm, Connection, Flag, PerTopic, Subscriptions, Topic};
use crate::command::table::{CommandSpec, Role};
use crate::command::Args;
use crate::resp::Reply;
use crate::store::EventClass;

/// Channels that begin so are for what happens to keys.
const EVENT_CHANNELS: &[u8] = b"__key";

#[derive(Debug, Default)]
pub(super) struct PubSub {
    /// Of the names that this shard owns, and of all patterns.
    pub tallies: PerTopic<Tally>,
    /// Of channels for events that other shards own.
    foreign_channels: Tally,
    /// This shard's connections.
    here: PerTopic<SubscriberList>,
}

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Publication {
    /// A channel or a shard channel.
    pub topic: Topic,
    pub channel: Bytes,
    pub message: Bytes,
}

/// A change to what one connection is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Begin,
    End,
}

/// A connection of shard `home` begins or ceases to listen to `names`.
#[derive(Clone)]
pub struct CountSubscriber {
    home: usize,
    topic: Topic,
    change: Change,
    names: Arc<[Box<[u8]>]>,
}

impl Question for CountSubscriber {
    type Answer = ();

    fn answer(self, shard: &mut Shard) {
        shard.subscribers.count_subscriber(&shard.turn, self.home, self.topic, self.change, &self.names);
    }
}

/// Subscribing and unsubscribing.
impl TurnState {
    fn only_counts_here(&self, topic: Topic, name: &[u8]) -> bool {
        self.slots.is_single() || self.slots.shard_of(name) == self.id && !counts_everywhere(topic, name)
    }

    /// Whether another shard may count it as a listener.
    pub(super) fn is_counted_elsewhere(&self, c: &Connection) -> bool {
        !self.slots.is_single() && c.subscriptions.is_some()
    }
}

impl Subscribers {
    /// Counts a connection of shard `home` that begins or ceases to listen to those of `names` that this shard has a tally of.
    fn count_subscriber(
        &mut self,
        turn: &TurnState,
        home: usize,
        topic: Topic,
        change: Change,
        names: &[Box<[u8]>],
    ) {
        for name in names {
            let tally = if topic == Topic::Pattern || turn.slots.shard_of(name) == turn.id {
                &mut self.pubsub.tallies[topic]
            } else if counts_everywhere(topic, name) {
                &mut self.pubsub.foreign_channels
            } else {
                continue;
            };
            match change {
                Change::Begin => tally.add(name, home),
                Change::End => tally.remove(name, home),
            }
        }
        if home == turn.id && topic != Topic::ShardChannel {
            let listeners = &turn.shared.listeners;
            match change {
                Change::Begin => listeners.fetch_add(names.len(), Ordering::Relaxed),
                Change::End => listeners.fetch_sub(names.len(), Ordering::Relaxed),
            };
        }
        let names = |topic| self.pubsub.tallies[topic].len() as u64;
        turn.stats.pubsub_channels.set(names(Topic::Channel));
        turn.stats.pubsub_patterns.set(names(Topic::Pattern));
        turn.stats.pubsub_shard_channels.set(names(Topic::ShardChannel));
    }

    /// PUBLISH and SPUBLISH, on the channel's owner; returns how many listen.
    pub(super) fn run_publish(
        &mut self,
        turn: &TurnState,
        store: &mut Store,
        peers: &mut Peers,
        journal: &mut Journal,
        spec: &CommandSpec,
        args: Args,
    ) -> u64 {
        let is_sharded = spec.role == Role::Publish { is_sharded: true };
        let topic = if is_sharded { Topic::ShardChannel } else { Topic::Channel };
        self.publish(turn, store, peers, journal, topic, (args[1], args[2]))
    }

    /// Sends a message to all who listen to a channel that this shard owns, or an event; returns their number.
    fn publish(
        &mut self,
        turn: &TurnState,
        store: &mut Store,
        peers: &mut Peers,
        journal: &mut Journal,
        topic: Topic,
        (channel, message): (&[u8], &[u8]),
    ) -> u64 {
        let pubsub = &mut self.pubsub;
        let (mut listeners, mut shards) = (0, SmallVec::<[usize; 8]>::new());
        let mut count = |by_shard: &[(usize, u32)]| {
            for (shard, subscribers) in by_shard {
                listeners += u64::from(*subscribers);
                if !shards.contains(shard) {
                    shards.push(*shard);
                }
            }
        };
        count(pubsub.tallies[topic].of(channel));
        if topic == Topic::Channel {
            count(pubsub.foreign_channels.of(channel));
            let matching = pubsub.tallies[Topic::Pattern]
                .iter()
                .filter(|(pattern, _)| glob_match(pattern, channel, false));
            matching.for_each(|(_, by_shard)| count(by_shard));
        }
        if !shards.is_empty() {
            let publication = Publication {
                topic,
                channel: Bytes::copy_from_slice(channel),
                message: Bytes::copy_from_slice(message),
            };
            shards.iter().for_each(|shard| {
                self.push_to_shard(
                    turn,
                    store,
                    peers,
                    journal,
                    *shard,
                    Push::Publication(publication.clone()),
                )
            });
        }
        listeners
    }

    /// Publishes what has happened to keys, if somebody wants to know.
    pub(super) fn publish_events(
        &mut self,
        turn: &TurnState,
        store: &mut Store,
        peers: &mut Peers,
        journal: &mut Journal,
    ) {
        if store.events.is_empty() {
            return;
        }
        let events = store.events.take();
        if turn.shared.listeners.load(Ordering::Relaxed) == 0 {
            return;
        }
        let classes = store.events.classes();
        for event in events {
            if classes.contains(EventClass::KEYSPACE) {
                let channel = [format!("__keyspace@{}__:", event.db).as_bytes(), &event.key].concat();
                self.publish(turn, store, peers, journal, Topic::Channel, (&channel, event.name.as_bytes()));
            }
            if classes.contains(EventClass::KEYEVENT) {
                let channel = format!("__keyevent@{}__:{}", event.db, event.name);
                self.publish(turn, store, peers, journal, Topic::Channel, (channel.as_bytes(), &event.key));
            }
        }
    }
}

impl Shard {
    /// Changes what a connection is subscribed to; it gets a message about each of `names` that begins with `what`.
    pub(super) fn subscribe(
        &mut self,
        c: &mut Connection,
        reply: &mut Reply,
        topic: Topic,
        change: Change,
        names: Vec<Box<[u8]>>,
        what: &'static str,
    ) -> Flow {
        let subscriptions = c.subscriptions.get_or_insert_default();
        let mut changed = Vec::new();
        let mut confirmations = Vec::with_capacity(names.len());
        for name in names {
            let is_changed = match change {
                Change::Begin => subscriptions.add(topic, &name),
                Change::End => subscriptions.remove(topic, &name),
            };
            let left = subscriptions.counted_with(topic);
            if is_changed {
                match change {
                    Change::Begin => self.subscribers.pubsub.here[topic].add(&name, c.token),
                    Change::End => self.subscribers.pubsub.here[topic].remove(&name, c.token),
                }
                changed.push(name.clone());
            }
            confirmations.push((name, left));
        }
        let none_left = confirmations.is_empty().then(|| subscriptions.counted_with(topic));
        if subscriptions.is_empty() {
            c.subscriptions = None;
        }
        c.flags.assign(Flag::Subscriber, c.subscriptions.is_some());
        let answer = move |reply: &mut Reply| {
            confirmations.iter().for_each(|(name, left)| confirm(reply, what, Some(name), *left));
            if let Some(left) = none_left {
                confirm(reply, what, None, left);
            }
        };
        let home = self.id;
        if changed.iter().all(|name| self.turn.only_counts_here(topic, name)) {
            self.subscribers.count_subscriber(&self.turn, home, topic, change, &changed);
            answer(reply);
            return Flow::Done;
        }
        let question = CountSubscriber { home, topic, change, names: changed.into() };
        self.ask_all_for(c, question, move |_, _, reply| answer(reply));
        Flow::Later
    }

    /// Forgets its subscriptions, and gives the reply that `answer` writes when no shard counts it any more.
    pub(super) fn leave_channels(
        &mut self,
        c: &mut Connection,
        reply: &mut Reply,
        answer: impl FnOnce(&mut Reply) + 'static,
    ) -> Flow {
        let is_counted = self.turn.is_counted_elsewhere(c);
        self.forget_subscriptions(c);
        if !is_counted {
            answer(reply);
            return Flow::Done;
        }
        // Each shard hears of it before the question.
        self.ask_all_for(c, Heard, move |_, _, reply| answer(reply));
        Flow::Later
    }

    /// The connection ends or is reset.
    pub(super) fn forget_subscriptions(&mut self, c: &mut Connection) {
        let Some(subscriptions) = c.subscriptions.take() else { return };
        c.flags.clear(Flag::Subscriber);
        let home = self.id;
        for topic in Topic::ALL {
            let names: Arc<[Box<[u8]>]> = subscriptions.of(topic).iter().cloned().collect();
            names.iter().for_each(|name| self.subscribers.pubsub.here[topic].remove(name, c.token));
            if names.is_empty() {
                continue;
            }
            for shard in self.turn.slots.all() {
                let count = CountSubscriber { home, topic, change: Change::End, names: names.clone() };
                // Behind what has told of the subscriptions.
                self.send(shard, SubscriberMessage::Count(count).into());
            }
        }
    }

    /// What the connection is subscribed to by name.
    pub(super) fn names_of(subscriptions: Option<&Subscriptions>, topic: Topic) -> Vec<Box<[u8]>> {
        subscriptions.map_or_else(Vec::new, |subscriptions| subscriptions.of(topic).iter().cloned().collect())
    }
}

/// Publishing.
impl Shard {
    /// Returns how often it has written the message.
    pub(super) fn deliver(&mut self, Publication { topic, channel, message }: &Publication) -> usize {
        let what: &[u8] = if *topic == Topic::ShardChannel { b"smessage" } else { b"message" };
        let listeners: SmallVec<[Token; 8]> = self.subscribers.pubsub.here[*topic].of(channel).collect();
        let mut written = listeners.len();
        for token in listeners {
            self.push_to_connection(token, |reply| {
                reply.push(3);
                reply.bulk(what);
                reply.bulk(channel);
                reply.shared_bulk(message);
            });
        }
        if *topic == Topic::Channel {
            written += self.deliver_by_pattern(channel, message);
        }
        written
    }

    fn deliver_by_pattern(&mut self, channel: &Bytes, message: &Bytes) -> usize {
        let matching = self.subscribers.pubsub.here[Topic::Pattern]
            .iter()
            .filter(|(pattern, _)| glob_match(pattern, channel, false));
        let matching: SmallVec<[(Bytes, Vec<Token>); 2]> = matching
            .map(|(pattern, tokens)| (Bytes::copy_from_slice(pattern), tokens.iter().copied().collect()))
            .collect();
        let written = matching.iter().map(|(_, tokens)| tokens.len()).sum();
        for (pattern, tokens) in matching {
            for token in tokens {
                self.push_to_connection(token, |reply| {
                    reply.push(4);
                    reply.bulk(b"pmessage");
                    reply.bulk(&pattern);
                    reply.bulk(channel);
                    reply.shared_bulk(message);
                });
            }
        }
        written
    }
}

/// Whether every shard has a tally of the name.
fn counts_everywhere(topic: Topic, name: &[u8]) -> bool {
    topic == Topic::Pattern || topic == Topic::Channel && name.starts_with(EVENT_CHANNELS)
}
