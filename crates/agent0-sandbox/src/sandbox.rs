//! The sandbox as its users hold it: start, run, queueing.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{JoinHandle, Thread};

use tokio::sync::{Semaphore, oneshot};

use crate::SandboxError;
use crate::call::{Job, Program};
use crate::channel::Received;
use crate::interpreter::Interpreter;
use crate::isolation::{Isolation, Probe};
use crate::limits::Limits;
use crate::outcome::{Outcome, Status};
use crate::protocol::{Event, Task, World};
use crate::session::{Opening, Session};
use crate::supervisor::{Recipe, Supervisor};
use crate::zygote::Zygote;

/// Prints what it can do and must not.
const SELF_CHECK: &str = include_str!("check.py");

/// How a sandbox is made.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// The interpreter, such as `python` of a virtual environment. Its packages are readable in the sandbox.
    pub python: PathBuf,
    /// Modules that are imported once, before the calls; `numpy`, `sympy` and `math_verify` are also warmed up.
    pub preload: Vec<String>,
    /// The limits of [`Sandbox::run`].
    pub limits: Limits,
    /// Calls that run at the same time; more wait. Each may use `limits.memory_bytes`.
    pub concurrency: usize,
    /// Distributions that code may use, by name, with what they require; those that are not installed are left out. In a virtual
    /// environment no other package is readable.
    pub packages: Vec<String>,
    /// More of them, which must be installed.
    pub extra_packages: Vec<String>,
    /// The size in bytes of a scratch folder for each call, in memory, seen by nobody else and gone with the call. Without it nothing can
    /// be written. Only with [`Isolation::Full`].
    pub scratch_bytes: Option<u64>,
    /// The level of isolation; without it, the best one that the machine allows.
    pub isolation: Option<Isolation>,
    /// Run code even where the machine allows no isolation at all.
    pub unsafe_no_isolation: bool,
    /// The program that is started as the launcher; without it, the running one.
    pub launcher: Option<PathBuf>,
}

impl SandboxConfig {
    /// numpy and sympy preloaded, default limits, one call for each CPU at a time.
    pub fn new(python: impl Into<PathBuf>) -> Self {
        Self {
            python: python.into(),
            preload: ["numpy", "sympy"].map(str::to_owned).into(),
            limits: Limits::default(),
            concurrency: std::thread::available_parallelism().map_or(1, usize::from),
            packages: ["numpy", "sympy", "math-verify"].map(str::to_owned).into(),
            extra_packages: vec![],
            scratch_bytes: None,
            isolation: None,
            unsafe_no_isolation: false,
            launcher: None,
        }
    }
}

/// A running sandbox. Dropping it ends its processes.
#[derive(Debug)]
pub struct Sandbox {
    isolation: Isolation,
    limits: Limits,
    places: Arc<Semaphore>,
    mailbox: Mailbox,
    supervisor: Option<JoinHandle<()>>,
}

/// The way to the supervisor. The mutex only makes the sender shareable; it is held for the moment of a send.
#[derive(Debug)]
struct Mailbox {
    jobs: Mutex<Option<Sender<Job>>>,
    wake: UnixStream,
}

impl Sandbox {
    /// Starts the zygote and checks that isolation holds. Takes as long as importing and warming the preloaded modules, a second or more.
    ///
    /// # Errors
    /// When the interpreter or a preloaded module is not usable, when the machine offers no isolation, or when the self-check finds a hole.
    pub fn start(config: SandboxConfig) -> Result<Self, SandboxError> {
        config.limits.wall()?;
        let world = World {
            interpreter: Interpreter::ask(&config.python, &config.packages, &config.extra_packages)?,
            preload: config.preload,
            isolation: config.isolation,
            unsafe_no_isolation: config.unsafe_no_isolation,
            scratch_bytes: config.scratch_bytes,
        };
        let recipe = Recipe { launcher: config.launcher, world };
        let (wake, woken) = wake_pair().map_err(SandboxError::system("making a socket"))?;
        let (jobs, queue) = channel();
        let (first_start, started) = channel();
        let supervisor = std::thread::Builder::new()
            .name("sandbox".into())
            .spawn(move || Supervisor::new(recipe, queue, woken, first_start).run())
            .map_err(SandboxError::system("starting the sandbox's thread"))?;
        let isolation = started.recv().map_err(|_| SandboxError::Closed)??;
        let sandbox = Self {
            isolation,
            limits: config.limits,
            places: Arc::new(Semaphore::new(config.concurrency.max(1))),
            mailbox: Mailbox { jobs: Mutex::new(Some(jobs)), wake },
            supervisor: Some(supervisor),
        };
        if isolation != Isolation::None {
            sandbox.check_itself()?;
        }
        Ok(sandbox)
    }

    /// The level of isolation that holds.
    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// The limits of [`Sandbox::run`].
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Runs `code` as `python main.py` would, with the limits of the configuration. `seed` seeds `random`, `numpy.random`,
    /// sympy's generator, and one in the place of the system's (`os.urandom`, `secrets`, generators without a seed).
    /// Dropping the future kills the call.
    ///
    /// # Errors
    /// Only when the call could not be run; whatever the code does is an [`Outcome`].
    pub async fn run(&self, code: &str, seed: u64) -> Result<Outcome, SandboxError> {
        self.run_with(code, seed, &self.limits).await
    }

