//! The fast path against math-verify as it is, on answers in many spellings: they may differ only in the classes that
//! `docs/answers.md` lists. The benchmarks' own answers are read from the folder in `AGENT0_BENCH_ANSWERS`, if there is one.
//!
//! The table that is printed (`-- --nocapture`) is the one in the docs.

mod common;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent0_answers::{Grader, Verdict, fast, normalise};
use agent0_sandbox::{Limits, Reply, Sandbox, Session};
use common::perturb::{Case, perturbed};
use common::{math_verify, shared_sandbox};

/// The classes in which the fast path decides otherwise than math-verify, each with the step of algorithm.md section 8 that says so.
const ALLOWED: [(&str, &str); 9] = [
    (SAME_TEXT, "1: equal after normalising"),
    ("full stop", "1: a full stop at the end goes"),
    ("thin space before %", "1: spaces go"),
    ("thousands apart", "1: spaces go"),
    ("other small number", "2: unequal exact numbers are different"),
    ("mixed number with a slash", "2: a mixed number is an exact number"),
    ("program's float", "2: a decimal is an exact number"),
    ("counted", "2: an exact number"),
    ("repeating decimal", "2: an exact number"),
];

/// Spellings of one answer that math-verify reads as different ones, or not at all.
const SAME_TEXT: &str = "other spellings";

/// What was found in one class.
#[derive(Default)]
struct Counts {
    pairs: usize,
    decided: usize,
    undecided_by_oracle: usize,
    contradictions: Vec<String>,
}

/// math-verify on answers as they are written.
struct Oracle {
    sandbox: Arc<Sandbox>,
    session: Option<Session>,
}

impl Oracle {
    /// The oracle's answer to a list of answers; none when it takes too long.
    async fn ask(&mut self, answers: &[&str]) -> Option<serde_json::Value> {
        let life = Limits { wall_s: 1e6, ..Limits::with_cpu(100_000) };
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.sandbox.open_session(include_str!("common/oracle.py"), &life).await.unwrap(),
        };
        let line = serde_json::json!(answers).to_string();
        let (session, reply) = tokio::task::spawn_blocking(move || {
            let reply = session.ask(&line, Duration::from_secs(5));
            (session, reply)
        })
        .await
        .unwrap();
        match reply {
            Reply::Line(line) => {
                self.session = Some(session);
                Some(serde_json::from_str(&line).unwrap())
            }
            Reply::OutOfTime | Reply::Broken => None,
        }
    }
}

/// Asks the oracle about each of `questions`, two at a time; in the order of the questions.
async fn ask_all(questions: Vec<Vec<String>>) -> Vec<Option<serde_json::Value>> {
    let found = Arc::new(Mutex::new(vec![None; questions.len()]));
    let queue = Arc::new(Mutex::new(questions.into_iter().enumerate().collect::<VecDeque<_>>()));
    let workers = [(); 2].map(|()| {
        let (found, queue) = (found.clone(), queue.clone());
        tokio::spawn(async move {
            let mut oracle = Oracle { sandbox: shared_sandbox(), session: None };
            loop {
                let next = queue.lock().unwrap().pop_front();
                let Some((i, question)) = next else { return };
                let answers: Vec<&str> = question.iter().map(String::as_str).collect();
                let answer = oracle.ask(&answers).await;
                found.lock().unwrap()[i] = answer;
            }
        })
    });
    for worker in workers {
        worker.await.unwrap();
    }
    Arc::try_unwrap(found).unwrap().into_inner().unwrap()
}

/// All cases made of some answers: each in other spellings, in forms made with sympy, and beside the next greater number.
async fn cases(answers: &[String]) -> Vec<Case> {
    let mut cases: Vec<Case> = answers.iter().flat_map(|answer| perturbed(answer)).collect();
    let questions = answers.iter().map(|answer| vec![answer.clone()]).collect();
    for (answer, forms) in answers.iter().zip(ask_all(questions).await) {
        for form in forms.iter().flat_map(|forms| forms.as_array().unwrap()) {
            let b = form.as_str().unwrap().to_owned();
            cases.push(Case { class: "form by sympy", a: answer.clone(), b, same: true });
        }
    }
    let value = |answer: &String| answer.replace([',', '$', '\\'], "").parse::<f64>().ok().filter(|value| value.is_finite());
    let mut numbers: Vec<(f64, &String)> = answers.iter().filter_map(|answer| Some((value(answer)?, answer))).collect();
    numbers.sort_by(|a, b| a.0.total_cmp(&b.0));
    for pair in numbers.windows(2) {
        let float = [pair[0].1, pair[1].1].iter().any(|answer| answer.contains(['e', 'E']));
        let class = if float { "program's float" } else { "neighbours" };
        cases.push(Case { class, a: pair[0].1.clone(), b: pair[1].1.clone(), same: pair[0].0 == pair[1].0 });
    }
    cases.sort();
    cases.dedup();
    cases
}

