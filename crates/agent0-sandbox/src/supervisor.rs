//! The thread that owns the zygote: starts it (again), hands it calls, reads what they write, kills what must end.
//!
//! Everything is owned by this one thread. Jobs come over a queue, outcomes go out over each job's own reply; a socket pair wakes the
//! thread when there is a new job, when a call is not wanted any more, and when the sandbox is dropped.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::{Duration, Instant};

use crate::SandboxError;
use crate::call::{Call, CallFiles, Job};
use crate::channel::Received;
use crate::isolation::Isolation;
use crate::names::Names;
use crate::protocol::{Event, Request, Task, World};
use crate::sys::wait_readable;
use crate::zygote::Zygote;

/// How long a zygote may take to import and warm its modules, on a slow and busy machine with a cold disk.
const START_PATIENCE: Duration = Duration::from_secs(300);

/// What a zygote is started with, each time.
#[derive(Debug)]
pub struct Recipe {
    pub launcher: Option<PathBuf>,
    pub world: World,
}

/// The zygote's life.
#[derive(Debug)]
enum State {
    Absent,
    Starting { zygote: Zygote, deadline: Instant },
    Ready(Zygote),
}

/// The state of the supervising thread.
#[derive(Debug)]
pub struct Supervisor {
    names: Arc<Names>,
    recipe: Recipe,
    state: State,
    /// Where the result of the very first start goes.
    first_start: Option<Sender<Result<Isolation, SandboxError>>>,
    jobs: Receiver<Job>,
    wake: UnixStream,
    waiting: VecDeque<Job>,
    running: BTreeMap<u64, Call>,
    next_id: u64,
}

impl Supervisor {
    pub fn new(recipe: Recipe, jobs: Receiver<Job>, wake: UnixStream, first_start: Sender<Result<Isolation, SandboxError>>) -> Self {
        Self {
            names: Arc::new(Names::of(&recipe.world.interpreter)),
            recipe,
            state: State::Absent,
            first_start: Some(first_start),
            jobs,
            wake,
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            next_id: 0,
        }
    }

    /// Runs until the sandbox is dropped, which happens at once when the first start fails. Dropping the zygote then ends every call.
    pub fn run(mut self) {
        self.launch();
        while self.take_jobs() {
            if !self.waiting.is_empty() && matches!(self.state, State::Absent) {
                self.launch();
            }
            self.dispatch();
            if let Err(error) = self.wait() {
                self.fail_all(&SandboxError::system("waiting for calls")(error));
                return;
            }
            self.drain_wake();
            self.hear();
            self.attend();
        }
    }