    /// [`Sandbox::run`] with other limits.
    ///
    /// # Errors
    /// Only when the call could not be run.
    pub async fn run_with(&self, code: &str, seed: u64, limits: &Limits) -> Result<Outcome, SandboxError> {
        self.run_program(Program { code: code.into(), stdin: vec![], seed }, limits).await
    }

    /// Runs a program that need not be UTF-8 and may read from its standard input. Dropping the future kills the call.
    ///
    /// # Errors
    /// Only when the call could not be run.
    pub async fn run_program(&self, program: Program, limits: &Limits) -> Result<Outcome, SandboxError> {
        let wall = limits.wall()?;
        let permit = self.places.clone().acquire_owned().await.map_err(|_| SandboxError::Closed)?;
        // Declared before the receiver, so dropped after it: the supervisor is woken when the call is already unwanted.
        let _wake_when_dropped = WakeOnDrop(&self.mailbox);
        let (reply, outcome) = oneshot::channel();
        let job = Job { program, limits: limits.clone(), wall, reply, ends: None, _permit: Some(permit), repeated: false };
        self.mailbox.send(job)?;
        outcome.await.map_err(|_| SandboxError::Closed)?
    }

    /// [`Sandbox::run_with`] for code that is not asynchronous; blocks the thread.
    ///
    /// # Errors
    /// Only when the call could not be run.
    pub fn run_blocking(&self, code: &str, seed: u64, limits: &Limits) -> Result<Outcome, SandboxError> {
        block_on(self.run_with(code, seed, limits))
    }

    /// Starts `code` as a call that lives on and is talked to over its standard input and output. `limits` are those of its whole life. It
    /// takes none of the places of other calls.
    ///
    /// # Errors
    /// Only when it could not be started.
    pub async fn open_session(&self, code: &str, limits: &Limits) -> Result<Session, SandboxError> {
        let (opening, ends) = Opening::make().map_err(SandboxError::system("making pipes"))?;
        let (reply, outcome) = oneshot::channel();
        // Not to be repeated when its zygote dies: what was said in it would be missing.
        let repeated = true;
        let program = Program { code: code.into(), ..Program::default() };
        let (limits, wall) = (limits.clone(), limits.wall()?);
        self.mailbox.send(Job { program, limits, wall, reply, ends: Some(ends), _permit: None, repeated })?;
        opening.opened(outcome).await
    }

    fn check_itself(&self) -> Result<(), SandboxError> {
        let outcome = self.run_blocking(SELF_CHECK, 0, &Limits::default())?;
        if outcome.status == (Status::Finished { code: 0 }) && outcome.stdout.is_empty() {
            return Ok(());
        }
        Err(SandboxError::Breach(format!("{}; {} {}", outcome.status, outcome.stdout, outcome.stderr.trim())))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.mailbox.close();
        if let Some(supervisor) = self.supervisor.take() {
            // A panic there has been printed already.
            let _ = supervisor.join();
        }
    }
}

impl Mailbox {
    fn send(&self, job: Job) -> Result<(), SandboxError> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.as_ref().ok_or(SandboxError::Closed)?.send(job).map_err(|_| SandboxError::Closed)?;
        self.wake();
        Ok(())
    }

    fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.wake();
    }

    fn wake(&self) {
        // When the socket is full, the supervisor is about to wake anyway.
        let _ = (&self.wake).write(&[0]);
    }
}

struct WakeOnDrop<'a>(&'a Mailbox);

impl Drop for WakeOnDrop<'_> {
    fn drop(&mut self) {
        self.0.wake();
    }
}

fn wake_pair() -> std::io::Result<(UnixStream, UnixStream)> {
    let (wake, woken) = UnixStream::pair()?;
    wake.set_nonblocking(true)?;
    woken.set_nonblocking(true)?;
    Ok((wake, woken))
}

/// Runs a future on this thread, which sleeps while there is nothing to do.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// What this machine allows in general.
pub fn probe() -> Probe {
    probe_with(None, None)
}

/// What this machine allows for the interpreter `python`, whose files the sandbox must reach, found out by the program `launcher`
/// (without one, this program).
pub fn probe_with(python: Option<&Path>, launcher: Option<&Path>) -> Probe {
    find_out(python, launcher).unwrap_or_else(|error| Probe::without_launcher(error.to_string()))
}

fn find_out(python: Option<&Path>, launcher: Option<&Path>) -> Result<Probe, SandboxError> {
    let interpreter = python.map(|python| Interpreter::ask(python, &[], &[])).transpose()?;
    let zygote = Zygote::launch(launcher, Task::Probe { interpreter })?;
    match zygote.event(true) {
        Ok(Received::Message(Event::Probed { probe }, _)) => Ok(probe),
        Ok(Received::Message(Event::Failed { detail }, _)) => Err(SandboxError::Start(detail)),
        _ => Err(zygote.failed_to_start()),
    }
}
