//! What the mesh shares memory by. `tests/mesh.rs` puts loom's types in the place of these, and tries all orders in which threads
//! can meet there.

pub(super) use std::sync::atomic::{fence, AtomicBool, AtomicI32, AtomicUsize, Ordering};
pub(super) use std::sync::Arc;

/// As the standard library's, reached in the way that loom can watch.
pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(super) fn new(value: T) -> Self {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(super) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}
