//! The fuzz targets of `fuzz/targets` for a bounded time, with the stable compiler: no panic, and no allocation that the length of
//! the input does not account for.
//!
//! `fuzz/` runs the same functions under libFuzzer, whose inputs are guided by what they reach; that wants a nightly compiler. Here
//! the inputs are well-formed ones with some bytes changed, so that most of them get past the first checks.
//!
//! `FUZZ_SECONDS` is how long each target runs, `FUZZ_SEED` what its inputs are drawn from. An input that fails is kept in
//! `target/fuzz-failures`, and `FUZZ_INPUT=FILE` runs that one.

mod mutate;
mod seeds;

#[path = "../../fuzz/targets/aof_scan.rs"]
mod aof_scan;
#[allow(dead_code)]
#[path = "../support/random.rs"]
mod random;
#[path = "../../fuzz/targets/rdb_file.rs"]
mod rdb_file;
#[path = "../../fuzz/targets/rdb_value.rs"]
mod rdb_value;
#[path = "../../fuzz/targets/request_parser.rs"]
mod request_parser;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use random::Random;

/// No single allocation is larger, whatever an input says about its own size.
const ALLOCATION_BYTES_MAX: usize = 64 << 20;
/// Each target: enough for a build that is not optimised to try some thousand inputs.
const SECONDS: u64 = 3;
/// Inputs a target must have run for the test to say anything.
const INPUTS_MIN: u64 = 20;

/// The system's allocator, which notes the largest request of each thread.
struct Watched;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator as it comes; noting a number allocates nothing.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(layout.size())));
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// What is wrong with `run` for this input.
fn fault(run: fn(&[u8]), input: &[u8]) -> Option<String> {
    LARGEST.set(0);
    if catch_unwind(AssertUnwindSafe(|| run(input))).is_err() {
        return Some("panics".to_owned());
    }
    let largest = LARGEST.get();
    (largest > ALLOCATION_BYTES_MAX).then(|| format!("allocates {largest} bytes at once"))
}

fn fuzz(name: &str, run: fn(&[u8]), seeds: Vec<Vec<u8>>) {
    if let Ok(file) = std::env::var("FUZZ_INPUT") {
        if file.contains(name) {
            assert_eq!(fault(run, &std::fs::read(file).unwrap()), None);
        }
        return;
    }
    for seed in &seeds {
        assert_eq!(fault(run, seed), None, "{name}: a seed fails, {:?}", String::from_utf8_lossy(seed));
    }
    let seed = number("FUZZ_SEED", 1);
    let mut random = Random::new(seed);
    let end = Instant::now() + Duration::from_secs(number("FUZZ_SECONDS", SECONDS));
    let mut inputs = 0;
    while Instant::now() < end || inputs < INPUTS_MIN {
        let input = mutate::changed(&seeds, &mut random);
        if let Some(fault) = fault(run, &input) {
            let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/fuzz-failures");
            std::fs::create_dir_all(&folder).unwrap();
            let file = folder.join(format!("{name}-{seed}-{inputs}"));
            std::fs::write(&file, &input).unwrap();
            panic!("{name} {fault}: FUZZ_INPUT={} cargo test --test fuzz {name}", file.display());
        }
        inputs += 1;
    }
    println!("{name}: {inputs} inputs");
}

#[test]
fn aof_scan() {
    fuzz("aof_scan", aof_scan::run, seeds::logs());
}

#[test]
fn rdb_file() {
    fuzz("rdb_file", rdb_file::run, seeds::files());
}

#[test]
fn rdb_value() {
    fuzz("rdb_value", rdb_value::run, seeds::values());
}

#[test]
fn request_parser() {
    fuzz("request_parser", request_parser::run, seeds::requests());
}

#[test]
fn a_target_that_panics_or_takes_much_memory_is_found() {
    assert_eq!(fault(|_| {}, b"x"), None);
    assert_eq!(fault(|input| assert!(input.is_empty()), b"x"), Some("panics".to_owned()));
    let greedy: fn(&[u8]) =
        |_| drop(std::hint::black_box(Vec::<u8>::with_capacity(ALLOCATION_BYTES_MAX + 1)));
    assert!(fault(greedy, b"x").is_some());
}
