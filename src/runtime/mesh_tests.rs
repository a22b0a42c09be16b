//! The mesh between real threads; `tests/mesh.rs` tries all orders of its steps.

use std::sync::Arc;

use super::mesh::{queue, Mesh};

/// Under Miri each takes a thousand times as long.
const MESSAGES: usize = if cfg!(miri) { 200 } else { 100_000 };

#[test]
fn messages_arrive_in_order_across_threads() {
    let (producer, consumer) = queue::<Box<usize>>(8);
    let sender = std::thread::spawn(move || {
        for i in 0..MESSAGES {
            let mut message = Box::new(i);
            while let Err(back) = producer.push(message) {
                message = back;
                std::thread::yield_now();
            }
        }
    });
    let mut expected = 0;
    while expected < MESSAGES {
        match consumer.pop() {
            Some(value) => {
                assert_eq!(*value, expected);
                expected += 1;
            }
            None => std::thread::yield_now(),
        }
    }
    sender.join().unwrap();
    assert!(consumer.is_empty());
}

#[test]
fn a_full_queue_hands_the_message_back() {
    let (producer, consumer) = queue(2);
    assert!(producer.push(1).is_ok() && producer.push(2).is_ok());
    assert_eq!(producer.push(3), Err(3));
    assert_eq!(consumer.pop(), Some(1));
    assert!(producer.push(3).is_ok());
}

#[test]
fn messages_left_behind_are_dropped_once() {
    let counter = Arc::new(());
    let (producer, consumer) = queue(4);
    for _ in 0..3 {
        assert!(producer.push(counter.clone()).is_ok());
    }
    drop(consumer.pop());
    drop((producer, consumer));
    assert_eq!(Arc::strong_count(&counter), 1);
}

#[test]
fn a_sleeper_is_rung_once() {
    let meshes = Mesh::<u8>::connect(2);
    meshes[1].set_ring(7);
    assert!(meshes[1].about_to_sleep());
    meshes[0].send(1, 1).unwrap();
    assert_eq!(meshes[0].bell_to_ring(1), Some(7));
    assert_eq!(meshes[0].bell_to_ring(1), None);
    assert!(!meshes[1].about_to_sleep(), "a message is waiting");
    assert_eq!(meshes[1].receive(0), Some(1));
    assert!(meshes[1].about_to_sleep());
}
