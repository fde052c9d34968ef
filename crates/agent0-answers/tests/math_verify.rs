//! The grader with the real math-verify in the real sandbox, against pairs judged by hand and pairs made to hang.

use std::sync::{Arc, OnceLock};

use agent0_answers::{Grader, Judge, MathVerify, Verdict, fast, normalise};
use agent0_provision::{Cache, python_env};
use agent0_sandbox::{Sandbox, SandboxConfig};

fn sandbox() -> Arc<Sandbox> {
    static SANDBOX: OnceLock<Arc<Sandbox>> = OnceLock::new();
    let start = || {
        let env = python_env(&Cache::open().unwrap(), None, &|_| {}).unwrap();
        let preload = MathVerify::PRELOAD.map(str::to_string).to_vec();
        Arc::new(Sandbox::start(SandboxConfig { preload, ..SandboxConfig::new(env.python) }).unwrap())
    };
    SANDBOX.get_or_init(start).clone()
}

struct Row {
    a: &'static str,
    b: &'static str,
    meaning: &'static str,
    fast: &'static str,
    grader: &'static str,
}

fn rows() -> Vec<Row> {
    let lines = include_str!("fixtures/pairs.tsv").lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
            [a, b, meaning, fast, grader] => Row { a, b, meaning, fast, grader },
            _ => panic!("{line}"),
        })
        .collect()
}

fn pair(a: &str, b: &str) -> (String, String) {
    (normalise(a), normalise(b))
}

#[test]
fn the_fast_path_says_what_the_table_says_both_ways() {
    let rows = rows();
    assert!(rows.len() >= 80);
    for Row { a, b, meaning, fast: expected, .. } in rows {
        let word = |verdict| match verdict {
            Verdict::Same => "same",
            Verdict::Different => "different",
            Verdict::Ask => "ask",
        };
        assert_eq!((word(fast(a, b)), word(fast(b, a))), (expected, expected), "{a} / {b}");
        assert!(expected == "ask" || expected == meaning, "the fast path is never wrong: {a} / {b}");
        for answer in [a, b] {
            assert_eq!(fast(answer, answer), Verdict::Same, "{answer}");
            assert_eq!(fast(answer, &normalise(answer)), Verdict::Same, "{answer}");
        }
    }
}

#[tokio::test]
async fn the_grader_says_what_the_table_says() {
    let judge = Arc::new(MathVerify::new(sandbox()));
    // One question for all, as a large vote would ask it; afterwards the verdicts are remembered.
    let pairs: Vec<_> = rows().iter().map(|row| pair(row.a, row.b)).collect();
    judge.same(&pairs).await.unwrap();
    let grader = Grader::new(Some(judge));
    let mut wrong = Vec::new();
    for Row { a, b, grader: expected, .. } in rows() {
        let found = (grader.same(a, b).await.unwrap(), grader.same(b, a).await.unwrap());
        if found != (expected == "same", expected == "same") {
            wrong.push(format!("{a} / {b}: {found:?}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn pairs_that_hang_have_no_verdict_and_hold_up_no_other() {
    let judge = MathVerify::new(sandbox());
    let pairs = [
        pair("x+1", "1+x"),
        pair("10^{10^{10}}", "7"),
        pair("x", "y"),
        pair("(10^9)!", "7"),
        pair(&"9".repeat(5000), "x"),
        pair("\\\\ \"; import os; os.abort() #", "x"),
        pair("\\sqrt{4}", "2"),
    ];
    let verdicts = judge.same(&pairs).await.unwrap();
    assert_eq!(verdicts, [Some(true), None, Some(false), None, None, Some(false), Some(true)]);
}

#[tokio::test]
async fn a_vote_with_a_hanging_answer_is_counted() {
    let grader = Grader::new(Some(Arc::new(MathVerify::new(sandbox()))));
    let answers = ["\\frac{\\sqrt2}{2}", "\\frac{1}{\\sqrt{2}}", "10^{10^{10}}", "3"].map(|a| Some(a.to_string()));
    let clusters = grader.cluster(&answers).await.unwrap();
    assert_eq!(clusters.labels, [Some(0), Some(0), Some(1), Some(2)]);
    assert!(clusters.undecided >= 1, "{clusters:?}");
}
