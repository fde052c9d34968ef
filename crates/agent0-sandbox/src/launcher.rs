//! The launcher: a fresh process with one thread that locks itself in and becomes the zygote. It has the channel as its standard input.
#![allow(unsafe_code)]

use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::Serialize;

use crate::attempt::{Attempt, Failure, in_helper};
use crate::channel::{Channel, Received};
use crate::interpreter::Interpreter;
use crate::isolation::Isolation;
use crate::ladder::{self, Plan};
use crate::landlock;
use crate::namespaces::{self, NOBODY, die_with_parent};
use crate::privileges::{self, Keep};
use crate::protocol::{Event, Setup, Task, World};
use crate::seccomp::Filters;
use crate::sys::check;
use crate::tree::{SCRATCH, Tree};

/// The first argument that makes a program the launcher.
pub const LAUNCHER_ARGUMENT: &str = "__sandbox-launcher";

/// The zygote's Python side.
const STUB: &str = concat!(include_str!("warm.py"), include_str!("stub.py"));

/// The whole environment of the zygote and of untrusted code.
const ENVIRONMENT: &[&str] = &[
    "PATH=/usr/bin:/bin",
    "LANG=C.UTF-8",
    "HOME=/tmp",
    // sets and dictionaries iterate in the same order every time
    "PYTHONHASHSEED=0",
    // one thread: a fork copies only one
    "OPENBLAS_NUM_THREADS=1",
    "OMP_NUM_THREADS=1",
    "MKL_NUM_THREADS=1",
];

/// The launcher's `main`: a program calls it first thing when its first argument is [`LAUNCHER_ARGUMENT`].
pub fn launcher_main() -> ! {
    // SAFETY: the launcher is started with the channel as its standard input, which nothing else in this process uses.
    let channel = Channel::from_fd(unsafe { OwnedFd::from_raw_fd(0) });
    let last_word = match launch(&channel) {
        Ok(event) => event,
        Err(detail) => Event::Failed { detail },
    };
    // The supervisor may be gone; there is nobody else to tell.
    let _ = channel.send(&last_word, &[]);
    std::process::exit(1)
}

/// Lets every executable that is linked with this crate be the launcher, before its own `main`. Only for tests (feature `test-launcher`).
#[cfg(feature = "test-launcher")]
#[used]
// SAFETY: the loader calls each function of this section once, before `main`, while the process has one thread.
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = {
    extern "C" fn before_main() {
        // Standard arguments are not there yet everywhere.
        let line = fs::read("/proc/self/cmdline").unwrap_or_default();
        if line.split(|&byte| byte == 0).nth(1) == Some(LAUNCHER_ARGUMENT.as_bytes()) {
            launcher_main()
        }
    }
    before_main
};

/// Does the task. Returns only when this process does not become the zygote.
fn launch(channel: &Channel) -> Attempt<Event> {
    let setup = match channel.receive::<Setup>(true).attempt("reading the task")? {
        Received::Message(setup, _) => setup,
        _ => return Err("the supervisor is gone".into()),
    };
    leave_the_parents_world(setup.parent)?;
    match setup.task {
        Task::Probe { interpreter } => {
            let tree = Tree::with(interpreter.iter().flat_map(Interpreter::paths), &[])?;
            Ok(Event::Probed { probe: ladder::explore(&tree, None, false).1 })
        }
        Task::Serve(world) => {
            let tree = Tree::with(world.interpreter.paths(), &world.interpreter.places)?;
            match ladder::explore(&tree, world.isolation, world.unsafe_no_isolation) {
                (None, probe) => Ok(Event::NoIsolation { probe }),
                (Some(plan), _) => become_zygote(channel, plan, tree, &world).map(|never| match never {}),
            }
        }
    }
}

