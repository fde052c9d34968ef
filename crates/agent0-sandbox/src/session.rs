//! A call that is talked to: it lives on between questions, a line each way, under a limit of CPU time for each answer.
//!
//! It does not know what is said. What locks a call in holds here too; its place is not one of those that calls wait for.

use std::fmt;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::SandboxError;
use crate::outcome::Outcome;
use crate::sys::{kill_process, process_cpu_time, set_nonblocking, wait_readable};

/// Wall-clock time in which a session that owes an answer must have used some CPU time: else something is stuck, be the machine as busy
/// as it may.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest answer, in bytes.
const ANSWER_MAX: usize = 64 << 10;

/// A running session. Dropping it kills its process.
pub struct Session {
    questions: PipeWriter,
    answers: PipeReader,
    process: Process,
    outcome: oneshot::Receiver<Result<Outcome, SandboxError>>,
}

/// A pidfd; its process does not outlive it.
#[derive(Debug)]
struct Process(OwnedFd);

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The answer, without its line end.
    Line(String),
    /// The answer took more CPU time than it may: the session is of no more use.
    OutOfTime,
    /// The session has ended, or is stuck, or answers with something that is no line: it is of no more use.
    Broken,
}

/// The ends of a session's pipes that its process gets, and where the supervisor says that it runs.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) stdin: PipeReader,
    pub(crate) stdout: PipeWriter,
    pub(crate) started: oneshot::Sender<OwnedFd>,
}

/// The other ends, until the process is there.
pub(crate) struct Opening {
    questions: PipeWriter,
    answers: PipeReader,
    started: oneshot::Receiver<OwnedFd>,
}

impl Opening {
    pub(crate) fn make() -> io::Result<(Self, Ends)> {
        let (stdin, questions) = io::pipe()?;
        let (answers, stdout) = io::pipe()?;
        set_nonblocking(answers.as_fd())?;
        set_nonblocking(questions.as_fd())?;
        let (sender, started) = oneshot::channel();
        Ok((Self { questions, answers, started }, Ends { stdin, stdout, started: sender }))
    }

    /// The session, when its process runs; `outcome` is how its call ends.
    pub(crate) async fn opened(self, outcome: oneshot::Receiver<Result<Outcome, SandboxError>>) -> Result<Session, SandboxError> {
        match self.started.await {
            Ok(process) => Ok(Session { questions: self.questions, answers: self.answers, process: Process(process), outcome }),
            Err(_) => match outcome.await {
                Ok(Err(error)) => Err(error),
                _ => Err(SandboxError::Closed),
            },
        }
    }
}

impl Session {
    /// Sends one line and waits for one; blocks the thread. The CPU time of the whole process from the question to the answer decides
    /// whether the answer came in time, however busy the machine is.
    pub fn ask(&mut self, question: &str, cpu_limit: Duration) -> Reply {
        self.try_ask(question, cpu_limit).unwrap_or(Reply::Broken)
    }

    fn try_ask(&mut self, question: &str, cpu_limit: Duration) -> io::Result<Reply> {
        let before = process_cpu_time(self.process.0.as_fd())?;
        // A session reads its questions one by one, so a pipe always has room for one; when it has not, this fails.
        self.questions.write_all(format!("{question}\n").as_bytes())?;
        let mut answer = Vec::new();
        let mut last_used = (Duration::ZERO, Instant::now());
        loop {
            let open = self.read(&mut answer)?;
            let complete = answer.last() == Some(&b'\n');
            if !complete && (!open || answer.len() > ANSWER_MAX) {
                return Ok(Reply::Broken);
            }
            let used = process_cpu_time(self.process.0.as_fd())?.saturating_sub(before);
            let Some(left) = cpu_limit.checked_sub(used).filter(|left| !left.is_zero()) else { return Ok(Reply::OutOfTime) };
            if complete {
                answer.pop();
                return String::from_utf8(answer).map(Reply::Line).map_err(io::Error::other);
            }
            if used > last_used.0 {
                last_used = (used, Instant::now());
            } else if last_used.1.elapsed() > PATIENCE {
                return Ok(Reply::Broken);
            }
            // One thread cannot use up what is left in less time than that.
            wait_readable(&[self.answers.as_fd()], Some(left))?;
        }
    }

    /// Reads what there is; false when nothing more can come.
    fn read(&mut self, into: &mut Vec<u8>) -> io::Result<bool> {
        let mut bytes = [0; 4096];
        loop {
            match self.answers.read(&mut bytes) {
                Ok(0) => return Ok(false),
                Ok(length) => into.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if into.len() > ANSWER_MAX {
                return Ok(true);
            }
        }
    }

    /// Ends the session by closing its standard input, and waits for how it ended; what it wrote to stderr is in there.
    ///
    /// # Errors
    /// When its process could not be locked in, or was lost with the zygote.
    pub async fn end(self) -> Result<Outcome, SandboxError> {
        drop(self.questions);
        self.outcome.await.map_err(|_| SandboxError::Closed)?
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // That it is gone already is no error; one that cannot be killed ends at its limits.
        let _ = kill_process(self.0.as_fd());
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("process", &self.process).finish_non_exhaustive()
    }
}
