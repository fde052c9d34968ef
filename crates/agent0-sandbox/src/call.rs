//! One call: what is asked, and what the supervisor knows about it while it runs.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::SandboxError;
use crate::limits::Limits;
use crate::names::Names;
use crate::outcome::{Capture, Outcome, Status};
use crate::session::Ends;
use crate::sys::{kill_process, sealed_file, set_nonblocking, starved};

/// How long the zygote may take to start a call, and to report one that was killed. It is stuck otherwise.
const PATIENCE: Duration = Duration::from_secs(60);
/// The part of the CPU limit from which an unexplained kill was the limit's. For the limit the kernel samples what runs at each clock
/// tick, which is rougher than the time that it reports.
const CPU_LIMIT_REACHED: f64 = 0.5;

/// What one call runs.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The code, as a file of Python would hold it: UTF-8 unless it declares another encoding.
    pub code: Vec<u8>,
    /// What it reads from its standard input.
    pub stdin: Vec<u8>,
    /// Seeds what [`Sandbox::run`](crate::Sandbox::run) says.
    pub seed: u64,
}

/// A call as it was asked for.
#[derive(Debug)]
pub struct Job {
    pub program: Program,
    pub limits: Limits,
    /// `limits.wall_s`, checked.
    pub wall: Duration,
    /// Where the outcome goes; closed when nobody waits for it any more.
    pub reply: oneshot::Sender<Result<Outcome, SandboxError>>,
    /// The pipes of a session; other calls get theirs when they start.
    pub ends: Option<Ends>,
    /// The place among the calls that run at the same time; given back when the call is over. A session has none.
    pub _permit: Option<OwnedSemaphorePermit>,
    /// Whether a zygote has died under it already.
    pub repeated: bool,
}

/// Why the supervisor killed a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Wall,
    Output,
    Unwanted,
}

/// The files that a call's process is started with: its code, its stdin, and where stdout and stderr are written.
#[derive(Debug)]
pub struct CallFiles(File, OwnedFd, PipeWriter, PipeWriter);

/// The supervisor's ends of a call's pipes: stdout, unless a session reads it, and stderr; and who waits for a session to start.
#[derive(Debug)]
pub struct CallPipes(Option<PipeReader>, PipeReader, Option<oneshot::Sender<OwnedFd>>);

impl CallFiles {
    /// A file with the code, and the pipes.
    pub fn make(program: &Program, session: Option<Ends>) -> io::Result<(Self, CallPipes)> {
        let code = sealed_file(&program.code)?;
        let (err, err_writer) = io::pipe()?;
        set_nonblocking(err.as_fd())?;
        if let Some(Ends { stdin, stdout, started }) = session {
            return Ok((Self(code, stdin.into(), stdout, err_writer), CallPipes(None, err, Some(started))));
        }
        let (out, out_writer) = io::pipe()?;
        set_nonblocking(out.as_fd())?;
        let stdin = sealed_file(&program.stdin)?.into();
        Ok((Self(code, stdin, out_writer, err_writer), CallPipes(Some(out), err, None)))
    }

    pub fn as_fds(&self) -> [BorrowedFd<'_>; 4] {
        [self.0.as_fd(), self.1.as_fd(), self.2.as_fd(), self.3.as_fd()]
    }
}

/// A call that runs.
#[derive(Debug)]
pub struct Call {
    pub job: Job,
    /// stdout and stderr.
    streams: [Stream; 2],
    process: Option<OwnedFd>,
    session: Option<oneshot::Sender<OwnedFd>>,
    started: Instant,
    /// When something must have happened.
    deadline: Instant,
    stop: Option<Stop>,
}

/// The read end of a pipe and what came through it; no pipe when the other end is closed.
#[derive(Debug)]
struct Stream {
    pipe: Option<PipeReader>,
    capture: Capture,
}