    /// Takes new jobs; false when the sandbox is gone.
    fn take_jobs(&mut self) -> bool {
        loop {
            match self.jobs.try_recv() {
                Ok(job) => self.waiting.push_back(job),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn launch(&mut self) {
        match Zygote::launch(self.recipe.launcher.as_deref(), Task::Serve(self.recipe.world.clone())) {
            Ok(zygote) => self.state = State::Starting { zygote, deadline: Instant::now() + START_PATIENCE },
            Err(error) => self.start_failed(error),
        }
    }

    /// Hands all waiting jobs to a zygote that is ready. The sandbox's queue lets no more through than may run at the same time.
    fn dispatch(&mut self) {
        while let State::Ready(zygote) = &self.state {
            let Some(mut job) = self.waiting.pop_front() else { return };
            if job.reply.is_closed() {
                continue;
            }
            let (files, pipes) = match CallFiles::make(&job.program, job.ends.take()) {
                Ok(made) => made,
                Err(error) => {
                    let _ = job.reply.send(Err(SandboxError::system("preparing a call")(error)));
                    continue;
                }
            };
            let call = Call::new(job, pipes, &self.names);
            self.next_id += 1;
            let program = &call.job.program;
            let request = Request { id: self.next_id, seed: program.seed, code_bytes: program.code.len(), limits: &call.job.limits };
            let sent = zygote.request(&request, &files.as_fds());
            self.running.insert(self.next_id, call);
            if sent.is_err() {
                self.zygote_died();
            }
        }
    }

    /// Waits until anything happens or a deadline comes.
    fn wait(&self) -> std::io::Result<()> {
        let mut fds = vec![self.wake.as_fd()];
        let mut deadlines: Vec<Instant> = self.running.values().map(Call::deadline).collect();
        match &self.state {
            State::Absent => {}
            State::Starting { zygote, deadline } => {
                fds.push(zygote.as_fd());
                deadlines.push(*deadline);
            }
            State::Ready(zygote) => fds.push(zygote.as_fd()),
        }
        fds.extend(self.running.values().flat_map(Call::open_pipes));
        let timeout = deadlines.into_iter().min().map(|deadline| deadline.saturating_duration_since(Instant::now()));
        wait_readable(&fds, timeout)
    }

    fn drain_wake(&mut self) {
        // Without blocking; that there is nothing (more) to read is an error here.
        while matches!(self.wake.read(&mut [0; 64]), Ok(length) if length > 0) {}
    }

    /// Takes all events from the zygote.
    fn hear(&mut self) {
        loop {
            let received = match &self.state {
                State::Absent => return,
                State::Starting { deadline, .. } if Instant::now() >= *deadline => {
                    self.start_failed(SandboxError::Start(format!("Python was not ready after {} s", START_PATIENCE.as_secs())));
                    return;
                }
                State::Starting { zygote, .. } | State::Ready(zygote) => zygote.event(false),
            };
            match received {
                Ok(Received::Nothing) => return,
                Ok(Received::Message(event, fd)) => self.handle(event, fd),
                Ok(Received::Closed) | Err(_) => self.zygote_died(),
            }
        }
    }

    fn handle(&mut self, event: Event, fd: Option<OwnedFd>) {
        match event {
            Event::Ready { isolation } => {
                if let State::Starting { zygote, .. } = std::mem::replace(&mut self.state, State::Absent) {
                    self.state = State::Ready(zygote);
                    self.report_first_start(Ok(isolation));
                }
            }
            Event::NoIsolation { probe } | Event::Probed { probe } => self.start_failed(SandboxError::NoIsolation(probe)),
            Event::Failed { detail } => self.start_failed(SandboxError::Start(detail)),
            Event::Started { id } => {
                if let (Some(call), Some(process)) = (self.running.get_mut(&id), fd) {
                    call.start(process);
                }
            }
            Event::Exited { id, status, cpu_s, wall_s, peak_rss_bytes, setup } => {
                if let Some(call) = self.running.remove(&id) {
                    call.finish(status, cpu_s, wall_s, peak_rss_bytes, setup);
                }
            }
        }
    }

    /// Looks after every call.
    fn attend(&mut self) {
        let stuck = self.running.values_mut().filter_map(|call| (!call.attend()).then_some(())).count();
        if stuck > 0 {
            self.zygote_died();
        }
    }

    /// The zygote is gone or of no use: calls under it are repeated, once each.
    fn zygote_died(&mut self) {
        let words = match std::mem::replace(&mut self.state, State::Absent) {
            State::Absent => return,
            State::Starting { zygote, .. } => {
                self.start_failed(zygote.failed_to_start());
                return;
            }
            State::Ready(zygote) => zygote.last_words().unwrap_or_else(|| "it left no message".into()),
        };
        for (_, call) in std::mem::take(&mut self.running).into_iter().rev() {
            let job = call.job;
            if job.repeated {
                let _ = job.reply.send(Err(SandboxError::Lost(words.clone())));
            } else {
                self.waiting.push_front(Job { repeated: true, ..job });
            }
        }
    }

    fn start_failed(&mut self, error: SandboxError) {
        self.state = State::Absent;
        self.report_first_start(Err(error.clone()));
        self.fail_all(&error);
    }

    fn report_first_start(&mut self, result: Result<Isolation, SandboxError>) {
        if let Some(first_start) = self.first_start.take() {
            let _ = first_start.send(result);
        }
    }

    fn fail_all(&mut self, error: &SandboxError) {
        let running = std::mem::take(&mut self.running).into_values().map(|call| call.job);
        for job in running.chain(std::mem::take(&mut self.waiting)) {
            let _ = job.reply.send(Err(error.clone()));
        }
    }
}
