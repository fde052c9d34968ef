//! A zygote that dies, a sandbox that is dropped, a machine that allows less. One test at a time: processes are found by their parents.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use agent0_sandbox::{Isolation, LAUNCHER_ARGUMENT, Limits, Sandbox, SandboxConfig, SandboxError, Status, probe_with};
use common::{launcher, output, plain_config, plain_sandbox};

#[test]
fn death_and_poverty() {
    for isolation in [Isolation::Full, Isolation::Landlock] {
        let Some(sandbox) = plain_sandbox(isolation) else { continue };
        a_dead_zygote_is_replaced_and_its_calls_are_repeated_once(&sandbox);
        a_dropped_sandbox_leaves_no_process(sandbox);
    }
    the_ladder_goes_down_step_by_step();
}

fn a_dead_zygote_is_replaced_and_its_calls_are_repeated_once(sandbox: &Sandbox) {
    let limits = Limits { wall_s: 3600.0, ..Limits::default() };
    let call = |code: &str| sandbox.run_blocking(code, 0, &limits);
    std::thread::scope(|scope| {
        let once = scope.spawn(|| call("import time; time.sleep(2); print('repeated')"));
        kill_launcher_under_a_call();
        let outcome = once.join().unwrap().unwrap();
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Status::Finished { code: 0 }, "repeated\n"));

        let twice = scope.spawn(|| call("import time; time.sleep(3600)"));
        kill_launcher_under_a_call();
        kill_launcher_under_a_call();
        let lost = twice.join().unwrap();
        assert!(matches!(lost, Err(SandboxError::Lost(_))), "{lost:?}");
    });
    assert_eq!(output(sandbox, "print(1 + 1)"), "2\n");
}

fn a_dropped_sandbox_leaves_no_process(sandbox: Sandbox) {
    let limits = Limits { wall_s: 3600.0, ..Limits::default() };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sandbox = std::sync::Arc::new(sandbox);
    let running = sandbox.clone();
    let call = runtime.spawn(async move { running.run_with("import time; time.sleep(3600)", 0, &limits).await.map(drop) });
    let processes = wait_for_a_call();
    call.abort();
    runtime.shutdown_timeout(Duration::from_secs(60));
    drop(std::sync::Arc::into_inner(sandbox).expect("nobody else has the sandbox"));
    eventually("all processes gone", || processes.iter().all(|&p| is_gone(p)).then_some(()));
}

/// What a container may take away, each imitated by a launcher that gives it up before it becomes the real one.
fn the_ladder_goes_down_step_by_step() {
    let may = |script: &str| Command::new("/bin/sh").args(["-c", &format!("{script} true")]).output().is_ok_and(|o| o.status.success());
    let no_namespaces = "exec unshare -r sh -c 'echo 0 > /proc/sys/user/max_user_namespaces; exec \"$@\"' sh";
    let single_user = "exec unshare -r";
    let no_capabilities = "exec setpriv --bounding-set -all --inh-caps -all";
    let forbid = |calls: &[i64]| format!("exec python3 -c '{FORBID}' {}", calls.iter().map(i64::to_string).collect::<Vec<_>>().join(","));
    let containers = forbid(&[libc::SYS_unshare, libc::SYS_mount, libc::SYS_setns, libc::SYS_pivot_root]);
    let old_kernel = forbid(&[libc::SYS_landlock_create_ruleset]);
    let nothing = forbid(&[libc::SYS_unshare, libc::SYS_landlock_create_ruleset]);
    let cases: [(&str, &[Option<Isolation>]); 6] = [
        (single_user, &[Some(Isolation::Full)]),
        (no_capabilities, &[Some(Isolation::Full), Some(Isolation::Landlock)]),
        (no_namespaces, &[Some(Isolation::Landlock)]),
        (&containers, &[Some(Isolation::Landlock)]),
        (&old_kernel, &[Some(Isolation::Full)]),
        (&nothing, &[None]),
    ];
    for (number, (script, levels)) in cases.into_iter().enumerate() {
        if !may(script) {
            println!("SKIPPED: this cannot be imitated here: {script}");
            continue;
        }
        let launcher = PoorLauncher::write(number, script);
        steps_down_to(&launcher, levels);
    }
}

