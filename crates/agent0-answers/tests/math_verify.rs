//! The grader with the real math-verify in the real sandbox: pairs judged by hand, pairs made to hang, and what is the same whatever
//! the timing.

mod common;

use std::sync::Arc;

use agent0_answers::{Decision, Grader, Judge, MathVerify, Verdict, fast, normalise};
use common::{math_verify, sandbox};

struct Row {
    a: &'static str,
    b: &'static str,
    meaning: &'static str,
    clear: bool,
    fast: &'static str,
    grader: &'static str,
}

fn rows() -> Vec<Row> {
    let lines = include_str!("fixtures/pairs.tsv").lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
            [a, b, meaning, clarity @ ("clear" | "arguable"), fast, grader] => {
                Row { a, b, meaning, clear: clarity == "clear", fast, grader }
            }
            _ => panic!("{line}"),
        })
        .collect()
}

fn pair(a: &str, b: &str) -> (String, String) {
    (normalise(a), normalise(b))
}

#[test]
fn the_table_is_large_enough_and_consistent() {
    let rows = rows();
    assert!(rows.len() >= 150);
    for Row { a, b, meaning, clear, grader, .. } in rows {
        assert!(!clear || meaning == grader, "{a} / {b}: on a clear pair the grader says what it means");
    }
}

#[test]
fn the_fast_path_says_what_the_table_says_both_ways() {
    let mut wrong = Vec::new();
    for Row { a, b, meaning, clear, fast: expected, .. } in rows() {
        let word = |verdict| match verdict {
            Verdict::Same => "same",
            Verdict::Different => "different",
            Verdict::Ask => "ask",
        };
        let found = (word(fast(a, b)), word(fast(b, a)));
        if found != (expected, expected) || clear && expected != "ask" && expected != meaning {
            wrong.push(format!("{a} / {b}: {found:?}, expected {expected}"));
        }
        for answer in [a, b] {
            assert_eq!(fast(answer, answer), Verdict::Same, "{answer}");
            assert_eq!(fast(answer, &normalise(answer)), Verdict::Same, "{answer}");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn the_grader_says_what_the_table_says() {
    let judge = Arc::new(math_verify());
    // One question for all, as a large vote would ask it; afterwards the verdicts are remembered.
    let pairs: Vec<_> = rows().iter().map(|row| pair(row.a, row.b)).collect();
    judge.same(&pairs).await.unwrap();
    let grader = Grader::new(Some(judge));
    let mut wrong = Vec::new();
    for Row { a, b, grader: expected, .. } in rows() {
        let Decision { same, by } = grader.same(a, b).await.unwrap();
        let other_way = grader.same(b, a).await.unwrap().same;
        if (same, other_way) != (expected == "same", expected == "same") {
            wrong.push(format!("{a} / {b}: {same} {other_way} by {by:?}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn pairs_that_hang_have_no_verdict_and_hold_up_no_other() {
    let judge = math_verify();
    let pairs = [
        pair("x+1", "1+x"),
        pair("10^{10^{10}}", "7"),
        pair("x", "y"),
        pair("(10^9)!", "7"),
        pair(&"9".repeat(5000), "x"),
        pair("\\\\ \"; import os; os.abort() #", "x"),
        pair("\\sqrt{4}", "2"),
        pair("\u{2028}\0é'\"\n\\", "x"),
        pair(&"(".repeat(400), "x"),
        pair("\\sqrt{9}", "3"),
    ];
    let verdicts = judge.same(&pairs).await.unwrap();
    assert_eq!(verdicts[..8], [Some(true), None, Some(false), None, None, Some(false), Some(true), Some(false)]);
    assert_ne!(verdicts[8], Some(true));
    assert_eq!(verdicts[9], Some(true));
}

/// Comparing such lists as sets takes algebra minutes; that one of their members is none of the others' settles it.
#[tokio::test]
async fn long_lists_of_words_are_told_apart() {
    let words = "behind, wellwisher, volcanism, iniquity, interpretations, inmate, individualization, implications, zip, yoghurt, \
                 toroidal, transformations, mollie, mcconnell, disenfranchisement, hornpipe, sandy, scorn";
    let others = words.replace("scorn", "scone");
    let verdicts = math_verify().same(&[pair(words, "135"), pair(words, &others), pair(words, "x+1")]).await.unwrap();
    assert_eq!(verdicts, [Some(false); 3]);
}

#[tokio::test]
async fn a_vote_with_a_hanging_answer_is_counted() {
    let grader = Grader::new(Some(Arc::new(math_verify())));
    let answers = ["\\frac{\\sqrt2}{2}", "\\frac{1}{\\sqrt{2}}", "10^{10^{10}}", "3"].map(|a| Some(a.to_string()));
    let clusters = grader.cluster(&answers).await.unwrap();
    assert_eq!(clusters.labels, [Some(0), Some(0), Some(1), Some(2)]);
    assert!(clusters.undecided >= 1, "{clusters:?}");
}

/// Many votes at once, by workers that have seen other answers before, in other orders, on a machine that is busy with them: each
/// vote is what a judge with no past says when it is asked alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_answers_make_the_same_vote_whatever_the_timing() {
    let tasks: Vec<Vec<Option<String>>> = [
        ["x+1", "1+x", "x+2", "\\frac{x^2-1}{x-1}", "2+x"],
        ["50%", "0.5", "50", "\\frac12", "50\\%"],
        ["(1,2)", "1<x<2", "1,2", "\\{1,2\\}", "2,1"],
        ["10^{10^{10}}", "7", "\\sqrt{49}", "seven", "7"],
        ["Monday", "monday", "\\text{Monday}", "Tuesday", "M"],
    ]
    .map(|answers| answers.map(|a| Some(a.to_string())).to_vec())
    .to_vec();
    let mut alone = Vec::new();
    for task in &tasks {
        alone.push(Grader::new(Some(Arc::new(math_verify()))).cluster(task).await.unwrap());
    }
    let shared = Grader::new(Some(Arc::new(math_verify())));
    let mut running = Vec::new();
    for round in 0..3 {
        for i in 0..tasks.len() {
            let i = if round == 1 { tasks.len() - 1 - i } else { i };
            let (grader, task) = (shared.clone(), tasks[i].clone());
            running.push((i, tokio::spawn(async move { grader.cluster(&task).await.unwrap() })));
        }
    }
    for (i, vote) in running {
        assert_eq!(vote.await.unwrap(), alone[i], "task {i}");
    }
}

#[tokio::test]
async fn a_python_without_math_verify_is_an_error_with_a_remedy() {
    // The same interpreter, but not its packages.
    let judge = MathVerify::new(Arc::new(sandbox(common::base_python(), &[])));
    let message = judge.same(&[pair("x", "y")]).await.unwrap_err().to_string();
    assert!(message.contains("math_verify") && message.contains("Python 3.10 or newer"), "{message}");
}
