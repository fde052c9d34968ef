//! Ten thousand calls leave nothing behind. A test of its own, so that nothing else opens files meanwhile.

mod common;
#[path = "battery/host.rs"]
mod host;

use agent0_sandbox::{Isolation, Limits, SandboxConfig};
use common::{patient, plain_config, sandbox_at};
use host::Held;

const CALLS: usize = 10_000;
const AT_ONCE: usize = 8;

/// Calls of every kind of ending; each leaks what it can.
const KINDS: [&str; 8] = [
    "print(1 + 1)",
    "held = [open('/dev/null') for _ in range(50)]",
    "import os; os._exit(9)",
    "import threading, time\nfor _ in range(4): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
    "x = bytearray(8 << 20); raise ValueError('x' * 1000)",
    "import ctypes; ctypes.string_at(0)",
    "import os; held = [os.pipe() for _ in range(20)]; os.write(1, b'\\xff' * 100_000)",
    "import mmap; held = mmap.mmap(-1, 8 << 20); held[::4096] = b'x' * len(held[::4096])",
];

#[test]
fn ten_thousand_calls_leave_nothing_behind() {
    let (full, landlock) = (CALLS - CALLS / 10, CALLS / 10);
    for (isolation, calls) in [(Isolation::Full, full), (Isolation::Landlock, landlock)] {
        let Some(sandbox) = sandbox_at(isolation, SandboxConfig { concurrency: AT_ONCE, ..plain_config() }) else { continue };
        let run = |calls: usize| {
            std::thread::scope(|scope| {
                for worker in 0..AT_ONCE {
                    let sandbox = &sandbox;
                    scope.spawn(move || {
                        for call in 0..calls / AT_ONCE {
                            let code = KINDS[(worker + call) % KINDS.len()];
                            sandbox.run_blocking(code, 0, &Limits { cpu_s: 5, ..patient() }).unwrap();
                        }
                    });
                }
            });
        };
        run(200);
        let before = Held::now();
        run(calls);
        before.assert_same();
    }
}
