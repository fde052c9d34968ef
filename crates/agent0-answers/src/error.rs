//! Why answers could not be compared. A pair without a verdict is no error: it is counted as different.

/// Why a judge could not do its work at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The sandbox in which the grader runs failed.
    #[error("comparing answers: the sandbox failed: {0}")]
    Sandbox(Box<dyn std::error::Error + Send + Sync>),
    /// The grader did not come up inside the sandbox.
    #[error(
        "comparing answers: math-verify does not start in the sandbox ({status}): {said}; it needs Python 3.10 or newer with the package \
         math-verify: remove the `python` folder of the cache to have that environment made afresh, or set AGENT0_PYTHON to a newer Python"
    )]
    Start {
        /// How the process ended.
        status: String,
        /// The last line that it wrote to stderr.
        said: String,
    },
}

impl AnswerError {
    /// The grader did not come up; `stderr` is all that it wrote there.
    pub(crate) fn start(status: String, stderr: &str) -> Self {
        let said = stderr.trim_end().lines().next_back().unwrap_or("it said nothing").to_owned();
        Self::Start { status, said }
    }
}
