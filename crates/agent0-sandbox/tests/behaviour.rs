//! What code in the sandbox sees of Python: it behaves as `python main.py` would, the same way every time.

mod common;

use agent0_provision::{Cache, python_env};
use agent0_sandbox::{Isolation, Sandbox, SandboxConfig, SandboxError, Status};
use common::{launcher, output, plain_config, plain_sandbox, run};

const LEVELS: [Isolation; 2] = [Isolation::Full, Isolation::Landlock];

#[test]
fn code_behaves_as_a_program_in_a_file() {
    let sandbox = Sandbox::start(plain_config()).unwrap();
    assert_eq!(output(&sandbox, "print(1 + 1)"), "2\n");
    assert_eq!(output(&sandbox, "1 + 1"), "");
    assert_eq!(output(&sandbox, "print(__name__, __file__)\nimport sys\nprint(sys.argv)"), "__main__ main.py\n['main.py']\n");
    assert_eq!(output(&sandbox, "print('\u{fc}\u{221e}')"), "\u{fc}\u{221e}\n");
    // Functions see their module, and classes can be found again by name.
    assert_eq!(
        output(&sandbox, "import pickle\nclass A: pass\ndef f(): return pickle.loads(pickle.dumps(A()))\nprint(type(f()) is A)"),
        "True\n"
    );
    assert_eq!(output(&sandbox, "import atexit\natexit.register(print, 'last')\nprint('first')"), "first\nlast\n");
}

#[test]
fn failures_look_like_pythons_own() {
    let sandbox = Sandbox::start(plain_config()).unwrap();
    let outcome = run(&sandbox, "def f():\n    return 1 / 0\nprint('before')\nf()\n");
    assert_eq!(outcome.status, Status::Finished { code: 1 });
    assert_eq!(outcome.stdout, "before\n");
    let lines: Vec<&str> = outcome.stderr.lines().filter(|line| !line.contains('^')).collect();
    assert_eq!(
        lines,
        [
            "Traceback (most recent call last):",
            "  File \"main.py\", line 4, in <module>",
            "    f()",
            "  File \"main.py\", line 2, in f",
            "    return 1 / 0",
            "ZeroDivisionError: division by zero"
        ]
    );
    let outcome = run(&sandbox, "x = (");
    assert_eq!(outcome.status, Status::Finished { code: 1 });
    assert!(outcome.stderr.starts_with("  File \"main.py\", line 1\n") && outcome.stderr.contains("SyntaxError"), "{}", outcome.stderr);

    assert!(run(&sandbox, "input()").stderr.ends_with("EOFError: EOF when reading a line\n"));
    assert!(run(&sandbox, "bytearray(8 << 30)").stderr.ends_with("MemoryError\n"));
    assert!(run(&sandbox, "def f(): f()\nf()").stderr.contains("RecursionError"));
    assert!(run(&sandbox, "a = 1\0").stderr.contains("null byte"));
}

#[test]
fn exit_codes_are_the_programs() {
    let sandbox = Sandbox::start(plain_config()).unwrap();
    let ending = |code: &str| {
        let outcome = run(&sandbox, code);
        (outcome.status, outcome.stderr)
    };
    let finished = |code: i32, stderr: &str| (Status::Finished { code }, stderr.to_owned());
    assert_eq!(ending("import sys; sys.exit()"), finished(0, ""));
    assert_eq!(ending("import sys; sys.exit(7)"), finished(7, ""));
    assert_eq!(ending("import sys; sys.exit('no')"), finished(1, "no\n"));
    // 125 is also how a call ends that could not be locked in; code cannot pretend that.
    assert_eq!(ending("import os; os._exit(125)"), finished(125, ""));
}

#[test]
fn the_same_seed_gives_the_same_outcome_in_every_sandbox() {
    let printed = |sandbox: &Sandbox, code: &str, seed: u64| sandbox.run_blocking(code, seed, &common::patient()).unwrap().stdout;
    let chance = "import random\nprint(random.random(), hash('a'), {'x', 'y', 'z'})";
    // Classes in a set are ordered by their addresses.
    let addresses = "import fractions, decimal\nprint(id(fractions.Fraction), {fractions.Fraction, decimal.Decimal})";
    let outcome = || {
        let sandbox = Sandbox::start(plain_config()).unwrap();
        let first = printed(&sandbox, chance, 7);
        assert_eq!(printed(&sandbox, chance, 7), first);
        assert_ne!(printed(&sandbox, chance, 8), first);
        assert_eq!(printed(&sandbox, addresses, 7), printed(&sandbox, addresses, 8));
        first
    };
    assert_eq!(outcome(), outcome());
}