impl Call {
    /// A call that is about to be asked of the zygote. What it writes is read with `names`.
    pub fn new(job: Job, pipes: CallPipes, names: &Arc<Names>) -> Self {
        let now = Instant::now();
        let stream = |pipe| Stream { pipe, capture: Capture::new(job.limits.output_keep, job.limits.output_max, names.clone()) };
        let streams = [stream(pipes.0), stream(Some(pipes.1))];
        Self { job, streams, process: None, session: pipes.2, started: now, deadline: now + PATIENCE, stop: None }
    }

    /// The pipes to wait for.
    pub fn open_pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.streams.iter().filter_map(|s| s.pipe.as_ref()).map(AsFd::as_fd)
    }

    /// When this call wants attention even if nothing comes from it.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Its process exists.
    pub fn start(&mut self, process: OwnedFd) {
        if let (Some(session), Ok(process)) = (self.session.take(), process.try_clone()) {
            // Nobody may be waiting any more; then the call is not wanted either.
            let _ = session.send(process);
        }
        self.process = Some(process);
        self.started = Instant::now();
        self.deadline = self.started + self.job.wall;
        if self.stop.is_some() {
            self.kill();
        }
    }

    /// Reads what has come, and kills it when it has written too much, is over its time, or is not wanted any more.
    /// False when the zygote is stuck with it.
    pub fn attend(&mut self) -> bool {
        self.read_streams();
        if self.stop.is_none() {
            let mut overdue = Instant::now() >= self.deadline;
            if overdue {
                let Some(process) = &self.process else { return false };
                // What it wanted to compute and could not, because others had the CPUs, is not held against it.
                self.deadline = self.started + self.job.wall + starved(process.as_fd());
                overdue = Instant::now() >= self.deadline;
            }
            self.stop = if self.job.reply.is_closed() {
                Some(Stop::Unwanted)
            } else if self.streams.iter().any(|s| s.capture.is_full()) {
                Some(Stop::Output)
            } else if overdue {
                Some(Stop::Wall)
            } else {
                None
            };
            if self.stop.is_some() {
                self.kill();
            }
            return true;
        }
        Instant::now() < self.deadline
    }

    fn kill(&mut self) {
        self.deadline = Instant::now() + PATIENCE;
        if let Some(process) = &self.process {
            // Its exit is waited for; should the kill have failed, the zygote counts as stuck and is ended as a whole.
            let _ = kill_process(process.as_fd());
        }
    }

    fn read_streams(&mut self) {
        for stream in &mut self.streams {
            stream.read();
        }
    }

    /// Gives the outcome to whoever waits for it.
    pub fn finish(mut self, wait_status: i32, cpu_s: f64, wall_s: f64, peak_rss_bytes: u64, setup: Option<String>) {
        // All that the process wrote is in the pipes by now.
        self.read_streams();
        let status = self.status(ExitStatus::from_raw(wait_status), cpu_s);
        let [stdout, stderr] = self.streams.map(|s| s.capture.text());
        let outcome = Outcome { status, stdout, stderr, cpu_s, wall_s, peak_rss_bytes };
        // Nobody may be waiting any more.
        let _ = self.job.reply.send(setup.map_or(Ok(outcome), |detail| Err(SandboxError::Setup(detail))));
    }

    fn status(&self, exit: ExitStatus, cpu_s: f64) -> Status {
        if self.streams.iter().any(|s| s.capture.is_full()) {
            return Status::OutputLimit;
        }
        match (exit.code(), exit.signal()) {
            (Some(code), _) => Status::Finished { code },
            (_, Some(libc::SIGKILL)) if self.stop == Some(Stop::Wall) => Status::WallLimit,
            (_, Some(libc::SIGKILL)) if cpu_s >= CPU_LIMIT_REACHED * self.job.limits.cpu_s as f64 => Status::CpuLimit,
            (_, Some(libc::SIGKILL)) => Status::MemoryLimit,
            (_, signal) => Status::Signal(signal.unwrap_or_default()),
        }
    }
}

impl Stream {
    fn read(&mut self) {
        let mut bytes = [0; 16 << 10];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut bytes) {
                Ok(0) => self.pipe = None,
                Ok(length) => {
                    self.capture.push(&bytes[..length]);
                    if self.capture.is_full() {
                        self.pipe = None;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.pipe = None,
            }
        }
    }
}
