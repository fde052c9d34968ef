//! The command as a user meets it: what it says and how it exits when something is wrong. No model is loaded here.

use std::io::Write;
use std::process::{Command, ExitStatus, Output, Stdio};

fn agent0(folder: &std::path::Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_agent0")).args(args).current_dir(folder).env("AGENT0_CACHE", folder.join("cache")).output().unwrap()
}

/// How it exits when nobody reads what it says, neither results nor anything else.
fn unheard(folder: &std::path::Path, args: &[&str]) -> ExitStatus {
    let closed = || std::io::pipe().unwrap().1;
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent0"));
    command.args(args).current_dir(folder).env("AGENT0_CACHE", folder.join("cache"));
    command.stdout(closed()).stderr(closed()).status().unwrap()
}

/// Runs a program in the sandbox, without agent0's own environment.
fn sandboxed(folder: &std::path::Path, program: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent0"));
    command.args(["sandbox", "run", "--python", "python3"]).args(args).current_dir(folder);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(program.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_typo_in_a_setting_is_bad_usage_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let output = agent0(folder.path(), &["evolve", "--set", "executor.stpes=3"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean `executor.steps`?"), "{}", stderr(&output));
    std::fs::write(folder.path().join("mine.toml"), "[frontier]\npol = 3\n").unwrap();
    let output = agent0(folder.path(), &["evolve", "--config", "mine.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("mine.toml; did you mean `frontier.pool`?"), "{}", stderr(&output));
    let output = agent0(folder.path(), &["evolve", "--config", "missing.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("missing.toml"), "{}", stderr(&output));
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn unknown_options_and_commands_are_bad_usage() {
    let folder = tempfile::tempdir().unwrap();
    for args in [&["evolve", "--presets", "smoke"][..], &["involve"], &[]] {
        assert_eq!(agent0(folder.path(), args).status.code(), Some(2), "{args:?}");
    }
    let output = agent0(folder.path(), &["evolve", "--preset", "smoek"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("choose one of smoke, laptop"), "{}", stderr(&output));
}

#[test]
fn a_question_and_a_key_must_not_be_empty() {
    let folder = tempfile::tempdir().unwrap();
    let output = agent0(folder.path(), &["solve", " \n"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("the question is empty"), "{}", stderr(&output));
    for args in
        [&["serve", "--token", ""][..], &["solve", "1+1", "-k", "0"], &["solve", "1+1", "--temperature", "-1"], &["serve", "--queue", "0"]]
    {
        assert_eq!(agent0(folder.path(), args).status.code(), Some(2), "{args:?}");
    }
    let output = agent0(folder.path(), &["solve", "1+1", "--run", "nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("not a run"), "{}", stderr(&output));
}

#[test]
fn a_model_that_is_not_there_is_named_with_the_known_ones() {
    let folder = tempfile::tempdir().unwrap();
    for (model, named) in [("no/such.gguf", "no/such.gguf"), ("qwen2.5-coder-0.5-instruct", "qwen2.5-coder-0.5b-instruct")] {
        let output = agent0(folder.path(), &["evolve", "--name", named.rsplit('/').next().unwrap(), "--set", &format!("model={model}")]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(named), "{}", stderr(&output));
    }
}

#[test]
fn running_without_isolation_is_typed_by_hand_each_time_and_said_loudly() {
    let folder = tempfile::tempdir().unwrap();
    let evolve = |more: &[&str]| {
        let output = agent0(folder.path(), &[&["evolve", "--quiet", "--name", "bold", "--set", "model=no/such.gguf"], more].concat());
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        stderr(&output)
    };
    assert!(evolve(&["--unsafe-no-isolation"]).starts_with("agent0: WARNING: with --unsafe-no-isolation, "));
    let settings = std::fs::read_to_string(folder.path().join("runs/bold/config.toml")).unwrap();
    assert!(!settings.contains("isolation"), "{settings}");
    assert!(!evolve(&[]).contains("WARNING"));
    let output = agent0(folder.path(), &["evolve", "--set", "sandbox.unsafe_no_isolation=true"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn a_run_in_use_is_told_apart_from_a_folder_that_is_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let request = agent0_evolve::Request::default();
    let held = agent0_evolve::RunFolder::open(&folder.path().join("runs"), Some("busy"), &request).unwrap();
    let output = agent0(folder.path(), &["evolve", "--name", "busy"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("in use by another process"), "{}", stderr(&output));
    let output = agent0(folder.path(), &["report", "busy", "--json"]);
    assert_eq!(output.status.code(), Some(0), "looking is allowed: {}", stderr(&output));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((summary["run"].as_str(), summary["status"].as_str()), (Some("busy"), Some("unfinished")));
    drop(held);
    let output = agent0(folder.path(), &["report", "nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("not a run"), "{}", stderr(&output));
}

#[test]
fn the_doctor_speaks_json() {
    let folder = tempfile::tempdir().unwrap();
    let output = agent0(folder.path(), &["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.success(), report["ready"].as_bool().unwrap());
    let names: Vec<&str> = report["findings"].as_array().unwrap().iter().map(|finding| finding["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["processor", "memory", "sandbox", "python", "models", "disk"]);
}

#[test]
fn whoever_stops_reading_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let request = agent0_evolve::Request::default();
    drop(agent0_evolve::RunFolder::open(&folder.path().join("runs"), Some("mine"), &request).unwrap());
    for args in [
        &["doctor"][..],
        &["doctor", "--json"],
        &["model", "list"],
        &["report", "mine"],
        &["report", "yours"],
        &["evolve", "--set", "executor.stpes=3"],
        &["evolve", "--name", "other", "--set", "model=no/such.gguf", "--unsafe-no-isolation"],
    ] {
        assert_eq!(unheard(folder.path(), args).code(), agent0(folder.path(), args).status.code(), "{args:?}");
    }
}

#[test]
fn a_result_that_cannot_be_kept_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent0"));
    command.args(["model", "list"]).env("AGENT0_CACHE", folder.path()).stdout(std::fs::File::create("/dev/full").unwrap());
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("writing to standard output"), "{}", stderr(&output));
}

#[test]
fn a_sandboxed_programs_exit_code_is_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    for (program, code, exit_code) in [("import sys; sys.exit(7)", 7, Some(7)), ("import os; os.abort()", 1, None)] {
        let output = sandboxed(folder.path(), program, &["--json"]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["exit_code"].as_i64(), exit_code, "{told}");
    }
}

#[test]
fn limits_that_no_program_can_run_under_are_bad_usage() {
    let folder = tempfile::tempdir().unwrap();
    for args in [["--memory", "100"], ["--cpu", "0"], ["--scratch", "0"]] {
        let output = agent0(folder.path(), &[&["sandbox", "run"][..], &args].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
    }
}
