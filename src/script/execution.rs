//! A script that runs: it goes on until it calls a command, has taken its time, or ends.

use super::library::Library;
use super::source::Script;
use super::vm::{Outcome, Registering, Vm};
use crate::base::Stamp;
use crate::command::{Audience, OwnedArgs};
use crate::resp::{Protocol, Text};
use crate::runtime::fiber::{Fiber, FiberStack, Step, Suspender};
use crate::runtime::lua::guard::{CodeLine, Warden};
use mlua::Function;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// A script takes so long before others get a turn, nanoseconds.
const SLICE_NANOS: u64 = 2_000_000;

/// Why a script stands still.
#[derive(Debug)]
pub enum Progress {
    /// It calls a command, and waits for `Resume::Reply`.
    Call(OwnedArgs),
    /// It asks whether its user might run this, and waits for `Resume::Permission`.
    AskPermission(OwnedArgs),
    /// It has taken long; it goes on with `Resume::GoOn`.
    Slice,
    Done(Box<Outcome>),
}

/// What a script goes on with.
#[derive(Debug)]
pub enum Resume {
    GoOn,
    /// The command's reply, encoded in the protocol that the script has chosen.
    Reply(Vec<u8>),
    /// The command has not run: an error text, with a code in front when it begins with `-`.
    Refused(Text),
    /// None: there is no such command.
    Permission(Option<bool>),
}

/// What is to be run.
#[derive(Clone, Debug)]
pub enum What {
    Script(Arc<Script>),
    Function(LibraryFunction),
}

/// A registered function, by its name as it was registered.
#[derive(Clone, Debug)]
pub struct LibraryFunction {
    pub library: Arc<Library>,
    pub name: Arc<str>,
}

impl What {
    /// As error messages name it.
    pub fn name(&self) -> String {
        match self {
            What::Script(script) => script.sha.text().to_string(),
            What::Function(called) => called.name.to_string(),
        }
    }
}

/// What the functions of an interpreter know about the script that runs in it.
#[derive(Default)]
pub(super) struct Running {
    suspender: Suspender<Resume, Progress>,
    pub protocol: Cell<Protocol>,
    /// `redis.set_repl`: 1 the append-only file, 2 the replicas.
    pub propagation: Cell<u8>,
    pub is_killed: Cell<bool>,
    pub resumed_at: Cell<Option<Stamp>>,
    /// Where it was killed.
    pub killed_at: RefCell<CodeLine>,
    /// While a library is being loaded: what it has registered.
    pub registering: RefCell<Option<Registering>>,
    /// When that must have ended.
    pub load_until: Cell<Option<Instant>>,
    pub is_load_late: Cell<bool>,
    /// The library is one that has been loaded elsewhere, where it has logged what it logs.
    pub is_loaded_again: Cell<bool>,
}

impl Warden for Running {
    fn look(&self) -> bool {
        if !self.is_killed.get() && self.has_taken_long() {
            self.ask(Progress::Slice);
        }
        let is_late = self.load_until.get().is_some_and(|until| Instant::now() > until);
        if is_late {
            self.is_load_late.set(true);
        }
        self.is_killed.get() || is_late
    }

    fn killed_at(&self, place: CodeLine) {
        self.killed_at.replace(place);
    }
}

impl Running {
    /// Lets the script stand still until whoever runs it has an answer. None: no script runs (a library is being loaded).
    pub fn ask(&self, progress: Progress) -> Option<Resume> {
        self.suspender.suspend(progress)
    }

    pub fn has_taken_long(&self) -> bool {
        self.resumed_at.get().is_some_and(|at| Stamp::now().nanos_since(at) > SLICE_NANOS)
    }
}

pub struct Execution {
    body: Fiber<Resume, Progress, Outcome>,
    vm: Option<Vm>,
    running: Rc<Running>,
}

impl Execution {
    /// `protocol`: of the client. Nothing runs yet. `code` belongs to the interpreter.
    pub(super) fn new(
        mut vm: Vm,
        stack: FiberStack,
        code: Function,
        what: &What,
        keys: &[&[u8]],
        args: &[&[u8]],
        protocol: Protocol,
    ) -> Execution {
        let running = vm.running();
        running.protocol.set(Protocol::Resp2);
        running.propagation.set(3);
        running.is_killed.set(false);
        running.killed_at.take();
        let runner = vm.runner();
        let what = what.clone();
        let (mut texts, key_count) = (OwnedArgs::from_slices(keys), keys.len());
        args.iter().for_each(|arg| texts.push(arg));
        let body = Fiber::new(stack, &running.suspender, move || {
            runner.run(code, &what, &texts.slices(), key_count, protocol)
        });
        Execution { body, vm: Some(vm), running }
    }

    /// Its time counts from now on.
    pub fn begin_slice(&self) {
        self.running.resumed_at.set(Some(Stamp::now()));
    }

    pub fn resume(&mut self, with: Resume) -> Progress {
        match self.body.resume(with) {
            Some(Step::Suspended(progress)) => progress,
            Some(Step::Ended(outcome)) => Progress::Done(Box::new(outcome)),
            None => Progress::Slice,
        }
    }

    /// Whether it has had its time.
    pub fn has_taken_long(&self) -> bool {
        self.running.has_taken_long()
    }

    /// What the script wants replies in.
    pub fn protocol(&self) -> Protocol {
        self.running.protocol.get()
    }

    /// Who learns what commands do.
    pub fn audience(&self) -> Audience {
        match self.running.propagation.get() & 3 {
            0 => Audience::Nobody,
            1 => Audience::Log,
            2 => Audience::Replicas,
            _ => Audience::All,
        }
    }

    /// The script fails as soon as it goes on.
    pub fn kill(&self) {
        self.running.is_killed.set(true);
    }

    /// The interpreter, when the script has ended; one whose script was killed, or has left too much, is not used again.
    pub fn into_vm(mut self) -> Option<Vm> {
        let stack = self.body.into_stack()?;
        let mut vm = self.vm.take()?;
        vm.write_back(stack);
        let is_spent = self.running.is_killed.get() || vm.is_spent();
        (!is_spent).then_some(vm)
    }
}
