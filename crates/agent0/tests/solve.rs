//! `agent0 solve` with the real model: one attempt, a vote, a run's settings, no answer.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const QUESTION: &str = "What is the sum of all prime numbers below 100?";

fn solve(args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent0"));
    let mut child = command.arg("solve").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(stdout(output).lines().last().unwrap_or_default()).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

#[test]
fn one_attempt_is_shown_with_its_tool_and_answer() {
    let shown = solve(&["-"], QUESTION);
    assert!(shown.status.success(), "{}", stderr(&shown));
    let text = stdout(&shown);
    assert!(text.contains("```python\n") && text.contains("\n```output\n1060\n```\n"), "{text}");
    assert!(text.ends_with("\nAnswer: 1060\n"), "{text}");

    let told = solve(&[QUESTION, "--json"], "");
    let solved = json(&told);
    assert_eq!((&solved["question"], &solved["answer"], &solved["k"]), (&QUESTION.into(), &"1060".into(), &1.into()));
    let attempt = &solved["trajectories"][0];
    assert_eq!((&attempt["ending"], &attempt["tool_calls"][0]["output"]), (&"boxed".into(), &"1060".into()));
    let attempted = attempt["text"].as_str().unwrap();
    assert_eq!(text, format!("{attempted}\nAnswer: 1060\n"), "shown is what was sampled");
    assert!(stderr(&told).contains(attempted), "with --json it is shown on standard error");
}

#[test]
fn a_vote_says_how_sure_it_is_and_repeats() {
    let vote = || solve(&[QUESTION, "-k", "3", "--json", "--max-tokens", "120"], "");
    let (first, again) = (vote(), vote());
    assert_eq!(json(&first), json(&again), "the same seed, the same attempts");
    let solved = json(&first);
    assert_eq!((solved["trajectories"].as_array().unwrap().len(), &solved["k"]), (3, &3.into()));
    let votes = solved["votes"].as_u64().unwrap();
    assert_eq!(solved["p_hat"].as_f64().unwrap(), votes as f64 / 3.0);
    assert_eq!((solved["answer"].is_null(), first.status.code()), (votes == 0, Some(i32::from(votes == 0))));
    assert!(stderr(&first).contains("[3/3] "), "{}", stderr(&first));
}

#[test]
fn a_run_decides_how_and_no_answer_is_said() {
    let runs = tempfile::tempdir().unwrap();
    let request = agent0_evolve::Request { sets: vec!["rollout.max_tokens=4".into()], ..agent0_evolve::Request::default() };
    drop(agent0_evolve::RunFolder::open(runs.path(), Some("short"), &request).unwrap());
    let output = solve(&[QUESTION, "--run", "short", "--runs", runs.path().to_str().unwrap(), "--json"], "");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let solved = json(&output);
    assert!(solved["answer"].is_null());
    let attempt = &solved["trajectories"][0];
    assert_eq!((&attempt["ending"], &attempt["tokens"]), (&"budget".into(), &4.into()));
    assert!(stderr(&output).contains("no answer: 4 tokens were not enough"), "{}", stderr(&output));
}