/// The level is one of `levels`, or one that this machine lacks anyway; calls work there and attacks do not.
fn steps_down_to(launcher: &PoorLauncher, levels: &[Option<Isolation>]) {
    let start = |config: SandboxConfig| Sandbox::start(SandboxConfig { launcher: Some(launcher.0.clone()), ..config });
    let probe = probe_with(None, Some(&launcher.0));
    if levels.contains(&None) {
        assert_eq!(probe.isolation, None, "{probe}");
        let Err(SandboxError::NoIsolation(why)) = start(plain_config()) else { panic!("there is nothing to isolate with") };
        assert!(why.steps.iter().all(|step| step.available == (step.name == "seccomp")), "{why}");
        // Only by hand, and it says so.
        let unsafe_one = start(SandboxConfig { unsafe_no_isolation: true, ..plain_config() }).unwrap();
        assert_eq!(unsafe_one.isolation(), Isolation::None);
        assert_eq!(output(&unsafe_one, "print(1 + 1)"), "2\n");
        return;
    }
    let sandbox = match start(SandboxConfig { unsafe_no_isolation: true, ..plain_config() }) {
        Ok(sandbox) => sandbox,
        Err(error) => panic!("{error}\n{probe}"),
    };
    let held = Some(sandbox.isolation());
    assert!(levels.contains(&held) || probe_with(None, Some(&common::launcher())).isolation != Some(Isolation::Full), "{held:?}\n{probe}");
    assert_eq!(output(&sandbox, "print(1 + 1)"), "2\n");
    let attack = "import os, socket\nfor f in [os.fork, socket.socket, lambda: open('/etc/passwd'), lambda: open('/tmp/x', 'w')]:\n\
                  \x20 try: f(); print('POSSIBLE')\n  except OSError: pass";
    assert_eq!(output(&sandbox, attack), "");
    if !levels.contains(&Some(Isolation::Full)) {
        let Err(SandboxError::NoIsolation(why)) = start(SandboxConfig { isolation: Some(Isolation::Full), ..plain_config() }) else {
            panic!("full isolation cannot be had here")
        };
        assert!(why.to_string().contains("namespaces: no, ") && why.to_string().contains("user.max_user_namespaces"), "{why}");
    }
}

/// Has the kernel refuse some system calls, as a container's profile does, and goes on as the program in its arguments.
const FORBID: &str = "import ctypes, os, struct, sys
calls = [int(number) for number in sys.argv[1].split(\",\")]
rules = [struct.pack(\"HBBI\", 32, 0, 0, 0)]
rules += [rule for call in calls for rule in (struct.pack(\"HBBI\", 21, 0, 1, call), struct.pack(\"HBBI\", 6, 0, 0, 0x50001))]
rules = b\"\".join(rules + [struct.pack(\"HBBI\", 6, 0, 0, 0x7fff0000)])
class Program(ctypes.Structure): _fields_ = [(\"length\", ctypes.c_ushort), (\"rules\", ctypes.c_char_p)]
libc = ctypes.CDLL(None)
libc.prctl(38, 1, 0, 0, 0)
assert libc.prctl(22, 2, ctypes.byref(Program(len(rules) // 8, rules)), 0, 0) == 0
os.execvp(sys.argv[2], sys.argv[2:])";

/// A launcher that gives something up first.
struct PoorLauncher(PathBuf);

impl PoorLauncher {
    fn write(number: usize, script: &str) -> Self {
        let path = std::env::temp_dir().join(format!("agent0-poor-launcher-{}-{number}", std::process::id()));
        fs::write(&path, format!("#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n{script} {} \"$@\"\n", launcher().display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }
}

impl Drop for PoorLauncher {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Kills the launcher (which the zygote and its calls do not outlive) while a call runs, and waits until it is gone.
fn kill_launcher_under_a_call() {
    let launcher = wait_for_a_call()[0];
    assert!(Command::new("kill").args(["-9", &launcher.to_string()]).status().unwrap().success());
    eventually("the launcher gone", || is_gone(launcher).then_some(()));
}

/// The processes from this one's child to that of a running call.
fn wait_for_a_call() -> Vec<u32> {
    eventually("a running call", || {
        let mut chain = vec![];
        while let Some(child) = child_of(chain.last().copied().unwrap_or(std::process::id())) {
            chain.push(child);
        }
        // The zygote and its child, the call; at full isolation the launcher comes before them.
        let pythons = chain.iter().filter(|&&p| is_python(p)).count();
        (pythons == 2).then_some(chain)
    })
}

fn child_of(parent: u32) -> Option<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    processes.into_iter().find(|&process| stat(process).is_some_and(|(state, its_parent)| its_parent == parent && state != "Z"))
}

/// State and parent of a process.
fn stat(process: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

fn is_gone(process: u32) -> bool {
    stat(process).is_none_or(|(state, _)| state == "Z")
}

fn is_python(process: u32) -> bool {
    let line = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
    !line.is_empty() && !line.contains(LAUNCHER_ARGUMENT)
}

fn eventually<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    for _ in 0..6000 {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("never: {what}")
}
