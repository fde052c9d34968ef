//! One math-verify process in the sandbox that judges pair after pair.

use std::time::Duration;

use agent0_sandbox::{Limits, Reply, Sandbox, Session};

use crate::AnswerError;
use crate::spelling::for_math_verify;

/// CPU time for one pair: reading both answers and comparing them, both directions together.
const PAIR_CPU: Duration = Duration::from_secs(2);
/// CPU time for the start, when math-verify was not preloaded.
const START_CPU: Duration = Duration::from_secs(60);
/// Pairs after which a worker has done its share: what math-verify and sympy keep in memory grows.
const PAIRS: usize = 2000;

const PROGRAM: &str = concat!(include_str!("reading.py"), include_str!("apart.py"), include_str!("grade.py"));

/// A running math-verify.
pub(crate) struct Worker {
    session: Session,
    pairs: usize,
}

/// What came of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judged {
    /// A verdict: whether the two mean the same.
    Verdict(bool),
    /// None within its CPU time. The worker is of no more use.
    OutOfTime,
    /// None, because the process ended. The worker is of no more use.
    Died,
}

impl Worker {
    pub(crate) async fn start(sandbox: &Sandbox) -> Result<Self, AnswerError> {
        let sandbox_error = |error| AnswerError::Sandbox(Box::new(error));
        // Each pair has its own limit; these only end what is forgotten.
        let life = Limits { wall_s: 1e8, ..Limits::with_cpu(1_000_000) };
        let mut session = sandbox.open_session(PROGRAM, &life).await.map_err(sandbox_error)?;
        let (session, reply) = blocking(move || {
            let reply = session.ask("", START_CPU);
            (session, reply)
        })
        .await?;
        match reply {
            Reply::Line(line) if line == "ready" => Ok(Self { session, pairs: 0 }),
            Reply::OutOfTime => Err(AnswerError::start(format!("not ready after {} s of CPU time", START_CPU.as_secs()), "")),
            _ => {
                let outcome = session.end().await.map_err(sandbox_error)?;
                Err(AnswerError::start(outcome.status.to_string(), &outcome.stderr))
            }
        }
    }

    /// Judges a pair of normal forms on a thread where it may block, and gives itself back.
    pub(crate) async fn judge(mut self, a: &str, b: &str) -> Result<(Self, Judged), AnswerError> {
        let question = serde_json::json!([for_math_verify(a), for_math_verify(b)]).to_string();
        self.pairs += 1;
        blocking(move || {
            let judged = match self.session.ask(&question, PAIR_CPU) {
                Reply::Line(line) if line == "same" => Judged::Verdict(true),
                Reply::Line(line) if line == "different" => Judged::Verdict(false),
                Reply::OutOfTime => Judged::OutOfTime,
                _ => Judged::Died,
            };
            (self, judged)
        })
        .await
    }

    /// Whether it may go on.
    pub(crate) fn is_fresh(&self) -> bool {
        self.pairs < PAIRS
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, AnswerError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| AnswerError::Sandbox(Box::new(error)))
}
