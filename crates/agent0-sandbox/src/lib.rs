//! Running untrusted Python: isolation, limits, one warm zygote.
//!
//! [`Sandbox::start`] launches a fresh single-threaded process (the launcher), which locks itself into a private world, becomes a Python
//! interpreter with the preloaded modules warmed up (the zygote), and then forks one child for each call. It does not know what the code
//! is for: fences, tool messages and grading belong to other crates.
//!
//! | file | subject |
//! |---|---|
//! | `sandbox.rs` | the handle: start, run, queueing |
//! | `supervisor.rs`, `call.rs` | the thread that owns the zygote; one call as it sees it |
//! | `session.rs` | a call that is talked to |
//! | `zygote.rs`, `channel.rs`, `protocol.rs` | the zygote's process, the socket to it, what is said on it |
//! | `launcher.rs`, `attempt.rs` | the launcher process; its steps, which may fail |
//! | `isolation.rs`, `ladder.rs` | the levels of isolation; which of them a machine allows |
//! | `namespaces.rs`, `tree.rs`, `privileges.rs`, `landlock.rs`, `seccomp.rs` | the layers of isolation |
//! | `stub.py`, `warm.py`, `check.py` | the zygote's Python side; warming up; the start-time self-check |
//!
//! # The launcher
//! The launcher is this same executable started again, so a program that uses this crate calls [`launcher_main`] first thing in `main`:
//! ```no_run
//! if std::env::args().nth(1).as_deref() == Some(agent0_sandbox::LAUNCHER_ARGUMENT) {
//!     agent0_sandbox::launcher_main();
//! }
//! ```
//! Test executables have no such `main`. A crate whose tests need a sandbox names this crate as a dev-dependency with the feature
//! `test-launcher`: every executable linked with it then recognises the argument before its own `main` runs, and nothing else is needed.

mod attempt;
mod call;
mod channel;
mod error;
mod interpreter;
mod isolation;
mod ladder;
mod landlock;
mod launcher;
mod limits;
mod names;
mod namespaces;
mod outcome;
mod privileges;
mod protocol;
mod sandbox;
mod seccomp;
mod session;
mod supervisor;
mod sys;
mod tree;
mod zygote;

pub use call::Program;
pub use error::SandboxError;
pub use isolation::{Isolation, Probe, Step};
pub use launcher::{LAUNCHER_ARGUMENT, launcher_main};
pub use limits::Limits;
pub use outcome::{Outcome, Status};
pub use sandbox::{Sandbox, SandboxConfig, probe, probe_with};
pub use session::{Reply, Session};
