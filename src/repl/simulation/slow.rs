//! Replicas behind slow connections, whose snapshots take longer than writers need to fill what they may have to take.

use super::data::shard_of;
use super::world::{Plant, World};

const RUN_MS: u64 = 15_000;
/// What may wait for one replica, bytes: writers fill it in half a second.
const LIMIT: u64 = 32_768;

/// How many full synchronisations the master gives three replicas, with some hundred KB to take each, while writers write as fast as they
/// may; and what is written meanwhile.
fn full_syncs(seed: u64, throttle_bytes: u64) -> (u64, u64) {
    let mut world = World::new(seed, Plant::Nothing);
    world.bytes_in_ms = Some(50);
    world.settings.hard_limit = LIMIT;
    world.settings.throttle_bytes = throttle_bytes;
    let settings = world.settings.clone();
    world.nodes[0].replicas.configure(settings);
    for value in 0..8_000 {
        world.nodes[0].push(0, &format!("k{}", value % 8), value);
    }
    let before = world.values;
    while world.now_ms < RUN_MS {
        let may_write = !world.nodes[0].replicas.wants_throttle(world.now_ms);
        for _ in 0..if may_write { 8 } else { 0 } {
            world.values += 1;
            let key = format!("d{}", world.values % 3);
            world.nodes[0].push(1, &key, world.values);
            if world.values.is_multiple_of(64) {
                world.nodes[0].delete(1, &key);
            }
            world.nodes[0].turn(shard_of(&key), world.now_ms);
        }
        world.step(false).unwrap();
    }
    if throttle_bytes > 0 {
        assert_eq!(world.nodes[0].replicas.acks().len(), 3, "all are online");
    }
    (world.nodes[0].replicas.counts().full, world.values - before)
}

#[test]
fn a_slow_replica_under_a_write_load_gets_one_full_synchronisation() {
    let (full, written) = full_syncs(0, LIMIT / 4);
    assert_eq!(full, 3, "one for each replica");
    assert!(written > 1000, "writers go on: {written}");
    let (full, _) = full_syncs(0, 0);
    assert!(full > 6, "where nothing slows writers down, a replica begins again and again: {full}");
}
