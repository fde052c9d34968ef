//! The zygote's process as the supervisor holds it: started through the launcher, talked to over the channel, killed when dropped.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::SandboxError;
use crate::channel::{Channel, Received};
use crate::launcher::{LAUNCHER_ARGUMENT, refuse_in_launcher};
use crate::protocol::{Event, Request, Setup, Task};
use crate::sys::memory_file;

/// This very program, even when its file has been replaced since it was started.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// A launcher, which becomes a zygote.
#[derive(Debug)]
pub struct Zygote {
    channel: Channel,
    process: Child,
    /// What it writes to stdout and stderr: nothing, when all is well.
    log: File,
}

impl Zygote {
    /// Starts a launcher (this program without one) on a task. The thread that calls this must outlive the zygote.
    pub fn launch(launcher: Option<&Path>, task: Task) -> Result<Self, SandboxError> {
        refuse_in_launcher().map_err(SandboxError::Start)?;
        let program = launcher.map_or_else(|| PathBuf::from(THIS_PROGRAM), Path::to_owned);
        let (channel, theirs) = Channel::pair().map_err(SandboxError::system("making a socket"))?;
        let log = memory_file().map_err(SandboxError::system("making a file in memory"))?;
        let process = spawn(&program, theirs, &log)
            .map_err(|error| SandboxError::Start(format!("the launcher {} does not run: {error}", program.display())))?;
        let zygote = Self { channel, process, log };
        let setup = Setup { parent: std::process::id(), task };
        match zygote.channel.send(&setup, &[]) {
            Ok(()) => Ok(zygote),
            // It is gone already.
            Err(_) => Err(zygote.failed_to_start()),
        }
    }

    /// Asks for a call; `files` are its code, stdin, and the write ends for stdout and stderr.
    pub fn request(&self, request: &Request<'_>, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.channel.send(request, files)
    }

    /// The next event, waiting for it when `wait`.
    pub fn event(&self, wait: bool) -> io::Result<Received<Event>> {
        self.channel.receive(wait)
    }

    /// The error of a start that came to nothing. Ends it.
    pub fn failed_to_start(self) -> SandboxError {
        let hint =
            || "the launcher ended at once and said nothing; a program must call agent0_sandbox::launcher_main first in its main".into();
        SandboxError::Start(self.last_words().unwrap_or_else(hint))
    }

    /// What it wrote before it ended, if anything. Ends it.
    pub fn last_words(mut self) -> Option<String> {
        self.end();
        let mut text = Vec::new();
        self.log.rewind().and_then(|()| Read::by_ref(&mut self.log).take(1 << 16).read_to_end(&mut text)).ok()?;
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    fn end(&mut self) {
        // The kernel kills the zygote with its launcher, and the calls with their zygote. Errors mean that it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl AsFd for Zygote {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(program: &Path, channel: OwnedFd, log: &File) -> io::Result<Child> {
    Command::new(program).arg(LAUNCHER_ARGUMENT).env_clear().stdin(channel).stdout(log.try_clone()?).stderr(log.try_clone()?).spawn()
}
