//! Code that attacks: at both levels of isolation, as the user of the tests and, when that is root, as an ordinary user too.
//!
//! Each file of `tests/hostile` prints what it could do and should not have been able to. They are run in the sandbox only.

mod common;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent0_sandbox::{Isolation, Status};
use common::{output, plain_sandbox, run};

const ATTACKS: &[(&str, &str)] = &[
    ("files", include_str!("hostile/files.py")),
    ("network", include_str!("hostile/network.py")),
    ("processes", include_str!("hostile/processes.py")),
    ("signals", include_str!("hostile/signals.py")),
    ("surroundings", include_str!("hostile/surroundings.py")),
    ("syscalls", include_str!("hostile/syscalls.py")),
];

const ORDINARY_USER: u32 = 12345;

#[test]
fn full() {
    attack(Isolation::Full);
}

#[test]
fn landlock() {
    attack(Isolation::Landlock);
}

fn attack(isolation: Isolation) {
    let Some(sandbox) = plain_sandbox(isolation) else { return };
    let secret = Secret::write();
    let prelude = format!("FULL = {}\nSECRET = {:?}\n", if isolation == Isolation::Full { "True" } else { "False" }, secret.0);
    let prelude = prelude + include_str!("hostile/prelude.py");
    for (name, code) in ATTACKS {
        assert_eq!(output(&sandbox, &format!("{prelude}\n{code}")), "", "{name}");
        assert_eq!(output(&sandbox, "print(1 + 1)"), "2\n", "after {name}");
    }
    if cfg!(target_arch = "x86_64") {
        // The 32-bit system calls of the same machine go around no filter: any of them is fatal.
        let outcome = run(&sandbox, &format!("{prelude}\n{}", include_str!("hostile/int80.py")));
        assert_eq!(outcome.status, Status::Signal(libc::SIGSYS), "{outcome:?}");
    }
    assert_eq!(std::fs::read_to_string(&secret.0).unwrap(), "secret");
}

/// A file that everyone on the machine can read, but not the sandbox.
struct Secret(PathBuf);

impl Secret {
    fn write() -> Self {
        let path = std::env::temp_dir().join(format!("agent0-secret-{}-{:?}", std::process::id(), std::thread::current().id()));
        std::fs::write(&path, "secret").unwrap();
        Self(path)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn both_as_an_ordinary_user() {
    let user = std::fs::metadata("/proc/self").map(|m| std::os::unix::fs::MetadataExt::uid(&m)).unwrap();
    if user != 0 {
        println!("SKIPPED: these tests run as an ordinary user already");
        return;
    }
    let tests = std::env::current_exe().unwrap();
    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(|python| works_for_ordinary_user(Path::new(python), "-V")) else {
        println!("SKIPPED: user {ORDINARY_USER} cannot run any Python here");
        return;
    };
    if !works_for_ordinary_user(&tests, "--list") {
        println!("SKIPPED: user {ORDINARY_USER} cannot run {}", tests.display());
        return;
    }
    let mut command = as_ordinary_user(&tests);
    command.args(["--exact", "full", "landlock", "--nocapture"]).env("AGENT0_TEST_PLAIN_PYTHON", python);
    let result = command.output().unwrap();
    let text = String::from_utf8_lossy(&result.stdout);
    println!("{text}");
    assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
    assert!(text.contains("2 passed"));
}

fn as_ordinary_user(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.uid(ORDINARY_USER).gid(ORDINARY_USER).current_dir("/");
    command
}

fn works_for_ordinary_user(program: &Path, argument: &str) -> bool {
    as_ordinary_user(program).arg(argument).output().is_ok_and(|output| output.status.success())
}
