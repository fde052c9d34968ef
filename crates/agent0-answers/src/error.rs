//! Why answers could not be compared. A pair without a verdict is no error: it is counted as different.

/// Why a judge could not do its work at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The sandbox in which the grader runs failed.
    #[error("comparing answers: the sandbox failed: {0}")]
    Sandbox(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The grader did not come up inside the sandbox.
    #[error(
        "comparing answers: math-verify does not start in the sandbox ({status}): {stderr}; remove the `python` folder of the cache to have the environment made afresh"
    )]
    Start {
        /// How the process ended.
        status: String,
        /// The end of what it said.
        stderr: String,
    },
}
