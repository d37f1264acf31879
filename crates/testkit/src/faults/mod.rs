//! Faults at every step of a command: its process is followed by ptrace(2), and at each system call by which it changes or
//! asks something outside of itself the test says what happens there: nothing, a kill, or an error instead of the call.
//!
//! The invariant: only the threads of the one process are followed. What it starts runs free, so that a fault is in the
//! command and never in its children, and a guest is not slowed. Calls about anything but the sandbox, sockets, pipes and
//! processes are no steps: how a program finds its libraries is not what is tested.
//!
//! A [`Point`] is a step by what it is (the call, and what it is about, without what is random in names) and by how many
//! like it came before, so it is the same one in the next run, whatever the threads' order. x86-64 alone, for the numbers
//! of system calls and the names of registers.

mod calls;
mod decode;
mod points;
mod tracer;

pub use calls::Fails;
pub use points::{Point, Points};
pub use rustix::io::Errno;
pub use tracer::{Act, Traced, follow};

/// A system call that is about to be made.
#[derive(Clone, Debug)]
pub struct Step {
    pub point: Point,
    /// Whether it changes something that outlives the process, or that another sees.
    pub changes: bool,
    /// With which errors it can fail in life.
    pub fails: Fails,
}