/// Drops what comes from the parent but the channel: life after it, its terminal, its open files.
fn leave_the_parents_world(parent: u32) -> Attempt<()> {
    die_with_parent();
    // SAFETY: no pointers. Descriptors from 3 on are leaked by others, not owned by anything in this process.
    unsafe {
        if libc::getppid() as u32 != parent {
            return Err("the supervisor is gone".into());
        }
        // Ctrl-C in the terminal is for the program, which then ends its calls as it sees fit. It fails where it is so already.
        libc::setsid();
        check(libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32)).attempt("closing inherited files")?;
    }
    // When memory runs out, calls go first. Not every container allows saying so.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    Ok(())
}

/// What the stub is told.
#[derive(Serialize)]
struct StubConfig<'a> {
    isolation: Isolation,
    /// The folders that packages are in.
    places: Vec<&'a str>,
    preload: &'a [String],
    /// The zygote's own process namespace, to which it returns before it makes one for a call.
    process_namespace: Option<i32>,
    /// System-call filters, as hexadecimal bytes of instructions: those that the zygote puts on itself, and those of each call.
    zygote_filters: Vec<String>,
    call_filters: Vec<String>,
    /// What Landlock forbids to each call, beside what it forbids to the zygote.
    landlock: Option<landlock::Rules>,
    /// The size of each call's scratch folder, and where it is mounted.
    scratch: Option<(u64, &'static str)>,
    /// Tasks that count against the limit on threads without being the sandbox's.
    other_tasks: u64,
}

fn become_zygote(channel: &Channel, plan: Plan, tree: Tree, world: &World) -> Attempt<Infallible> {
    let interpreter = &world.interpreter;
    let is_root = is_real_root();
    let (isolation, tree, namespace, user, other_tasks) = match plan {
        Plan::Namespaces(map) => {
            let tree = tree.with_packages_moved();
            let namespace = namespaces::enter(map, &tree)?;
            privileges::give_up(map.user(), Keep::NamespaceAdmin)?;
            (Isolation::Full, tree, Some(namespace), map.user(), 0)
        }
        Plan::Landlock | Plan::Nothing => {
            let (user, other_tasks) = (user_without_namespaces(interpreter), count_tasks());
            privileges::give_up(user, Keep::Nothing)?;
            (if plan == Plan::Landlock { Isolation::Landlock } else { Isolation::None }, tree, None, user, other_tasks)
        }
    };
    if isolation != Isolation::Full && world.scratch_bytes.is_some() {
        return Err(format!("a scratch folder needs namespaces, and isolation is {isolation}; do without it, or see `agent0 doctor`"));
    }
    // The kernel does not count the threads of real root, so root gets none.
    let threads = user.is_some() || !is_root;
    die_with_parent();
    // A restricted process cannot mount: with scratch folders, each call restricts itself.
    if isolation != Isolation::None && world.scratch_bytes.is_none() {
        let enforced = landlock::restrict(&tree)?;
        if isolation == Isolation::Landlock && !enforced {
            return Err("Landlock is not enforced".into());
        }
    }
    for fd in namespace.iter().map(AsFd::as_fd).chain([channel.as_fd()]) {
        keep_over_exec(fd.as_raw_fd())?;
    }
    let filters = match isolation {
        Isolation::None => None,
        _ => Some(Filters::build(isolation, threads, world.scratch_bytes.is_some())?),
    };
    let config = StubConfig {
        isolation,
        places: tree.listed().map(utf8).collect::<Attempt<_>>()?,
        preload: &world.preload,
        process_namespace: namespace.as_ref().map(AsRawFd::as_raw_fd),
        zygote_filters: filters.iter().flat_map(|filters| &filters.zygote).map(|filter| hexadecimal(filter)).collect(),
        call_filters: filters.iter().map(|filters| hexadecimal(&filters.call)).collect(),
        landlock: match (isolation, world.scratch_bytes) {
            (Isolation::None, _) => None,
            (_, None) => landlock::Rules::for_call(),
            (_, Some(_)) => landlock::Rules::with_scratch(&tree),
        },
        scratch: world.scratch_bytes.map(|bytes| (bytes, SCRATCH)),
        other_tasks,
    };
    let config = serde_json::to_string(&config).map_err(|e| e.to_string())?;
    fix_addresses_and_stack()?;
    run_python(&interpreter.executable, &config)
}

