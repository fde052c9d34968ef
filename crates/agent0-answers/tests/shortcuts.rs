//! What makes math-verify faster (`src/apart.py`, `src/reading.py`) changes none of its verdicts: each pair is judged with and without.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use agent0_sandbox::{Limits, Reply, Session};
use common::shared_sandbox;

const PLAIN: &str = include_str!("../src/grade.py");
const FAST: &str = concat!(include_str!("../src/apart.py"), include_str!("../src/reading.py"), include_str!("../src/grade.py"));
const START: Duration = Duration::from_secs(60);
const PAIR: Duration = Duration::from_secs(2);

/// Pairs that the shortcuts reach, and what math-verify says of them: equal ones, near ones, and some on both sides of every rule.
const REACHED: [(&str, &str, bool); 20] = [
    ("(x+1)^2", "x^2+2x+1", true),
    ("\\sin(2x)", "2\\sin x\\cos x", true),
    ("2n^{2}-2n+1", "(n-1)^2+n^2", true),
    ("\\frac{\\sqrt{2}}{2}", "\\frac{1}{\\sqrt{2}}", true),
    ("f(2x)", "f(x+x)", true),
    ("f(2x)", "f(3x)", false),
    ("f(x)+1", "g(x)+1", false),
    ("\\log_2 8+x", "x+3", true),
    ("x^2+2x+1", "x^2+2x+1.000001", false),
    ("\\sqrt{2}\\cos t", "\\sqrt{2}\\cos t+10^{-9}", false),
    ("9\\%", "9", true),
    ("x\\%", "\\frac{x}{100}", false),
    ("\\{1,\\frac{1}{3}\\}", "\\{\\frac{1}{3},1\\}", true),
    ("\\{1,x+x\\}", "\\{2x,1\\}", true),
    ("\\{1,2\\}", "\\{1,3\\}", false),
    ("\\{1,2\\}", "1", false),
    ("\\{\\frac{1}{3},2\\}", "\\{0.3333333,2\\}", true),
    ("2x+4=0", "x=-2", false),
    ("y=2x+1", "2x-y=-1", true),
    ("y=2x+1", "y=2x+2", false),
];

struct Judge {
    program: &'static str,
    session: Option<Session>,
}

impl Judge {
    /// Whether two texts are the same; none when that takes too long.
    async fn same(&mut self, a: &str, b: &str) -> Option<bool> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => started(self.program).await,
        };
        let question = serde_json::json!([a, b]).to_string();
        let reply = session.ask(&question, PAIR);
        let Reply::Line(line) = reply else { return None };
        self.session = Some(session);
        Some(line == "same")
    }
}

async fn started(program: &str) -> Session {
    let life = Limits { wall_s: 1e6, ..Limits::with_cpu(100_000) };
    let mut session = shared_sandbox().open_session(program, &life).await.unwrap();
    assert_eq!(session.ask("", START), Reply::Line("ready".into()));
    session
}

#[tokio::test]
async fn what_the_shortcuts_reach_is_judged_as_ever() {
    let (mut plain, mut fast) = (Judge { program: PLAIN, session: None }, Judge { program: FAST, session: None });
    let mut wrong = Vec::new();
    for (a, b, same) in REACHED {
        let found = (plain.same(a, b).await, fast.same(a, b).await);
        if found != (Some(same), Some(same)) {
            wrong.push(format!("{a} / {b}: {found:?}, expected {same}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn no_verdict_changes() {
    let lines = |text: &'static str| text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let answers: BTreeSet<&str> = lines(include_str!("fixtures/answers.txt")).collect();
    let answers: Vec<&str> = answers.into_iter().collect();
    let judged = lines(include_str!("fixtures/pairs.tsv")).map(|line| line.split('\t').collect::<Vec<_>>());
    let mut pairs: Vec<(&str, &str)> = judged.map(|columns| (columns[0], columns[1])).collect();
    // Each answer beside three others.
    pairs.extend((1..=3).flat_map(|step| answers.iter().copied().zip(answers.iter().copied().skip(step * 7))));
    let (mut plain, mut fast) = (Judge { program: PLAIN, session: None }, Judge { program: FAST, session: None });
    let (mut judged, mut wrong) = (0, Vec::new());
    for (a, b) in pairs {
        // Where the plain way finds no verdict in time, the fast one may.
        if let Some(same) = plain.same(a, b).await {
            judged += 1;
            let found = fast.same(a, b).await;
            if found != Some(same) {
                wrong.push(format!("{a} / {b}: {found:?}, math-verify alone {same}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(judged > 350, "{judged}");
}
