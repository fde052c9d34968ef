//! Writes rows for `agent0 answers vote`: tasks with ten answers each, made of the answers of benchmarks.
//!
//! `cargo run --release -p agent0-answers --example mixed_answers -- FOLDER (numbers|all) TASKS > answers.jsonl`
//!
//! Of the ten, about half are the right answer in different spellings, one is missing, and the others are the answers of other tasks.
//! `numbers` takes the answers that are exact numbers, which the fast path settles; `all` takes every answer.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;

use agent0_answers::{Verdict, fast};

#[path = "../tests/common/perturb.rs"]
mod perturb;

/// A fixed stream of numbers (SplitMix64).
struct Draws(u64);

impl Draws {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as usize % limit
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, kind, tasks] = args.as_slice() else {
        return Err("give a folder with *.jsonl files, `numbers` or `all`, and how many tasks".into());
    };
    let mut answers = read(Path::new(folder))?;
    if kind == "numbers" {
        // Exact numbers are what the fast path tells from another number.
        answers.retain(|answer| fast(answer, "0.123456789123") == Verdict::Different);
    }
    if answers.is_empty() {
        return Err("no answers in that folder".into());
    }
    let mut draws = Draws(7);
    for id in 0..tasks.parse::<usize>()? {
        println!("{}", row(id, &answers, &mut draws));
    }
    Ok(())
}

/// The row of one task.
fn row(id: usize, answers: &[String], draws: &mut Draws) -> serde_json::Value {
    let right = &answers[draws.below(answers.len())];
    let spellings: Vec<String> =
        perturb::perturbed(right).into_iter().filter(|case| case.same && case.a == *right).map(|case| case.b).collect();
    let mut given: Vec<Option<String>> = vec![None];
    for _ in 0..5 {
        let spelled = if spellings.is_empty() || draws.below(2) == 0 { right } else { &spellings[draws.below(spellings.len())] };
        given.push(Some(spelled.clone()));
    }
    while given.len() < 10 {
        given.push(Some(answers[draws.below(answers.len())].clone()));
    }
    for last in (1..given.len()).rev() {
        given.swap(last, draws.below(last + 1));
    }
    serde_json::json!({"id": id, "answers": given})
}

/// The distinct answers in the field `answer` of the rows of all files, without the letters of multiple choice.
fn read(folder: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let mut answers = BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        for line in std::fs::read_to_string(&path)?.lines() {
            let row: serde_json::Value = serde_json::from_str(line)?;
            answers.extend(
                row["answer"]
                    .as_str()
                    .map(|answer| answer.trim().to_owned())
                    .filter(|answer| answer.len() > 1 || answer.parse::<u8>().is_ok()),
            );
        }
    }
    Ok(answers.into_iter().collect())
}
