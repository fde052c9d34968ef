//! `agent0 answers` as a shell meets it: rows in, rows out, bad rows named, a missing Python with its remedy.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn answers(args: &[&str], input: &[u8], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent0"));
    command.arg("answers").args(args).envs(env.iter().copied());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn rows(output: &Output) -> Vec<Value> {
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn votes_come_in_the_order_of_the_rows() {
    let input = [
        json!({"id": "a", "answers": ["x+1", "\\frac12", null, "0.5", "1+x", "\\boxed{\\dfrac{1}{2}}"]}),
        json!({"id": 2, "answers": []}),
        json!({"id": [3], "answers": [null, "10^{10^{10}}", "7"], "more": true}),
    ];
    let input = input.map(|row| row.to_string()).join("\n\n");
    let output = answers(&["vote", "--json"], input.as_bytes(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let cluster = |answer: &str, samples: &[usize]| json!({"answer": answer, "samples": samples});
    let expected = [
        json!({"id": "a", "majority": "\\frac12", "votes": 3, "p_hat": 0.5, "clusters": [cluster("x+1", &[0, 4]), cluster("\\frac12", &[1, 3, 5])]}),
        json!({"id": 2, "majority": null, "votes": 0, "p_hat": 0.0, "clusters": []}),
        json!({"id": [3], "majority": "10^{10^{10}}", "votes": 1, "p_hat": 1.0 / 3.0,
               "clusters": [cluster("10^{10^{10}}", &[1]), cluster("7", &[2])]}),
    ];
    assert_eq!(rows(&output), expected);
}

#[test]
fn pairs_are_judged_and_it_is_said_by_whom() {
    let pairs = [("$5$", "5"), ("\\boxed{1/2}", "0.5"), ("(x+1)^2", "x^2+2x+1"), ("x", "y"), ("10^{10^{10}}", "7")];
    let input: String = pairs.iter().map(|(a, b)| json!({"a": a, "b": b}).to_string() + "\n").collect();
    let output = answers(&["same", "--json"], input.as_bytes(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let judged = |same: bool, by: &str| json!({"same": same, "by": by});
    let expected = [
        judged(true, "text"),
        judged(true, "number"),
        judged(true, "math-verify"),
        judged(false, "math-verify"),
        judged(false, "no verdict"),
    ];
    assert_eq!(rows(&output), expected);
}

#[test]
fn bad_rows_are_named_and_lose_no_others() {
    let input = b"{\"a\": \"1\", \"b\": \"1.0\"}\nnonsense\n{\"a\": \"1\"}\n\xff\n{\"a\": 1, \"b\": \"1\"}\n{\"a\": \"x\", \"b\": \"x\"}";
    let output = answers(&["same", "--json"], input, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(rows(&output), [json!({"same": true, "by": "number"}), json!({"same": true, "by": "text"})]);
    let said = stderr(&output);
    for line in 2..=5 {
        assert!(said.contains(&format!("line {line}: not a row")), "{said}");
    }
    assert!(said.contains("write it like {\"a\": ") && said.contains("6 rows") && said.contains("4 of them bad"), "{said}");
}

#[test]
fn without_python_there_is_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let env = [("AGENT0_PYTHON", "/nonexistent/python3"), ("AGENT0_CACHE", folder.path().to_str().unwrap())];
    let output = answers(&["same"], b"{\"a\": \"x\", \"b\": \"y\"}", &env);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("install Python 3.10 or newer"), "{}", stderr(&output));
}
