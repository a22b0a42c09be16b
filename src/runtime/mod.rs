//! The only place that knows io_uring: the loop of a shard, the socket ring, the mesh between
//! shards, listeners, clocks and the allocator.

pub mod alloc;
pub mod arena;
pub mod async_socket;
pub(crate) mod background_thread;
mod buffers;
mod child_memory;
pub(crate) mod clock;
pub(crate) mod cpus;
pub(crate) mod crash;
pub(crate) mod executor;
pub(crate) mod fiber;
pub mod fork;
pub(crate) mod listen;
pub(crate) mod lua;
pub(crate) mod machine;
pub(crate) mod mesh;
#[cfg(test)]
mod mesh_tests;
pub(crate) mod pipes;
pub mod probe;
pub(crate) mod purge;
pub(crate) mod ring;
pub(crate) mod signals;
pub(crate) mod socket;
mod sync;
pub mod sys;
pub(crate) mod thread_inbox;
