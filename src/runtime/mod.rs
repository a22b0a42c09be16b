//! The only place that knows glommio and io_uring: shard executors, the socket ring, the mesh between
//! shards, listeners, clocks and the allocator.

pub mod alloc;
pub mod arena;
pub mod aside;
mod buffers;
mod child_memory;
pub mod clock;
pub mod cpus;
pub mod crash;
pub mod executor;
pub mod fiber;
pub mod fork;
pub mod listen;
pub mod lua;
pub mod machine;
pub mod mail;
pub mod mesh;
pub mod pipes;
pub mod probe;
pub mod purge;
pub mod ring;
pub mod signals;
pub mod socket;
pub mod sys;
