//! What code in the sandbox sees of Python: it behaves as `python main.py` would, the same way every time.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent0_provision::{Cache, python_env};
use agent0_sandbox::{Isolation, Limits, Program, Sandbox, SandboxConfig, SandboxError, Status};
use common::{launcher, output, plain_config, plain_python, plain_sandbox, run};

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
}

#[test]
fn bad_input_is_told_in_few_words() {
    let program = |code: &[u8]| Program { code: code.to_vec(), ..Program::default() };
    for sandbox in LEVELS.into_iter().filter_map(plain_sandbox) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ends = |code: &[u8]| {
            let outcome = runtime.block_on(sandbox.run_program(program(code), &common::patient())).unwrap();
            assert!(outcome.stderr.len() < 1000, "{}", outcome.stderr);
            (outcome.status, outcome.stderr)
        };
        assert_eq!(ends(b""), (Status::Finished { code: 0 }, String::new()));
        assert!(ends(b"a = 1\0").1.contains("null byte"));
        assert!(ends(b"print('\xff\xfe')").1.contains("can't decode byte 0xff"));
        assert_eq!(ends("# coding: latin-1\nassert len('\u{e9}') == 2".as_bytes()).0, Status::Finished { code: 0 });
        // Ten megabytes: too much for a second of CPU time or for the memory, as the code may be, or run to its end.
        let few_words = |(status, stderr): (Status, String)| status != Status::OutputLimit && stderr.len() < 4000;
        for line in ["x = 1\n", "# a comment\n", "(", "x", "'", "\\\n", "if 1:\n "] {
            let code = line.repeat((10 << 20) / line.len());
            let outcome = runtime.block_on(sandbox.run_program(program(code.as_bytes()), &common::patient())).unwrap();
            assert!(few_words((outcome.status, outcome.stderr.clone())), "{line:?}: {}", outcome.status);
        }
        assert_eq!(output(&sandbox, "print(1 + 1)"), "2\n");
    }
}

#[test]
fn a_program_reads_its_input() {
    for sandbox in LEVELS.into_iter().filter_map(plain_sandbox) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let program = Program { code: b"import sys\nprint(input(), len(sys.stdin.read()))".into(), stdin: b"one\ntwo\n".into(), seed: 0 };
        assert_eq!(runtime.block_on(sandbox.run_program(program, &common::patient())).unwrap().stdout, "one 4\n");
    }
}

#[test]
fn a_scratch_folder_is_private_and_bounded() {
    let config = SandboxConfig { scratch_bytes: Some(1 << 20), ..plain_config() };
    let Some(sandbox) = common::sandbox_at(Isolation::Full, config.clone()) else { return };
    let use_it = "import os, tempfile\nopen('x', 'w').write('1')\nos.mkdir('d')\nos.rename('x', 'd/y')\nprint(open('/scratch/d/y').read())\n\
                  print(tempfile.NamedTemporaryFile().name.startswith('/scratch/'))\nfor place in ['/x', '/tmp/x', '/dev/x']:\n\
                  \x20 try: open(place, 'w'); print('wrote', place)\n  except OSError: pass";
    assert_eq!(output(&sandbox, use_it), "1\nTrue\n");
    assert_eq!(output(&sandbox, "import os; print(os.listdir('.'), os.getcwd())"), "[] /scratch\n");
    let fill = "n = 0\nf = open('big', 'wb', buffering=0)\ntry:\n  while True: n += f.write(bytes(1 << 16))\n\
                except OSError as e: print(n, e.strerror)";
    assert_eq!(output(&sandbox, fill), format!("{} No space left on device\n", 1 << 20));
    assert!(run(&sandbox, "import os; os.mkfifo('p')").stderr.contains("PermissionError"));

    let without = Sandbox::start(SandboxConfig { isolation: Some(Isolation::Landlock), ..config });
    let Err(SandboxError::Start(reason)) = without else { panic!("{without:?}") };
    assert!(reason.contains("a scratch folder needs namespaces"), "{reason}");
}

#[test]
fn others_that_compute_make_no_call_late() {
    // Eight calls of half a second of CPU time each, and half a second of wall-clock time: only waiting for a CPU makes them longer.
    let sandbox = Sandbox::start(SandboxConfig { concurrency: 8, ..plain_config() }).unwrap();
    let code = "import time\nwhile time.process_time() < 0.4: pass\nprint('done')";
    let limits = Limits { wall_s: 0.8, ..Limits::with_cpu(2) };
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| sandbox.run_blocking(code, 0, &limits).unwrap())).collect();
        for call in calls {
            let outcome = call.join().unwrap();
            assert_eq!((outcome.status, outcome.stdout.as_str()), (Status::Finished { code: 0 }, "done\n"), "{outcome:?}");
        }
    });
}

