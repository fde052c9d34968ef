//! BLEU against nltk, clusters against scikit-learn and rewards against NumPy, on the texts of `fixtures/text_parity.json`.

use agent0_evolve::bleu::Batch;
use agent0_evolve::cluster::{THRESHOLD, cluster_texts};
use agent0_evolve::reward::{Attempted, RewardParams, rewards};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    texts: Vec<String>,
    bleu: Vec<(usize, usize, f64)>,
    batches: Vec<TextBatch>,
    rewards: Vec<RewardBatch>,
}

#[derive(Deserialize)]
struct TextBatch {
    texts: Vec<usize>,
    labels: Vec<usize>,
}

#[derive(Deserialize)]
struct RewardBatch {
    tasks: Vec<Option<Task>>,
    expected: Expected,
}

#[derive(Deserialize)]
struct Task {
    question: String,
    p_hat: f64,
    tool_calls: Vec<usize>,
}

impl Task {
    fn attempted(&self) -> Attempted<'_> {
        Attempted { question: &self.question, p_hat: self.p_hat, tool_calls: &self.tool_calls }
    }
}

/// Per formula and task: R_unc, R_tool, R_rep, R_C.
#[derive(Deserialize)]
struct Expected {
    paper: Vec<[f64; 4]>,
    code: Vec<[f64; 4]>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/text_parity.json")).unwrap()
}

#[test]
fn bleu_is_nltks() {
    let fixture = fixture();
    let texts: Vec<&str> = fixture.texts.iter().map(String::as_str).collect();
    assert!(texts.len() >= 200 && fixture.bleu.len() > 4000);
    for (hypothesis, reference, expected) in fixture.bleu {
        let found = Batch::new(&[texts[hypothesis], texts[reference]]).bleu4_of_later(0).next().unwrap();
        assert!((found - expected).abs() <= 1e-14, "{:?} vs {:?}: {found}, nltk {expected}", texts[hypothesis], texts[reference]);
    }
}

#[test]
fn clusters_are_scikit_learns() {
    let fixture = fixture();
    for batch in fixture.batches {
        let texts: Vec<&str> = batch.texts.iter().map(|&i| fixture.texts[i].as_str()).collect();
        assert_eq!(cluster_texts(&texts, THRESHOLD), batch.labels, "{texts:?}");
    }
}

#[test]
fn rewards_are_the_formulas() {
    for batch in fixture().rewards {
        let tasks: Vec<Option<Attempted>> = batch.tasks.iter().map(|task| task.as_ref().map(Task::attempted)).collect();
        for (params, expected) in [(RewardParams::paper(), batch.expected.paper), (RewardParams::code(), batch.expected.code)] {
            let found = rewards(&tasks, &params);
            assert_eq!(found.len(), expected.len());
            for ((task, found), expected) in tasks.iter().zip(found).zip(expected) {
                assert_eq!(found.format, f64::from(u8::from(task.is_some())));
                let parts = [found.uncertainty, found.tool, found.repetition, found.composite];
                assert!(parts.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{parts:?} vs {expected:?}");
            }
        }
    }
}
