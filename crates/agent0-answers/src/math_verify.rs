//! The judge that asks math-verify, Hugging Face's grader, inside the sandbox (algorithm.md section 8, step 3).
//!
//! One call grades a batch of pairs and prints a verdict for each as it goes. A pair that takes too long is given up by a
//! timer inside; should that not get through, the sandbox kills the call, the pair in progress has no verdict, and the rest
//! is sent again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use agent0_sandbox::{Limits, Outcome, Sandbox};
use async_trait::async_trait;

use crate::{AnswerError, Judge};

/// CPU seconds for one pair, both directions together.
const PAIR_CPU_S: u64 = 2;
/// CPU seconds for the start of a call, when math-verify was not preloaded.
const START_CPU_S: u64 = 10;
/// Pairs in one call: what a pair that only the sandbox can stop may hold up.
const BATCH: usize = 16;
/// Longest answer that is sent, in bytes. What is longer is prose, which the grader cannot compare.
const LONGEST: usize = 1000;
/// Verdicts that are remembered.
const REMEMBERED: usize = 50_000;

const PROGRAM: &str = include_str!("grade.py");

/// A [`Judge`] that runs math-verify in a sandbox and remembers its verdicts.
pub struct MathVerify {
    sandbox: Arc<Sandbox>,
    verdicts: Mutex<HashMap<(String, String), Option<bool>>>,
}

impl MathVerify {
    /// The modules that a sandbox should preload for this judge: importing them takes seconds.
    pub const PRELOAD: [&str; 1] = ["math_verify"];

    /// A judge in `sandbox`, whose Python must have math-verify.
    pub fn new(sandbox: Arc<Sandbox>) -> Self {
        Self { sandbox, verdicts: Mutex::default() }
    }

    async fn run(&self, pairs: Vec<(String, String)>) -> Result<Outcome, AnswerError> {
        let limits = Limits::with_cpu(START_CPU_S + (PAIR_CPU_S + 1) * pairs.len() as u64);
        self.sandbox.run_with(&program(&pairs), 0, &limits).await.map_err(|error| AnswerError::Sandbox(Box::new(error)))
    }
}

#[async_trait]
impl Judge for MathVerify {
    async fn same(&self, pairs: &[(String, String)]) -> Result<Vec<Option<bool>>, AnswerError> {
        let keys: Vec<(String, String)> = pairs.iter().map(key).collect();
        let mut known: HashMap<(String, String), Option<bool>> = HashMap::new();
        let mut open = Vec::new();
        {
            let remembered = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
            for key in &keys {
                let too_long = key.0.len() > LONGEST || key.1.len() > LONGEST;
                match remembered.get(key).copied().or(too_long.then_some(None)) {
                    Some(verdict) => _ = known.insert(key.clone(), verdict),
                    None if !open.contains(key) => open.push(key.clone()),
                    None => {}
                }
            }
        }
        let verdicts = grade(&open, |batch| self.run(batch)).await?;
        let mut remembered = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, verdict) in open.into_iter().zip(verdicts) {
            if remembered.len() >= REMEMBERED {
                remembered.clear();
            }
            remembered.insert(key.clone(), verdict);
            known.insert(key, verdict);
        }
        Ok(keys.iter().map(|key| known.get(key).copied().flatten()).collect())
    }
}

/// A pair in a fixed order, so that the verdict does not depend on which answer came first.
fn key((a, b): &(String, String)) -> (String, String) {
    if a <= b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) }
}

/// The program for one batch. A JSON string is also a Python string literal; the pairs are JSON inside it.
fn program(pairs: &[(String, String)]) -> String {
    let data = serde_json::Value::String(serde_json::json!(pairs).to_string());
    format!("PAIRS = {data}\nLIMIT_S = {PAIR_CPU_S}\n{PROGRAM}")
}

