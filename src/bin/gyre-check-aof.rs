//! `gyre-check-aof [--fix|--truncate-to-timestamp N] FILE`: checks append-only files.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: gyre::runtime::alloc::CountingMimalloc = gyre::runtime::alloc::CountingMimalloc;

fn main() -> ExitCode {
    gyre::persist::check_aof::main(std::env::args_os())
}
