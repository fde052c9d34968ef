//! What ends a call, and what is left of it: the output up to then, and a sandbox that works as before.

mod common;

use agent0_sandbox::{Isolation, Limits, Sandbox, Status};
use common::{output, patient, plain_sandbox, run_within};

fn at_both_levels(test: impl Fn(&Sandbox)) {
    for sandbox in [Isolation::Full, Isolation::Landlock].into_iter().filter_map(plain_sandbox) {
        test(&sandbox);
        assert_eq!(output(&sandbox, "print(1 + 1)"), "2\n");
    }
}

/// Runs `code`, which prints `before` first, to its `end`.
fn ends(sandbox: &Sandbox, limits: &Limits, code: &str, end: Status) {
    let outcome = run_within(sandbox, &format!("print('before')\n{code}"), limits);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (end, "before\n"), "{code}\n{}", outcome.stderr);
}

#[test]
fn cpu_time_ends_a_call() {
    at_both_levels(|sandbox| {
        for code in [
            "while True: pass",
            "10 ** 10 ** 10",
            "import re; re.match('(a*)*b', 'a' * 40)",
            // All signals ignored: SIGKILL cannot be.
            "import signal\nfor s in set(signal.Signals) - {9, 19}: signal.signal(s, signal.SIG_IGN)\nwhile True: pass",
            "import atexit\n@atexit.register\ndef f():\n  while True: pass",
            "import resource\ntry: resource.setrlimit(resource.RLIMIT_CPU, (99, 99))\nexcept ValueError: pass\nwhile True: pass",
        ] {
            ends(sandbox, &patient(), code, Status::CpuLimit);
        }
    });
}

#[test]
fn wall_clock_time_ends_a_call_that_sleeps() {
    let limits = Limits { wall_s: 1.0, ..Limits::default() };
    at_both_levels(|sandbox| {
        for code in ["import time; time.sleep(1000)", "import os, time; os.close(1); os.close(2); time.sleep(1000)"] {
            ends(sandbox, &limits, code, Status::WallLimit);
        }
    });
}

#[test]
fn memory_beyond_the_limit_is_an_exception() {
    at_both_levels(|sandbox| {
        for code in [
            "bytearray(8 << 30)",
            "import mmap\nmmap.mmap(-1, 8 << 30)",
            "x = [0]\nwhile True: x += x",
            "import resource\nresource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))",
        ] {
            let outcome = run_within(sandbox, code, &Limits { wall_s: 300.0, ..Limits::default() });
            assert_eq!(outcome.status, Status::Finished { code: 1 }, "{code}");
            let told = ["MemoryError", "Cannot allocate memory", "not allowed to raise maximum limit"];
            assert!(told.iter().any(|t| outcome.stderr.contains(t)), "{code}: {}", outcome.stderr);
            assert!(outcome.peak_rss_bytes < 1 << 30, "{code}");
        }
    });
}

#[test]
fn a_flood_of_output_is_stopped_and_both_ends_are_kept() {
    // A slow machine takes most of a second to print so much.
    let limits = Limits { output_keep: 1000, output_max: 1 << 20, wall_s: 300.0, ..Limits::with_cpu(30) };
    at_both_levels(|sandbox| {
        let outcome = run_within(sandbox, "i = 0\nwhile True:\n  print(i)\n  i += 1", &limits);
        assert_eq!(outcome.status, Status::OutputLimit);
        assert!(outcome.stdout.starts_with("0\n1\n2\n") && outcome.stdout.contains(" bytes left out ...]\n"), "{}", outcome.stdout);
        assert!(outcome.stdout.len() < 1100);
        // The same bytes every time, although the kill comes when it comes.
        let again = run_within(sandbox, "i = 0\nwhile True:\n  print(i)\n  i += 1", &limits);
        assert_eq!((again.status, again.stdout), (outcome.status, outcome.stdout));
        let stderr = run_within(sandbox, "import os\nwhile True: os.write(2, b'x' * 5000)", &limits);
        assert_eq!(stderr.status, Status::OutputLimit);
        let long = run_within(sandbox, "print('a' * 5000)", &limits);
        assert_eq!(long.status, Status::Finished { code: 0 });
        assert!(long.stdout.contains("[... 4001 bytes left out ...]"), "{}", long.stdout);
    });
}

#[test]
fn native_faults_are_signals() {
    at_both_levels(|sandbox| {
        ends(sandbox, &patient(), "import ctypes; ctypes.string_at(0)", Status::Signal(libc::SIGSEGV));
        let outcome = run_within(sandbox, "import os; os.abort()", &patient());
        assert!(matches!(outcome.status, Status::Signal(_)), "{outcome:?}");
    });
}

#[test]
fn runaway_threads_and_recursion_end() {
    at_both_levels(|sandbox| {
        let threads = "import threading, time\ntry:\n  while True: threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n\
             except RuntimeError: print('no more')\nimport os; os._exit(0)";
        let outcome = run_within(sandbox, threads, &Limits { wall_s: 300.0, ..Limits::default() });
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Status::Finished { code: 0 }, "no more\n"), "{}", outcome.stderr);
        let recursion = "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return 1 + f()\nf()";
        assert!(!run_within(sandbox, recursion, &patient()).status.is_success());
    });
}

#[test]
fn senseless_limits_are_refused() {
    let Some(sandbox) = plain_sandbox(Isolation::Full) else { return };
    let limits = Limits { wall_s: f64::NAN, ..Limits::default() };
    assert!(matches!(sandbox.run_blocking("", 0, &limits), Err(agent0_sandbox::SandboxError::Limits(_))));
}
