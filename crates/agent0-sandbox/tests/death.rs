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
    without_user_namespaces_landlock_is_what_is_left();
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

/// In a user namespace that may have none below it, as in many containers.
fn without_user_namespaces_landlock_is_what_is_left() {
    let script = PoorLauncher::write();
    let poor = |isolation| Sandbox::start(SandboxConfig { isolation, launcher: Some(script.0.clone()), ..plain_config() });
    if !Command::new("/usr/bin/unshare").args(["-r", "sh", "-c", &format!("{POVERTY} && true")]).output().is_ok_and(|o| o.status.success())
    {
        println!("SKIPPED: unshare cannot make a machine without user namespaces here");
        return;
    }
    let probe = probe_with(None, Some(&script.0));
    assert_ne!(probe.isolation, Some(Isolation::Full), "{probe}");
    assert!(!probe.steps[0].available && probe.steps[0].detail.contains("user.max_user_namespaces"), "{probe}");

    let Err(SandboxError::NoIsolation(why)) = poor(Some(Isolation::Full)) else { panic!("full isolation cannot be had here") };
    assert!(why.to_string().contains("namespaces: no, "), "{why}");

    match poor(None) {
        Ok(sandbox) => {
            assert_eq!(sandbox.isolation(), Isolation::Landlock);
            assert_eq!(output(&sandbox, "print(1 + 1)"), "2\n");
        }
        Err(error) => assert!(matches!(error, SandboxError::NoIsolation(_)), "{error}"),
    }
}

const POVERTY: &str = "echo 0 > /proc/sys/user/max_user_namespaces";

/// A launcher in a user namespace below which there can be none.
struct PoorLauncher(PathBuf);

impl PoorLauncher {
    fn write() -> Self {
        let path = std::env::temp_dir().join(format!("agent0-poor-launcher-{}", std::process::id()));
        let launcher = launcher();
        let script =
            format!("#!/bin/sh\nexec /usr/bin/unshare -r /bin/sh -c '{POVERTY}; exec \"$0\" \"$@\"' {} \"$@\"\n", launcher.display());
        fs::write(&path, script).unwrap();
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
