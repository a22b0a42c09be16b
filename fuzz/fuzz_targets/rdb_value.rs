#![no_main]

#[path = "../targets/rdb_value.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