#[test]
fn packages_are_allowed_by_name() {
    let python = python_with_packages();
    let config = SandboxConfig { launcher: Some(launcher()), preload: vec![], ..SandboxConfig::new(python) };
    let import = |sandbox: &Sandbox, name: &str| run(sandbox, &format!("import {name}")).stderr;
    // Without namespaces it can be seen that a package is there, and no more.
    let is_missing = |stderr: String| stderr.contains("No module named") || stderr.contains("PermissionError");
    for isolation in LEVELS {
        let start = |config: SandboxConfig| common::sandbox_at(isolation, config);
        let Some(none) = start(SandboxConfig { packages: vec![], ..config.clone() }) else { continue };
        for name in ["numpy", "sympy", "pip"] {
            assert!(is_missing(import(&none, name)), "{name} at {isolation}: {}", import(&none, name));
        }
        // With what it requires, and by the name of a module as well as of a distribution.
        for name in ["sympy", "math_verify"] {
            let one = start(SandboxConfig { packages: vec![], extra_packages: vec![name.into()], ..config.clone() }).unwrap();
            assert_eq!((import(&one, "sympy"), import(&one, "mpmath")), (String::new(), String::new()));
            assert!(is_missing(import(&one, "numpy")));
        }
    }
    let missing = Sandbox::start(SandboxConfig { extra_packages: vec!["no-such-thing".into()], ..config });
    let Err(SandboxError::Python { cause, .. }) = missing else { panic!("{missing:?}") };
    assert!(cause.contains("no package no-such-thing; install it there"), "{cause}");
}

fn python_with_packages() -> PathBuf {
    match std::env::var_os("AGENT0_TEST_PYTHON") {
        Some(python) => python.into(),
        None => python_env(&Cache::open().unwrap(), None, &|_| {}).unwrap().python,
    }
}

/// A virtual environment at `folder` with a package `pack` of one line.
fn environment_with_pack(folder: &Path) -> PathBuf {
    let made = Command::new(plain_python()).args(["-m", "venv", "--without-pip"]).arg(folder).status().unwrap();
    assert!(made.success());
    let version = fs::read_dir(folder.join("lib")).unwrap().next().unwrap().unwrap();
    let packages = version.path().join("site-packages");
    fs::create_dir_all(packages.join("pack")).unwrap();
    fs::write(packages.join("pack/__init__.py"), "def fail(): raise ValueError").unwrap();
    fs::create_dir_all(packages.join("pack-1.0.dist-info")).unwrap();
    fs::write(packages.join("pack-1.0.dist-info/METADATA"), "Metadata-Version: 2.1\nName: pack\nVersion: 1.0\n").unwrap();
    fs::write(packages.join("pack-1.0.dist-info/RECORD"), "pack/__init__.py,,\n").unwrap();
    folder.join("bin/python3")
}

#[test]
fn what_is_seen_does_not_tell_where_the_environment_is() {
    let root = std::env::temp_dir().join(format!("agent0-where-{}", std::process::id()));
    let folders = ["a", "quite/another/place-with-a-long-name"].map(|name| root.join(name));
    let code = "import pack, sys\ntry:\n    from pack import nothing\nexcept ImportError as error:\n    print(error)\n\
                print(pack, pack.__path__, sys.path[-1])\npack.fail()";
    let mut seen = Vec::new();
    for folder in &folders {
        let python = environment_with_pack(folder);
        for level in LEVELS {
            let config = SandboxConfig { extra_packages: vec!["pack".into()], python: python.clone(), ..plain_config() };
            let Some(sandbox) = common::sandbox_at(level, config) else { continue };
            let outcome = run(&sandbox, code);
            assert!(outcome.stdout.contains("cannot import name 'nothing' from 'pack' (/packages/pack/__init__.py)"), "{}", outcome.stdout);
            assert!(outcome.stderr.contains("File \"/packages/pack/__init__.py\", line 1, in fail"), "{}", outcome.stderr);
            seen.push((outcome.stdout, outcome.stderr));
            if level == Isolation::Full {
                // Not only what is written: a program can find out nothing.
                assert_eq!(output(&sandbox, "import pack\nprint(len(pack.__file__))"), "26\n");
            }
        }
    }
    fs::remove_dir_all(&root).unwrap();
    assert!(!seen.is_empty() && seen.iter().all(|output| *output == seen[0]), "{seen:?}");
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
    assert_eq!(ending("import sys; sys.exit(10**30)"), finished(255, ""));
    assert_eq!(ending("exit(8)"), finished(8, ""));
    assert_eq!(ending("quit()"), finished(0, ""));
    // 125 is also how a call ends that could not be locked in; code cannot pretend that.
    assert_eq!(ending("import os; os._exit(125)"), finished(125, ""));
}

#[test]
fn both_kinds_of_time_are_told() {
    let outcome = run(&Sandbox::start(plain_config()).unwrap(), "import time; time.sleep(0.2)\nwhile time.process_time() < 0.1: pass");
    assert!(outcome.cpu_s >= 0.1, "{outcome:?}");
    assert!(outcome.wall_s >= 0.3, "{outcome:?}");
}

#[test]
fn the_same_seed_gives_the_same_outcome_in_every_sandbox() {
    let printed = |sandbox: &Sandbox, code: &str, seed: u64| sandbox.run_blocking(code, seed, &common::patient()).unwrap().stdout;
    let chance = "import os, random, secrets, uuid\nprint(random.random(), hash('a'), {'x', 'y', 'z'}, object())\n\
                  print(os.urandom(8), secrets.token_hex(), uuid.uuid4(), random.Random().random(), random.SystemRandom().random())\n\
                  random.seed()\nprint(random.random())";
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
    let python = python_with_packages();
    let mut drawn = Vec::new();
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
        let random = "import numpy as np, sympy\nprint(np.random.rand(), np.random.default_rng().random())\n\
                      print(sympy.randprime(1, 10**9), sympy.Dummy().dummy_index)";
        drawn.extend([output(&sandbox, random), output(&sandbox, random)]);
    }
    // Every zygote loads its modules anew, and they draw from the same generators.
    assert!(drawn.iter().all(|numbers| *numbers == drawn[0]), "{drawn:?}");
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