/// Grades all pairs by calls of `run`, each with as many as fit a batch.
async fn grade<F>(pairs: &[(String, String)], run: impl Fn(Vec<(String, String)>) -> F) -> Result<Vec<Option<bool>>, AnswerError>
where
    F: Future<Output = Result<Outcome, AnswerError>>,
{
    let mut verdicts = Vec::with_capacity(pairs.len());
    while verdicts.len() < pairs.len() {
        let rest = &pairs[verdicts.len()..];
        let batch = &rest[..rest.len().min(BATCH)];
        let outcome = run(batch.to_vec()).await?;
        let mut lines = outcome.stdout.lines();
        if lines.next() != Some("ready") {
            return Err(AnswerError::Start { status: outcome.status.to_string(), stderr: last_line(&outcome.stderr) });
        }
        let judged: Vec<Option<bool>> = (0..batch.len()).map_while(|number| verdict(lines.next()?, number)).collect();
        let finished = judged.len() == batch.len();
        verdicts.extend(judged);
        if !finished {
            verdicts.push(None);
        }
    }
    Ok(verdicts)
}

/// Reads the line on pair `number`; `None` when it is not there, cut off or something else.
fn verdict(line: &str, number: usize) -> Option<Option<bool>> {
    match line.strip_prefix("verdict ")?.split_once(' ')? {
        (n, "same") if n == number.to_string() => Some(Some(true)),
        (n, "different") if n == number.to_string() => Some(Some(false)),
        (n, "none") if n == number.to_string() => Some(None),
        _ => None,
    }
}

fn last_line(text: &str) -> String {
    text.trim_end().lines().next_back().unwrap_or("it said nothing").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent0_sandbox::Status;

    fn pairs(n: usize) -> Vec<(String, String)> {
        (0..n).map(|i| (format!("{i}"), format!("x{i}"))).collect()
    }

    fn outcome(status: Status, stdout: String) -> Outcome {
        Outcome { status, stdout, stderr: "Traceback\nImportError: no".into(), cpu_s: 0.0, wall_s: 0.0, peak_rss_bytes: 0 }
    }

    /// Plays the program: even numbers are the same, 5 is out of time, and at the names in `kills` the call is killed.
    fn play(batch: &[(String, String)], kills: &[&str]) -> Outcome {
        let mut stdout = "ready\n".to_string();
        for (number, (a, _)) in batch.iter().enumerate() {
            if kills.contains(&a.as_str()) {
                return outcome(Status::CpuLimit, stdout + "verdict");
            }
            let word = match a.parse::<usize>().unwrap() {
                5 => "none",
                n if n % 2 == 0 => "same",
                _ => "different",
            };
            stdout += &format!("verdict {number} {word}\n");
        }
        outcome(Status::Finished { code: 0 }, stdout)
    }

    #[tokio::test]
    async fn a_killed_call_costs_one_verdict_and_the_rest_is_sent_again() {
        let calls = Mutex::new(Vec::new());
        let pairs = pairs(20);
        let verdicts = grade(&pairs, async |batch| {
            calls.lock().unwrap().push(batch.len());
            Ok(play(&batch, &["0", "7", "19"]))
        });
        let expected: Vec<Option<bool>> = (0..20).map(|i| if [0, 5, 7, 19].contains(&i) { None } else { Some(i % 2 == 0) }).collect();
        assert_eq!(verdicts.await.unwrap(), expected);
        assert_eq!(*calls.lock().unwrap(), [16, 16, 12]);
    }

    #[tokio::test]
    async fn a_grader_that_does_not_start_is_an_error() {
        let error = grade(&pairs(1), async |_| Ok(outcome(Status::Finished { code: 1 }, String::new()))).await.unwrap_err();
        let message = error.to_string();
        assert!(message.contains("exit code 1") && message.contains("ImportError: no"), "{message}");
    }

    #[test]
    fn answers_travel_as_data() {
        let nasty = ("\"\"\"); import os #\n\\".to_string(), "\u{2028}\0é'".to_string());
        let text = program(&[nasty]);
        assert_eq!(
            text.lines().next().unwrap(),
            r#"PAIRS = "[[\"\\\"\\\"\\\"); import os #\\n\\\\\",\"LS\\u0000é'\"]]""#.replace("LS", "\u{2028}")
        );
    }
}