/// Compares the fast path with math-verify on every case that the fast path decides.
async fn compare(cases: &[Case]) -> BTreeMap<&'static str, Counts> {
    let decided: Vec<&Case> = cases.iter().filter(|case| fast(&case.a, &case.b) != Verdict::Ask).collect();
    let verdicts = ask_all(decided.iter().map(|case| vec![case.a.clone(), case.b.clone()]).collect()).await;
    let mut found: BTreeMap<&'static str, Counts> = BTreeMap::new();
    for case in cases {
        found.entry(case.class).or_default().pairs += 1;
    }
    for (case, verdict) in decided.iter().zip(verdicts) {
        let counts = found.entry(case.class).or_default();
        counts.decided += 1;
        let says = fast(&case.a, &case.b) == Verdict::Same;
        match verdict.map(|verdict| verdict.as_bool().unwrap()) {
            None => counts.undecided_by_oracle += 1,
            Some(same) if same == says => {}
            Some(same) => {
                let text = format!("{} / {}: {says}, math-verify {same}", case.a, case.b);
                // Known to be the same by the way it was made, and one normal form: math-verify misreads one of the two.
                let misread = case.same && says && normalise(&case.a) == normalise(&case.b) && !allowed(case.class);
                found.entry(if misread { SAME_TEXT } else { case.class }).or_default().contradictions.push(text);
            }
        }
    }
    found
}

fn allowed(class: &str) -> bool {
    ALLOWED.iter().any(|(name, _)| *name == class)
}

/// Prints what was found and fails on a contradiction that is not allowed.
fn report(title: &str, answers: usize, found: &BTreeMap<&'static str, Counts>) {
    println!(
        "{title}: {answers} answers\n| class | pairs | decided by the fast path | no verdict by math-verify | contradictions |\n|---|---|---|---|---|"
    );
    for (class, counts) in found {
        println!("| {class} | {} | {} | {} | {} |", counts.pairs, counts.decided, counts.undecided_by_oracle, counts.contradictions.len());
    }
    for (class, counts) in found {
        for contradiction in counts.contradictions.iter().take(4) {
            println!("{class}: {contradiction}");
        }
    }
    let wrong: Vec<_> = found.iter().filter(|(class, counts)| !allowed(class) && !counts.contradictions.is_empty()).collect();
    let wrong: Vec<_> =
        wrong.into_iter().flat_map(|(class, counts)| counts.contradictions.iter().map(move |c| format!("{class}: {c}"))).collect();
    assert!(wrong.is_empty(), "{} contradictions: {:#?}", wrong.len(), &wrong[..wrong.len().min(40)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fast_path_agrees_with_math_verify() {
    let answers: Vec<String> = fixture();
    let cases = cases(&answers).await;
    let found = compare(&cases).await;
    report("answers of the tests", answers.len(), &found);
    let classes = ["spacing", "full stop", "\\dfrac", "decimals", "commas", "thousands apart", "units", "percent", "other number"];
    let more = [
        "form by sympy",
        "neighbours",
        "mixed number with a slash",
        "program's float",
        "power of ten",
        "counted",
        "repeating decimal",
        "thin space before %",
        "other small number",
    ];
    for class in classes.into_iter().chain(more) {
        assert!(found[class].decided > 0, "{class}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_spelling_votes_with_its_original() {
    let grader = Grader::new(Some(Arc::new(math_verify())));
    let mut wrong = Vec::new();
    for case in cases(&fixture()).await.into_iter().filter(|case| case.class != "neighbours") {
        let decision = grader.same(&case.a, &case.b).await.unwrap();
        if decision.same != case.same {
            wrong.push(format!("{}: {} / {}: {decision:?}", case.class, case.a, case.b));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fast_path_agrees_with_math_verify_on_the_benchmarks() {
    let Some(folder) = std::env::var_os("AGENT0_BENCH_ANSWERS") else {
        println!("SKIPPED: AGENT0_BENCH_ANSWERS names no folder with the benchmarks' *.jsonl files");
        return;
    };
    let answers = benchmark_answers(Path::new(&folder));
    assert!(!answers.is_empty(), "no answers in {}", Path::new(&folder).display());
    let cases = cases(&answers).await;
    report("answers of the benchmarks", answers.len(), &compare(&cases).await);
}

fn fixture() -> Vec<String> {
    include_str!("fixtures/answers.txt").lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// The distinct answers in the field `answer` of the rows of all files.
fn benchmark_answers(folder: &Path) -> Vec<String> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    let mut answers = BTreeSet::new();
    for file in files {
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            answers.extend(row["answer"].as_str().map(|answer| answer.trim().to_owned()).filter(|answer| !answer.is_empty()));
        }
    }
    answers.into_iter().collect()
}
