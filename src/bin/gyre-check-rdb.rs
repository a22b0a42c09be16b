//! `gyre-check-rdb FILE`: checks an RDB file.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: gyre::runtime::alloc::CountingMimalloc = gyre::runtime::alloc::CountingMimalloc;

fn main() -> ExitCode {
    gyre::persist::check_rdb::main(std::env::args_os())
}
