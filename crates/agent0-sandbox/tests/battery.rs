//! Code that attacks, floods, breaks and hides: every case of `tests/battery`, at both levels of isolation, eight at a time, as the user of
//! the tests and, when that is root, as an ordinary user too. After each case the sandbox must answer, and after all of them it must hold
//! no more files, memory or processes than before.
//!
//! A case begins with a line `#: NAME = WANTED`; a name that ends in `[full]` holds at that level only, one that ends in `[read-only]` only
//! without a scratch folder, one that ends in `[x86-64]` only there. Wanted is `silent` (it ends well and has nothing to report), `prints TEXT`, `exit CODE`, `error TEXT`, `cpu`, `wall`, `output`, `signal`, `sigsys` or `ends`
//! (however it likes), or several of them with `or` between.

mod common;
#[path = "battery/host.rs"]
mod host;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use agent0_sandbox::{Isolation, Limits, Outcome, Sandbox, SandboxConfig, Status};
use common::{output, patient, plain_config, run_within, sandbox_at};
use host::Held;

const FILES: &[(&str, &str)] = &[
    ("files", include_str!("battery/files.py")),
    ("network", include_str!("battery/network.py")),
    ("processes", include_str!("battery/processes.py")),
    ("signals", include_str!("battery/signals.py")),
    ("kernel", include_str!("battery/kernel.py")),
    ("surroundings", include_str!("battery/surroundings.py")),
    ("limits", include_str!("battery/limits.py")),
    ("input", include_str!("battery/input.py")),
];
const PRELUDE: &str = include_str!("battery/prelude.py");
const AT_ONCE: usize = 8;
const ORDINARY_USER: u32 = 12345;
/// One test at a time: each looks at what this process and those below it hold.
static ALONE: Mutex<()> = Mutex::new(());

struct Case {
    name: String,
    full_only: bool,
    read_only: bool,
    x86_64_only: bool,
    wanted: &'static str,
    code: &'static str,
}

fn cases() -> Vec<Case> {
    let case = |file: &str, text: &'static str| {
        let (head, code) = text.split_once('\n').unwrap_or((text, ""));
        let (name, wanted) = head.rsplit_once(" = ").unwrap_or_else(|| panic!("{file}: {head}: nothing is wanted"));
        let full_only = name.ends_with(" [full]");
        let read_only = name.ends_with(" [read-only]");
        let x86_64_only = name.ends_with(" [x86-64]");
        Case { name: format!("{file}: {name}"), full_only, read_only, x86_64_only, wanted, code }
    };
    FILES.iter().flat_map(|(file, text)| text.split("#: ").skip(1).map(move |text| case(file, text))).collect()
}

#[test]
fn full() {
    battery(Isolation::Full);
}

#[test]
fn landlock() {
    battery(Isolation::Landlock);
}

#[test]
fn full_with_scratch_folders() {
    let scratch = SandboxConfig { scratch_bytes: Some(1 << 20), ..plain_config() };
    battery_in(scratch, Isolation::Full);
}

fn battery(isolation: Isolation) {
    battery_in(plain_config(), isolation);
}

fn battery_in(config: SandboxConfig, isolation: Isolation) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let read_only = config.scratch_bytes.is_none();
    let Some(sandbox) = sandbox_at(isolation, SandboxConfig { concurrency: AT_ONCE, ..config }) else { return };
    let secret = Secret::write();
    let facts = format!("FULL = {}\nSECRET = {:?}\n", if isolation == Isolation::Full { "True" } else { "False" }, secret.0);
    let mut cases = cases();
    cases.retain(|case| (read_only || !case.read_only) && (isolation == Isolation::Full || !case.full_only));
    cases.retain(|case| cfg!(target_arch = "x86_64") || !case.x86_64_only);
    output(&sandbox, "print(1 + 1)");
    let before = Held::now();

    let waiting = Mutex::new(cases.iter());
    let failures = Mutex::new(vec![]);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(case) = waiting.lock().unwrap().next() else { return };
                    if let Err(failure) = try_case(&sandbox, &facts, case) {
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {} cases at {isolation}:\n{}", failures.len(), cases.len(), failures.join("\n"));
    assert_eq!(std::fs::read_to_string(&secret.0).unwrap(), "secret");
    before.assert_same();
}

#[test]
fn a_process_left_behind_is_noticed() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = Held::now();
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    assert_eq!(before.more_than_then(), [format!("{} sleep", child.id())]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(before.more_than_then(), [] as [String; 0]);

    let orphan = Command::new("sh").args(["-c", "sleep 1000 >/dev/null 2>&1 & echo $!"]).output().unwrap();
    let orphan = String::from_utf8(orphan.stdout).unwrap().trim().to_owned();
    let [left] = &before.more_than_then()[..] else { panic!("one process is left behind") };
    assert!(left.starts_with(&orphan), "{left}");
    Command::new("kill").args(["-9", &orphan]).status().unwrap();
    before.assert_same();
}

/// Runs a case and then the probe that every case must leave possible.
fn try_case(sandbox: &Sandbox, facts: &str, case: &Case) -> Result<(), String> {
    let wall_s = if case.wanted.contains("wall") { 1.5 } else { 60.0 };
    let code = format!("{facts}{PRELUDE}{}", case.code);
    let outcome = sandbox.run_blocking(&code, 1, &Limits { wall_s, ..patient() }).map_err(|error| format!("{}: {error}", case.name))?;
    let kept = Limits::default().output_keep + 100;
    let bounded = outcome.stdout.len() <= 3 * kept && outcome.stderr.len() <= 3 * kept;
    if !bounded || !case.wanted.split(" or ").any(|wanted| is_met(wanted, &outcome)) {
        let short = |text: &str| text.chars().take(300).collect::<String>();
        let (stdout, stderr) = (short(&outcome.stdout), short(&outcome.stderr));
        return Err(format!("{}: wanted {}, {}\n{stdout}{stderr}", case.name, case.wanted, outcome.status));
    }
    let probe = run_within(sandbox, "print(1 + 1)", &patient());
    if (probe.status, probe.stdout.as_str(), probe.stderr.as_str()) == (Status::Finished { code: 0 }, "2\n", "") {
        return Ok(());
    }
    Err(format!("after {}: {probe:?}", case.name))
}

fn is_met(wanted: &str, outcome: &Outcome) -> bool {
    let (kind, detail) = wanted.split_once(' ').unwrap_or((wanted, ""));
    match (kind, outcome.status) {
        ("silent", status) => status.is_success() && outcome.stdout.is_empty() && outcome.stderr.is_empty(),
        ("prints", status) => status.is_success() && outcome.stdout.trim_end() == detail,
        ("exit", Status::Finished { code }) => detail == code.to_string() && outcome.stderr.is_empty(),
        ("error", Status::Finished { code: 1 }) => !outcome.stderr.is_empty() && outcome.stderr.contains(detail),
        ("cpu", status) => status == Status::CpuLimit,
        ("wall", status) => status == Status::WallLimit,
        ("output", status) => status == Status::OutputLimit,
        ("signal", status) => matches!(status, Status::Signal(_)),
        ("sigsys", status) => status == Status::Signal(libc::SIGSYS),
        ("ends", _) => true,
        _ => false,
    }
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
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
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
    command.args(["--exact", "full", "landlock", "--nocapture", "--test-threads=1"]).env("AGENT0_TEST_PLAIN_PYTHON", python);
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