#[test]
fn what_one_call_changes_the_next_does_not_see() {
    for sandbox in LEVELS.into_iter().filter_map(plain_sandbox) {
        let tamper = "import builtins, math, sys, os\nmath.sqrt = builtins.len = lambda *a: 42\nsys.path.clear(); sys.modules['json'] = None\n\
             os.environ['X'] = '1'\nbuiltins.hidden = 'secret'\nprint(math.sqrt(4))";
        assert_eq!(output(&sandbox, tamper), "42\n");
        let look = "import math, os, json\nprint(math.sqrt(4), len('abc'), 'X' in os.environ, 'hidden' in dir(__builtins__))\n\
             import gc\nprint(any(isinstance(o, str) and 'sec' + 'ret' == o for o in gc.get_objects()))";
        assert_eq!(output(&sandbox, look), "2.0 3 False False\nFalse\n");
    }
}

#[test]
fn the_preloaded_modules_work_at_both_levels() {
    let python = match std::env::var_os("AGENT0_TEST_PYTHON") {
        Some(python) => python.into(),
        None => python_env(&Cache::open().unwrap(), None, &|_| {}).unwrap().python,
    };
    for isolation in LEVELS {
        let preload = ["numpy", "sympy", "math_verify"].map(str::to_owned).to_vec();
        let config = SandboxConfig { preload, isolation: Some(isolation), launcher: Some(launcher()), ..SandboxConfig::new(&python) };
        let sandbox = match Sandbox::start(config) {
            Err(SandboxError::NoIsolation(why)) => {
                println!("SKIPPED: {isolation} is not to be had here:\n{why}");
                continue;
            }
            started => started.unwrap(),
        };
        let modules = "import sys\nprint(all(m in sys.modules for m in ['numpy', 'numpy.random', 'sympy', 'math_verify']))";
        assert_eq!(output(&sandbox, modules), "True\n");
        assert_eq!(output(&sandbox, "import numpy as np\nprint(np.linalg.det(np.eye(3)))"), "1.0\n");
        assert_eq!(output(&sandbox, "from sympy import *\nx = symbols('x')\nprint(factor(x**4 - 1))"), "(x - 1)*(x + 1)*(x**2 + 1)\n");
        assert_eq!(output(&sandbox, "from math_verify import parse, verify\nprint(verify(parse('$1/2$'), parse('$0.5$')))"), "True\n");
        let random = "import numpy as np\nprint(np.random.rand())";
        assert_eq!(output(&sandbox, random), output(&sandbox, random));
    }
}

#[test]
fn a_python_that_cannot_serve_is_named_with_the_reason() {
    let missing = Sandbox::start(SandboxConfig { launcher: Some(launcher()), ..SandboxConfig::new("/no/such/python") });
    assert!(matches!(&missing, Err(SandboxError::Python { .. })), "{missing:?}");

    let module = Sandbox::start(SandboxConfig { preload: vec!["no_such_module".into()], ..plain_config() });
    let Err(SandboxError::Start(reason)) = module else { panic!("{module:?}") };
    assert!(reason.contains("No module named 'no_such_module'"), "{reason}");

    let launcher = Sandbox::start(SandboxConfig { launcher: Some("/no/such/launcher".into()), ..plain_config() });
    let Err(SandboxError::Start(reason)) = launcher else { panic!("{launcher:?}") };
    assert!(reason.contains("/no/such/launcher"), "{reason}");

    // A program that is no launcher.
    let other = Sandbox::start(SandboxConfig { launcher: Some("/bin/true".into()), ..plain_config() });
    let Err(SandboxError::Start(reason)) = other else { panic!("{other:?}") };
    assert!(reason.contains("launcher_main"), "{reason}");
}
