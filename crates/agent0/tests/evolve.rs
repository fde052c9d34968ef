//! The program on a real model: a whole tiny co-evolution of the default one, killed and resumed, and models it cannot use.
//! The model and the Python environment are obtained by the program itself, as on a first run.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Every phase does something with these settings, and a run takes about a minute.
const TINY: [&str; 14] = [
    "rollout.max_tokens=160",
    "rollout.tool_output_tokens=48",
    "curriculum.steps=1",
    "curriculum.tasks_per_step=6",
    "curriculum.reward.formula=code",
    "curriculum.samples=2",
    "curriculum.max_tokens=128",
    "frontier.pool=3",
    "frontier.max_pool=6",
    "frontier.samples=2",
    "frontier.low=0.0",
    "frontier.high=1.0",
    "executor.tasks_per_step=2",
    "executor.group_size=3",
];

fn agent0(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent0"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn evolve(runs: &Path, name: &str) -> Command {
    let mut command = agent0(&["evolve", "--preset", "smoke", "--json", "--name", name, "--runs"]);
    command.arg(runs);
    for setting in TINY {
        command.args(["--set", setting]);
    }
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The JSON object on the last line of standard output.
fn last_line(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_else(|e| panic!("{e}\n{text}\n{}", stderr(output)))
}

/// Every adapter and optimizer file of a run.
fn weights(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for checkpoint in std::fs::read_dir(run.join("checkpoints")).unwrap() {
        let checkpoint = checkpoint.unwrap().path();
        for file in ["adapter_model.safetensors", "optimizer.safetensors"] {
            let name = format!("{}/{file}", checkpoint.file_name().unwrap().to_string_lossy());
            files.insert(name, std::fs::read(checkpoint.join(file)).unwrap());
        }
    }
    files
}

#[test]
fn a_run_killed_at_any_moment_ends_with_the_same_weights() {
    let runs = tempfile::tempdir().unwrap();
    let whole = evolve(runs.path(), "whole").output().unwrap();
    assert!(whole.status.success(), "{}", stderr(&whole));
    let summary = last_line(&whole);
    assert_eq!((&summary["run"], &summary["status"]), (&"whole".into(), &"finished".into()));
    assert!(summary["tokens_sampled"].as_u64() > Some(0) && summary["seconds"].as_f64() > Some(0.0));
    let iteration = &summary["iterations"][0];
    for (phase, key) in [
        ("curriculum", "reward_mean"),
        ("frontier", "generated"),
        ("frontier", "kept"),
        ("executor", "reward_mean"),
        ("executor", "answered_share"),
        ("executor", "tool_calls_mean"),
    ] {
        assert!(iteration[phase].get(key).is_some(), "{phase}.{key} is missing in {summary}");
    }
    let expected = weights(&runs.path().join("whole"));
    assert!(!expected.is_empty(), "nothing was trained: {}", stderr(&whole));

    // Kill -9 again and again, each time a little later, until the run gets through.
    let mut patience = Duration::from_secs(15);
    let resumed = loop {
        let mut child = evolve(runs.path(), "killed").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let started = Instant::now();
        while child.try_wait().unwrap().is_none() && started.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(50));
        }
        if child.try_wait().unwrap().is_some() {
            break child.wait_with_output().unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        patience += Duration::from_secs(10);
    };
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    let got = weights(&runs.path().join("killed"));
    assert_eq!(got.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, bytes) in &expected {
        assert!(got[name] == *bytes, "{name} differs after kill and resume");
    }

    let again = evolve(runs.path(), "whole").output().unwrap();
    assert!(again.status.success() && stderr(&again).contains("finished"), "a finished run says so: {}", stderr(&again));
    let report = agent0(&["report", "whole", "--runs"]).arg(runs.path()).output().unwrap();
    assert!(String::from_utf8_lossy(&report.stdout).contains("Iteration 1"), "{}", stderr(&report));
}

#[test]
fn a_damaged_model_and_a_missing_run_are_named() {
    let runs = tempfile::tempdir().unwrap();
    let with = |arguments: &[&str]| agent0(arguments).arg("--runs").arg(runs.path()).output().unwrap();

    let broken = runs.path().join("broken.gguf");
    std::fs::write(&broken, b"GGUF but not really").unwrap();
    let corrupt = with(&["evolve", "--name", "corrupt", "--set", &format!("model={}", broken.display())]);
    assert_eq!(corrupt.status.code(), Some(1));
    assert!(stderr(&corrupt).contains("broken.gguf"), "{}", stderr(&corrupt));

    let nothing = with(&["report", "no-such-run"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(stderr(&nothing).contains("no-such-run"), "{}", stderr(&nothing));
}
