//! The graders against the gold answers: each is right when given as the answer, and wrong ones made from it are wrong.
//!
//! Rows are those below and, if `AGENT0_BENCH_ANSWERS` names a folder of benchmark files (`gsm8k_anything.jsonl`), all of theirs. The table
//! that is printed (`-- --nocapture`) is the one in docs/evaluation.md.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agent0_answers::{Grader, MathVerify, boxed};
use agent0_eval::{Benchmark, Grading, Question, benchmarks, grade, letter, read_file};
use agent0_provision::{Cache, python_env};
use agent0_sandbox::{Sandbox, SandboxConfig};

/// Wrong answers wanted of each benchmark.
const WRONG: usize = 200;

/// Gold answers that look like each benchmark's.
const OWN: [(&str, &[&str]); 10] = [
    ("amc23", &["27", "36.0", "3159", "\\frac{1}{2}"]),
    ("minerva", &["1.6", "4.5e33", "\\frac{1}{2}+x", "2.2 \\times 10^{-6}", "I(0) e^{-t/RC}"]),
    ("math500", &MATH500),
    ("gsm8k", &["18", "2,125", "70000", "-4"]),
    ("olympiadbench", &["2", "$\\frac{1}{2 n+2}$", "$(1,2),(3,4)$", "$3 \\sqrt{13}$", "$2^{1009}-1$"]),
    ("aime24", &["204", "025"]),
    ("aime25", &["70", "588"]),
    ("supergpqa", &["A", "J"]),
    ("mmlu_pro", &["B", "I"]),
    ("bbeh", &["(B)", "unknown", "17", "[3, 4, 5]", "proved", "a, b, c"]),
];

/// Gold answers like those of MATH-500, whose public rows may not be at hand.
const MATH500: [&str; 30] = [
    "\\left( 3, \\frac{\\pi}{2} \\right)",
    "p - q",
    "\\frac{14}{3}",
    "2k+2",
    "\\text{even}",
    "10\\%",
    "6 - 5i",
    "\\sqrt{51}",
    "[-2,7]",
    "(-\\infty, 3) \\cup (5, \\infty)",
    "x^3 + 3x - 6",
    "\\begin{pmatrix} -1/3 \\\\ 2/3 \\\\ 5/3 \\end{pmatrix}",
    "1,-2",
    "\\frac{3}{56}",
    "4210_{5}",
    "\\$32,348",
    "90^\\circ",
    "3\\sqrt{13}",
    "12 + 12\\sqrt{3}",
    "\\frac{\\sqrt{3}}{3}",
    "y = 2x + 3",
    "0.15",
    "-50",
    "2516_8",
    "\\pi",
    "e^{2}",
    "\\{1, 4, 9\\}",
    "5.4 \\text{ cents}",
    "7 \\frac{1}{2}",
    "11111111100",
];

/// Gold answers of the public files that are not right when given as the answer, and why.
const KNOWN_NOT_RIGHT: [(&str, &str); 0] = [];

/// Wrong answers to the public files that are taken as right, and why.
const KNOWN_NOT_WRONG: [(&str, &str); 0] = [];

#[derive(Default)]
struct Found {
    gold: usize,
    not_right: Vec<String>,
    wrong: usize,
    not_wrong: Vec<String>,
}

#[tokio::test]
async fn gold_answers_are_right_and_changed_ones_are_wrong() {
    let grader = grader();
    let folder = std::env::var_os("AGENT0_BENCH_ANSWERS").map(PathBuf::from);
    println!("| benchmark | gold answers | not right | wrong answers | not wrong |\n|---|---|---|---|---|");
    let (mut not_right, mut not_wrong) = (Vec::new(), Vec::new());
    for benchmark in benchmarks() {
        let mut questions = own(benchmark);
        questions.extend(folder.as_deref().into_iter().flat_map(|folder| public(folder, benchmark)));
        let found = examine(benchmark, &questions, &grader).await;
        println!("| {} | {} | {} | {} | {} |", benchmark.title, found.gold, found.not_right.len(), found.wrong, found.not_wrong.len());
        not_right.extend(found.not_right);
        not_wrong.extend(found.not_wrong);
    }
    let unknown = |found: Vec<String>, known: &[(&str, &str)]| -> Vec<String> {
        found.into_iter().filter(|text| !known.iter().any(|(id, _)| text.starts_with(&format!("{id}:")))).collect()
    };
    let (not_right, not_wrong) = (unknown(not_right, &KNOWN_NOT_RIGHT), unknown(not_wrong, &KNOWN_NOT_WRONG));
    assert!(not_right.is_empty() && not_wrong.is_empty(), "not right:\n{}\nnot wrong:\n{}", not_right.join("\n"), not_wrong.join("\n"));
}