/// As root, nobody; unless the interpreter is somewhere that only root may enter, such as root's home: then root without capabilities,
/// who is an ordinary user.
fn user_without_namespaces(interpreter: &Interpreter) -> Option<u32> {
    // SAFETY: no arguments, cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    let reachable = || {
        in_helper(|| {
            privileges::become_user(NOBODY)?;
            interpreter.paths().try_for_each(|path| fs::metadata(path).map(drop).attempt_at("reaching", path))
        })
    };
    (root && reachable().is_ok()).then_some(NOBODY)
}

/// Whether root is root of the machine, not only of a container that has its own users.
fn is_real_root() -> bool {
    // SAFETY: no arguments, cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    // Each line maps users: the first one inside, the first one outside, how many. What cannot be read counts as real.
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let outside = map.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|line| line.first() == Some(&"0"));
    is_root && outside.is_none_or(|line| line.get(1) == Some(&"0"))
}

/// The threads of the whole machine: more than any one user's.
fn count_tasks() -> u64 {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let count = load.split_whitespace().nth(3).and_then(|tasks| tasks.split_once('/')).and_then(|(_, total)| total.parse().ok());
    count.unwrap_or(4096)
}

/// The same addresses of preloaded things in every zygote, so that what depends on them (the order of a set of classes) is the same in
/// every run; and a stack that does not depend on the user's shell. Native code inside gains nothing that it does not have: it may run any instruction.
fn fix_addresses_and_stack() -> Attempt<()> {
    const STACK: libc::rlimit = libc::rlimit { rlim_cur: 8 << 20, rlim_max: 8 << 20 };
    // SAFETY: the limit is passed by a valid pointer. Some containers forbid the first call; then only that order may vary.
    unsafe {
        libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong);
        check(libc::setrlimit(libc::RLIMIT_STACK, &STACK)).map(drop).attempt("limiting the stack")
    }
}

fn run_python(executable: &Path, config: &str) -> Attempt<Infallible> {
    // Not `-I`, which would ignore PYTHONHASHSEED; the environment is ours, and the stub takes the current folder off the path.
    let path = utf8(executable)?;
    let arguments = c_strings([path, "-s", "-S", "-B", "-u", "-c", STUB, config])?;
    let environment = c_strings(ENVIRONMENT.iter().copied())?;
    let pointers = |strings: &[CString]| strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>();
    let (argv, envp) = (pointers(&arguments), pointers(&environment));
    // SAFETY: both arrays end with a null pointer and point at C strings that live until the call returns, which it does only on error.
    unsafe { libc::execve(arguments[0].as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    Err(io::Error::last_os_error()).attempt_at("running", executable)
}

fn c_strings<'a>(strings: impl IntoIterator<Item = &'a str>) -> Attempt<Vec<CString>> {
    strings.into_iter().map(|s| CString::new(s).map_err(|e| e.to_string())).collect()
}

fn utf8(path: &Path) -> Attempt<&str> {
    path.to_str().ok_or_else(|| format!("the path {} is not UTF-8", OsStr::from_bytes(path.as_os_str().as_bytes()).display()))
}

fn keep_over_exec(fd: i32) -> Attempt<()> {
    // SAFETY: a plain flag change.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }).map(drop).attempt("passing a file on")
}

fn hexadecimal(filter: &[seccompiler::sock_filter]) -> String {
    let bytes = |i: &seccompiler::sock_filter| [&i.code.to_ne_bytes()[..], &[i.jt, i.jf], &i.k.to_ne_bytes()].concat();
    filter.iter().flat_map(bytes).map(|byte| format!("{byte:02x}")).collect()
}

/// Refuses to start a launcher from a launcher: a program that forgot to call [`launcher_main`] would start itself for ever.
pub fn refuse_in_launcher() -> Attempt<()> {
    match std::env::args().nth(1).as_deref() {
        Some(LAUNCHER_ARGUMENT) => Err("this program does not call agent0_sandbox::launcher_main first in its main".into()),
        _ => Ok(()),
    }
}
