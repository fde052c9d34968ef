//! What can go wrong around a call. What the code itself does wrong is an [`Outcome`](crate::Outcome).

use std::path::PathBuf;

use crate::Probe;

/// What can go wrong around a call, with what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SandboxError {
    /// The interpreter could not be asked about itself.
    #[error("the Python interpreter {} is not usable: {cause}; name another Python (3.10 or newer, with ctypes)", python.display())]
    Python {
        /// The interpreter.
        python: PathBuf,
        /// What happened.
        cause: String,
    },
    /// This machine offers no isolation. Code is never run unprotected.
    #[error("untrusted Python cannot be isolated on this machine, so it is not run:\n{0}")]
    NoIsolation(Probe),
    /// The launcher or the zygote did not come up.
    #[error("the sandbox did not start: {0}")]
    Start(String),
    /// The self-check found that isolation does not hold, although every step of it succeeded.
    #[error("the sandbox's self-check failed, so nothing is run in it: {0}")]
    Breach(String),
    /// A call could not be locked in. Its code was not run.
    #[error("a call could not be locked in, so its code was not run: {0}")]
    Setup(String),
    /// The zygote died under a call, and again when the call was repeated.
    #[error("the sandbox's Python process died twice under one call: {0}")]
    Lost(String),
    /// A limit makes no sense.
    #[error("senseless limit: {0}")]
    Limits(String),
    /// The operating system refused something that a call needs.
    #[error("{what}: {cause}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// The system's answer.
        cause: String,
    },
    /// The sandbox was shut down while the call waited.
    #[error("the sandbox was shut down")]
    Closed,
}

impl SandboxError {
    /// A refusal of the operating system.
    pub(crate) fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |cause| Self::System { what, cause: cause.to_string() }
    }
}