/// Grades every gold answer as the answer to its own question, and wrong answers made from them.
async fn examine(benchmark: &Benchmark, questions: &[Question], grader: &Grader) -> Found {
    let mut found = Found::default();
    let is_right = async |question: &Question, answer: &str| {
        let text = format!("So it is \\boxed{{{answer}}}.");
        grade(question, benchmark.grading, boxed(&text), &text, grader).await.unwrap().correct
    };
    for question in questions {
        found.gold += 1;
        if !is_right(question, &question.answer).await {
            found.not_right.push(format!("{}: {}", question.id, question.answer));
        }
    }
    // Spread over all questions: one change of each, then another, until there are enough.
    let changes = (0..8).flat_map(|kind| questions.iter().map(move |question| (question, kind)));
    let step = (questions.len() / WRONG).max(1);
    for (question, kind) in changes.step_by(step) {
        let Some(answer) = changed(benchmark.grading, question, kind) else { continue };
        found.wrong += 1;
        if is_right(question, &answer).await {
            found.not_wrong.push(format!("{}: {} for {}", question.id, answer, question.answer));
        }
        if found.wrong == WRONG {
            break;
        }
    }
    found
}

/// A wrong answer made from the gold one; the kinds differ in how. `None` where that kind makes none.
fn changed(grading: Grading, question: &Question, kind: usize) -> Option<String> {
    let gold = &question.answer;
    match grading {
        Grading::Choice => {
            let right = gold.bytes().next()? - b'A';
            let wrong = (usize::from(right) + kind + 1) % question.choices.len();
            (wrong != usize::from(right)).then(|| letter(wrong).to_string())
        }
        Grading::Math | Grading::Bbeh => match kind {
            0 => with_last_number(gold, |n| n + 1),
            1 => with_first_number(gold, |n| n + 1),
            2 => with_last_number(gold, |n| 10 * n + 3),
            3 => with_first_number(gold, |n| 2 * n + 7),
            4 if grading == Grading::Math => Some(format!("{gold} + 1")),
            4 => Some(format!("not {gold}")),
            5 if grading == Grading::Math => Some(format!("\\frac{{{gold}}}{{7}}")),
            5 => Some(format!("{gold}, none")),
            6 => with_last_number(gold, |n| n + 29),
            7 => with_first_number(gold, |n| n + 31),
            _ => None,
        },
    }
}

/// The places of all runs of digits, small enough to count with.
fn numbers(text: &str) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let starts = (0..bytes.len()).filter(|&i| bytes[i].is_ascii_digit() && (i == 0 || !bytes[i - 1].is_ascii_digit()));
    starts
        .map(|start| (start, start + bytes[start..].iter().take_while(|b| b.is_ascii_digit()).count()))
        .filter(|(a, b)| b - a <= 12)
        .collect()
}

fn with_number(text: &str, at: Option<(usize, usize)>, change: impl Fn(u64) -> u64) -> Option<String> {
    let (start, end) = at?;
    let number: u64 = text[start..end].parse().ok()?;
    Some(format!("{}{}{}", &text[..start], change(number), &text[end..]))
}

fn with_last_number(text: &str, change: impl Fn(u64) -> u64) -> Option<String> {
    with_number(text, numbers(text).last().copied(), change)
}

fn with_first_number(text: &str, change: impl Fn(u64) -> u64) -> Option<String> {
    with_number(text, numbers(text).first().copied(), change)
}

/// The rows above.
fn own(benchmark: &Benchmark) -> Vec<Question> {
    let answers: BTreeMap<&str, &[&str]> = OWN.into_iter().collect();
    let choices = match benchmark.grading {
        Grading::Choice => (0..10).map(|i| format!("choice {i}")).collect(),
        _ => Vec::new(),
    };
    let question = |(i, answer): (usize, &&str)| Question {
        id: format!("own-{}-{i}", benchmark.name),
        question: "?".into(),
        answer: (*answer).into(),
        choices: choices.clone(),
        subject: None,
    };
    // Where answers are whole numbers, some more of them.
    let numbers: Vec<String> =
        if benchmark.name.starts_with("aime") { (1..30).map(|i| (37 * i % 1000).to_string()).collect() } else { Vec::new() };
    let answers: Vec<&str> = answers[benchmark.name].iter().copied().chain(numbers.iter().map(String::as_str)).collect();
    answers.iter().enumerate().map(question).collect()
}

/// The rows of files in `folder` whose names begin with the benchmark's.
fn public(folder: &Path, benchmark: &Benchmark) -> Vec<Question> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.file_name().unwrap().to_string_lossy().starts_with(benchmark.name));
    files.sort();
    files.iter().flat_map(|file| read_file(file, Some(benchmark)).unwrap().questions).collect()
}

fn grader() -> Grader {
    let python = python_env(&Cache::open().unwrap(), None, &|_| {}).unwrap();
    let preload = MathVerify::PRELOAD.map(str::to_owned).to_vec();
    let sandbox = Sandbox::start(SandboxConfig { preload, ..SandboxConfig::new(python.python) }).unwrap();
    Grader::new(Some(Arc::new(MathVerify::new(Arc::new(sandbox)))))
}
