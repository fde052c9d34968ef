//! What is said on the channel.

use serde::{Deserialize, Serialize};

use crate::interpreter::Interpreter;
use crate::isolation::{Isolation, Probe};
use crate::limits::Limits;

/// The first message, to the launcher.
#[derive(Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The supervisor's process: the launcher does not outlive it.
    pub parent: u32,
    /// What to do.
    pub task: Task,
}

/// What the launcher is to do.
#[derive(Debug, Serialize, Deserialize)]
pub enum Task {
    /// Find out what this machine allows, answer [`Event::Probed`], end.
    Probe {
        /// The interpreter whose files are to be reached; without it, only the system's libraries are tried.
        interpreter: Option<Interpreter>,
    },
    /// Become the zygote.
    Serve(World),
}

/// What the zygote is and where it lives.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct World {
    /// The interpreter to become.
    pub interpreter: Interpreter,
    /// The modules to import and warm.
    pub preload: Vec<String>,
    /// The level of isolation; without it, the best one.
    pub isolation: Option<Isolation>,
    /// Whether no isolation at all will do where none is to be had.
    pub unsafe_no_isolation: bool,
    /// The size of each call's scratch folder, if it has one.
    pub scratch_bytes: Option<u64>,
}

/// A call, to the zygote; the descriptors with it are the code, stdin, and the write ends for stdout and stderr.
#[derive(Debug, Serialize)]
pub struct Request<'a> {
    /// Names the call in the events about it.
    pub id: u64,
    /// Seeds what [`Sandbox::run`](crate::Sandbox::run) says.
    pub seed: u64,
    /// How long the code is.
    pub code_bytes: usize,
    /// The limits that the kernel holds.
    pub limits: &'a Limits,
}

/// Everything that comes from the launcher and the zygote.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// What the machine allows.
    Probed {
        /// The findings.
        probe: Probe,
    },
    /// There is no isolation to be had.
    NoIsolation {
        /// Why.
        probe: Probe,
    },
    /// The zygote cannot come up.
    Failed {
        /// Why.
        detail: String,
    },
    /// The zygote takes calls.
    Ready {
        /// The level of isolation that holds.
        isolation: Isolation,
    },
    /// A call's process exists; its pidfd comes with the message.
    Started {
        /// The call.
        id: u64,
    },
    /// A call's process is gone.
    Exited {
        /// The call.
        id: u64,
        /// Its wait status.
        status: i32,
        /// CPU time in seconds.
        cpu_s: f64,
        /// Wall-clock time that it existed, in seconds.
        wall_s: f64,
        /// Peak resident memory.
        peak_rss_bytes: u64,
        /// Why its code was not run, when it could not be locked in.
        setup: Option<String>,
    },
}
