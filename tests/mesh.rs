//! The mesh between shards, in every order in which the steps of its threads can come: loom runs each test once for each.
//!
//! The mesh's own source is compiled here with loom's atomics instead of the standard library's. It finds what a test between real
//! threads meets once in a year: a message read before it is written, or a sleeper that nobody wakes.

use loom::thread;

mod sync {
    pub(super) use loom::cell::UnsafeCell;
    pub(super) use loom::sync::atomic::{fence, AtomicBool, AtomicI32, AtomicUsize, Ordering};
    pub(super) use loom::sync::Arc;
}

#[allow(dead_code)]
#[path = "../src/runtime/mesh.rs"]
mod mesh;

use mesh::{queue, Mesh};

const RING: i32 = 7;

/// All orders in which no thread is interrupted by others more often than this: beyond it there are only longer ways to the same states.
const INTERRUPTIONS_MAX: usize = 3;

fn in_every_order(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(INTERRUPTIONS_MAX);
    builder.check(test);
}

#[test]
fn messages_arrive_whole_and_in_order_through_a_queue_that_fills() {
    in_every_order(|| {
        let (producer, consumer) = queue::<Box<u32>>(2);
        let sender = thread::spawn(move || {
            for number in 0..3 {
                let mut message = Box::new(number);
                while let Err(back) = producer.push(message) {
                    message = back;
                    thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < 3 {
            match consumer.pop() {
                Some(number) => {
                    assert_eq!(*number, expected);
                    expected += 1;
                }
                None => thread::yield_now(),
            }
        }
        sender.join().unwrap();
        assert!(consumer.is_empty());
    });
}

#[test]
fn what_is_left_in_a_queue_is_dropped_once_whichever_end_goes_last() {
    in_every_order(|| {
        let counted = std::sync::Arc::new(());
        let (producer, consumer) = queue(2);
        let message = counted.clone();
        let sender = thread::spawn(move || {
            assert!(producer.push(message.clone()).is_ok() && producer.push(message).is_ok());
        });
        drop(consumer.pop());
        drop(consumer);
        sender.join().unwrap();
        assert_eq!(std::sync::Arc::strong_count(&counted), 1);
    });
}

#[test]
fn a_shard_that_goes_to_sleep_sees_the_message_or_is_rung() {
    in_every_order(|| {
        let mut meshes = Mesh::<u32>::with_capacity(2, 1);
        let (sleeper, sender) = (meshes.pop().unwrap(), meshes.pop().unwrap());
        sleeper.set_ring(RING);
        let sending = thread::spawn(move || {
            sender.send(1, 1).unwrap();
            sender.bell_to_ring(1)
        });
        let sleeps = sleeper.about_to_sleep();
        let rung = sending.join().unwrap();
        if sleeps {
            assert_eq!(rung, Some(RING), "nobody wakes it, and the message waits");
        }
        sleeper.awake();
        assert_eq!(sleeper.receive(0), Some(1));
    });
}

#[test]
fn two_senders_knock_once_at_a_sleeper() {
    in_every_order(|| {
        let mut meshes = Mesh::<u32>::with_capacity(3, 1);
        let sleeper = meshes.pop().unwrap();
        sleeper.set_ring(RING);
        let sending: Vec<_> = meshes
            .into_iter()
            .map(|sender| {
                thread::spawn(move || {
                    sender.send(2, 1).unwrap();
                    sender.bell_to_ring(2)
                })
            })
            .collect();
        let sleeps = sleeper.about_to_sleep();
        let knocks = sending.into_iter().filter_map(|sending| sending.join().unwrap()).count();
        assert!(knocks <= 1, "the second knock would be a system call for nothing");
        assert!(knocks == 1 || !sleeps);
    });
}
