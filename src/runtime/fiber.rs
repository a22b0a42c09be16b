//! Code that can stand still in the middle of anything it calls, because it has a stack of its own: what scripts run on.
//!
//! Only the thread that made a fiber runs it. What runs on it gives way by its `Suspender`, from however deep inside, frames of C
//! included, and goes on there when the fiber is resumed.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

/// The memory of a fiber's stack. A fiber that runs over it ends the process, as a thread does.
pub struct FiberStack(DefaultStack);

impl FiberStack {
    /// `bytes` of address space; memory is taken as it is used.
    pub fn new(bytes: usize) -> io::Result<FiberStack> {
        DefaultStack::new(bytes).map(FiberStack)
    }
}

/// By which a fiber gives way. Copies are the same one.
pub struct Suspender<In, Out>(Rc<Cell<Option<*const Yielder<In, Out>>>>);

impl<In, Out> Clone for Suspender<In, Out> {
    fn clone(&self) -> Self {
        Suspender(self.0.clone())
    }
}

impl<In, Out> Default for Suspender<In, Out> {
    fn default() -> Self {
        Suspender(Rc::default())
    }
}

impl<In, Out> Suspender<In, Out> {
    /// Gives way with `out`, and returns what the fiber is resumed with. None: no fiber of this suspender runs.
    pub fn suspend(&self, out: Out) -> Option<In> {
        let yielder = self.0.get()?;
        // Whoever runs meanwhile is not this fiber.
        self.0.set(None);
        // SAFETY: the pointer is there only while the fiber runs that set it (see `Fiber::new` and below), and it points into that
        // fiber's stack. There is one thread, so the caller is on that stack.
        let with = unsafe { &*yielder }.suspend(out);
        self.0.set(Some(yielder));
        Some(with)
    }
}

/// What a fiber has done since it was resumed.
pub enum Step<Out, End> {
    Suspended(Out),
    Ended(End),
}

pub struct Fiber<In, Out, End> {
    coroutine: Option<Coroutine<In, Out, End, DefaultStack>>,
}

impl<In: 'static, Out: 'static, End: 'static> Fiber<In, Out, End> {
    /// Runs `body` when it is resumed for the first time; what it is resumed with then is lost.
    pub fn new(
        stack: FiberStack,
        suspender: &Suspender<In, Out>,
        body: impl FnOnce() -> End + 'static,
    ) -> Fiber<In, Out, End> {
        let place = suspender.0.clone();
        let coroutine = Coroutine::with_stack(stack.0, move |yielder: &Yielder<In, Out>, _| {
            place.set(Some(yielder));
            let end = body();
            place.set(None);
            end
        });
        Fiber { coroutine: Some(coroutine) }
    }

    /// None: it has ended.
    pub fn resume(&mut self, with: In) -> Option<Step<Out, End>> {
        let coroutine = self.coroutine.as_mut().filter(|coroutine| !coroutine.done())?;
        Some(match coroutine.resume(with) {
            CoroutineResult::Yield(out) => Step::Suspended(out),
            CoroutineResult::Return(end) => Step::Ended(end),
        })
    }

    /// The stack of one that has ended.
    pub fn into_stack(mut self) -> Option<FiberStack> {
        let coroutine = self.coroutine.take_if(|coroutine| coroutine.done())?;
        Some(FiberStack(coroutine.into_stack()))
    }
}

impl<In, Out, End> Drop for Fiber<In, Out, End> {
    fn drop(&mut self) {
        if let Some(mut coroutine) = self.coroutine.take() {
            if coroutine.started() && !coroutine.done() {
                // SAFETY: nothing on that stack is run or dropped any more: what it owns is leaked, and so is never looked at. A
                // suspender has no pointer to it, since the fiber does not run.
                unsafe { coroutine.force_reset() };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fiber_stands_still_and_goes_on() {
        let suspender: Suspender<u32, &str> = Suspender::default();
        assert_eq!(suspender.suspend("nobody runs"), None);
        let inside = suspender.clone();
        let mut fiber = Fiber::new(FiberStack::new(64 * 1024).unwrap(), &suspender, move || {
            let first = inside.suspend("first").unwrap();
            let second = inside.suspend("second").unwrap();
            first * 10 + second
        });
        assert!(matches!(fiber.resume(0), Some(Step::Suspended("first"))));
        assert_eq!(suspender.suspend("it stands still"), None);
        assert!(matches!(fiber.resume(4), Some(Step::Suspended("second"))));
        assert!(matches!(fiber.resume(2), Some(Step::Ended(42))));
        assert!(fiber.resume(0).is_none() && fiber.into_stack().is_some());
    }

    #[test]
    fn a_fiber_that_stands_still_may_be_dropped() {
        let suspender: Suspender<(), ()> = Suspender::default();
        let inside = suspender.clone();
        let mut fiber = Fiber::new(FiberStack::new(64 * 1024).unwrap(), &suspender, move || {
            inside.suspend(());
        });
        fiber.resume(());
        drop(fiber);
        assert!(suspender.suspend(()).is_none());
    }
}
