//! Whole runs on a scripted engine: from nothing to the end, killed anywhere and resumed, and with agents that are no good.

mod fake;

use std::path::Path;
use std::sync::Arc;

use agent0_answers::Grader;
use agent0_evolve::methods::agent0;
use agent0_evolve::{EvolveError, Machinery, Request, Run, RunFolder, Summary, TimeSummary, Unobserved, store::Store, summarise};
use fake::{ByteCodec, FakeEngine, FakeTool, Hang, Script};
use rusqlite::Connection;
use rusqlite::types::Value;

/// The sizes, and what decides how many tasks are kept.
const SETTINGS: [&str; 21] = [
    "iterations=2",
    "seed=11",
    "keep_checkpoints=1",
    "engine.in_flight=5",
    "training.micro_batch_tokens=2000",
    "rollout.max_tokens=120",
    "curriculum.steps=2",
    "curriculum.tasks_per_step=4",
    "curriculum.samples=4",
    "curriculum.reward.peak=0.5",
    "frontier.pool=6",
    "frontier.max_pool=10",
    "frontier.min_kept=4",
    "frontier.samples=4",
    "frontier.low=0.45",
    "frontier.high=0.9",
    "executor.steps=3",
    "executor.tasks_per_step=2",
    "executor.group_size=3",
    "executor.updates_per_step=2",
    "executor.reuse_answers=false",
];

fn request(extra: &[&str]) -> Request {
    Request { sets: SETTINGS.iter().chain(extra).map(|set| (*set).to_owned()).collect(), ..Request::default() }
}

/// Works on the run `r` under `runs` until it is done or the engine hangs; then everything is dropped, as when killed.
async fn work(runs: &Path, engine: &FakeEngine, request: &Request) -> Result<bool, EvolveError> {
    let folder = RunFolder::open(runs, Some("r"), request)?;
    let grader = Grader::new(None);
    let machinery = Machinery {
        engine,
        weights: "1234".into(),
        codec: Arc::new(ByteCodec::new()),
        tool: &FakeTool,
        grader: &grader,
        observer: &Unobserved,
    };
    let whole = async {
        let mut run = Run::start(folder, machinery).await?;
        agent0::evolve(&mut run).await
    };
    tokio::select! {
        biased;
        () = engine.hung.notified() => Ok(false),
        done = whole => done.map(|()| true),
    }
}

fn summary(runs: &Path) -> Summary {
    let config = agent0_evolve::settings::read_stored(&runs.join("r/config.toml")).unwrap();
    summarise("r", &config, &Store::open_to_read(&runs.join("r")).unwrap()).unwrap()
}

/// Everything a run left behind that does not tell the time: the rows of its tables, and its checkpoints.
fn remains(runs: &Path) -> Vec<String> {
    let db = Connection::open(runs.join("r/run.db")).unwrap();
    let mut rows = Vec::new();
    for sql in [
        "SELECT * FROM cursor",
        "SELECT * FROM trajectories ORDER BY iteration, phase, step, role, task, sample",
        "SELECT * FROM votes ORDER BY iteration, phase, step, task",
        "SELECT * FROM tasks ORDER BY iteration, phase, step, task",
        "SELECT iteration, phase, step, skipped, tokens_trained FROM steps ORDER BY iteration, phase, step",
        "SELECT * FROM metrics WHERE name NOT LIKE '%_second' AND name NOT LIKE '%_seconds' ORDER BY iteration, phase, step, name",
    ] {
        let mut statement = db.prepare(sql).unwrap();
        let columns = statement.column_count();
        let read = |row: &rusqlite::Row| (0..columns).map(|i| row.get::<_, Value>(i)).collect::<rusqlite::Result<Vec<_>>>();
        rows.extend(statement.query_map([], read).unwrap().map(|row| format!("{:?}", row.unwrap())));
    }
    let mut checkpoints: Vec<_> = std::fs::read_dir(runs.join("r/checkpoints")).unwrap().map(|entry| entry.unwrap().path()).collect();
    checkpoints.sort();
    for path in checkpoints {
        let weights = std::fs::read_to_string(path.join("adapter")).unwrap();
        rows.push(format!("{:?} {weights}", path.file_name().unwrap()));
    }
    rows
}

#[tokio::test]
async fn a_run_from_nothing_to_the_end() {
    let runs = tempfile::tempdir().unwrap();
    let engine = FakeEngine::new(Script::Varied, 0, None);
    assert!(work(runs.path(), &engine, &request(&[])).await.unwrap());
    let summary = summary(runs.path());
    assert_eq!((summary.status.as_str(), summary.iterations.len()), ("finished", 2));
    for iteration in &summary.iterations {
        assert_eq!((iteration.curriculum.steps, iteration.executor.steps), (2, 3));
        assert!(iteration.frontier.kept > 0 && iteration.frontier.generated >= 6, "{iteration:?}");
        assert!(iteration.executor.reward_mean.unwrap() > 0.0 && iteration.executor.tool_calls_mean.unwrap() > 0.0);
        assert!(!iteration.examples.is_empty());
    }
    assert!(summary.tokens_sampled > 1000 && summary.tokens_trained > 1000);
    let TimeSummary { sampling, scoring, training, other } = summary.time;
    assert!([sampling, scoring, training, other].iter().all(|&seconds| seconds > 0.0), "{:?}", summary.time);
    assert_eq!(engine.snapshots(), 0, "a snapshot was never let go");

    // Every proposal and every answer is there, and the events are drawn.
    let run = runs.path().join("r");
    let db = Connection::open(run.join("run.db")).unwrap();
    let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT COUNT(*) FROM trajectories WHERE phase = 'curriculum' AND role = 'proposer' AND reward IS NOT NULL"), 16);
    assert_eq!(count("SELECT COUNT(*) FROM trajectories WHERE phase = 'executor' AND reward IS NULL"), 0);
    assert!(count("SELECT COUNT(*) FROM tasks WHERE fate = 'duplicate' OR fate = 'malformed' OR fate = 'proof'") > 0);
    assert!(count("SELECT COUNT(*) FROM votes WHERE p_hat > 0.3 AND p_hat < 0.9") > 0);
    assert!(std::fs::read_dir(run.join("tensorboard")).unwrap().count() == 1);
    assert!(std::fs::read_dir(run.join("checkpoints")).unwrap().count() >= 2);

    // The same command again finds nothing to do and changes nothing.
    let before = remains(runs.path());
    let again = FakeEngine::new(Script::Varied, 0, None);
    assert!(work(runs.path(), &again, &request(&[])).await.unwrap());
    assert_eq!(remains(runs.path()), before);
}

#[tokio::test]
async fn a_finished_run_that_is_given_more_iterations_goes_on() {
    let whole = tempfile::tempdir().unwrap();
    work(whole.path(), &FakeEngine::new(Script::Varied, 0, None), &request(&[])).await.unwrap();
    let runs = tempfile::tempdir().unwrap();
    assert!(work(runs.path(), &FakeEngine::new(Script::Varied, 0, None), &request(&["iterations=1"])).await.unwrap());
    assert_eq!(summary(runs.path()).status, "finished");
    let more = Request { sets: vec!["iterations=2".into()], ..Request::default() };
    assert!(work(runs.path(), &FakeEngine::new(Script::Varied, 0, None), &more).await.unwrap());
    assert!(remains(runs.path()) == remains(whole.path()));
}

#[tokio::test]
async fn timing_does_not_show() {
    let mut all = Vec::new();
    for timing in 0..3 {
        let runs = tempfile::tempdir().unwrap();
        work(runs.path(), &FakeEngine::new(Script::Varied, timing, None), &request(&[])).await.unwrap();
        all.push(remains(runs.path()));
    }
    assert!(all[0] == all[1] && all[0] == all[2]);
    let runs = tempfile::tempdir().unwrap();
    let other =
        Request { sets: request(&[]).sets.into_iter().map(|set| set.replace("seed=11", "seed=12")).collect(), ..Request::default() };
    work(runs.path(), &FakeEngine::new(Script::Varied, 0, None), &other).await.unwrap();
    assert!(remains(runs.path()) != all[0], "another seed must give another run, or this test proves nothing");
}

/// Killed once at a call of the engine, before or after its effect, and resumed: the same weights, rows and checkpoints.
#[tokio::test]
async fn killed_anywhere_a_run_ends_in_the_same_weights() {
    let whole = tempfile::tempdir().unwrap();
    let engine = FakeEngine::new(Script::Varied, 0, None);
    work(whole.path(), &engine, &request(&[])).await.unwrap();
    let expected = remains(whole.path());
    let calls = engine.calls();
    assert!(calls > 120, "{calls}");
    for (i, at) in (1..=calls).step_by(9).enumerate() {
        let hang = Hang { at, after_effect: i % 2 == 0 };
        let runs = tempfile::tempdir().unwrap();
        assert!(!work(runs.path(), &FakeEngine::new(Script::Varied, 1, Some(hang)), &request(&[])).await.unwrap(), "{hang:?}");
        assert!(work(runs.path(), &FakeEngine::new(Script::Varied, 2, None), &request(&[])).await.unwrap());
        assert!(remains(runs.path()) == expected, "a run killed at {hang:?} ended differently");
    }
}

/// Killed again and again, it still gets there, and samples no stored trajectory twice.
#[tokio::test]
async fn killed_over_and_over_a_run_still_ends_in_the_same_weights() {
    let whole = tempfile::tempdir().unwrap();
    work(whole.path(), &FakeEngine::new(Script::Varied, 0, None), &request(&[])).await.unwrap();
    let runs = tempfile::tempdir().unwrap();
    for session in 0.. {
        assert!(session < 100, "no progress");
        // Long enough for the longest step, which is redone as a whole.
        let hang = Hang { at: 30 + session % 3, after_effect: session % 2 == 0 };
        if work(runs.path(), &FakeEngine::new(Script::Varied, session as u64, Some(hang)), &request(&[])).await.unwrap() {
            break;
        }
    }
    assert!(remains(runs.path()) == remains(whole.path()));
}

/// Between a checkpoint's rename and its naming in the store, the folder is there and nobody knows it.
#[tokio::test]
async fn a_checkpoint_that_the_store_never_named_is_overwritten() {
    let whole = tempfile::tempdir().unwrap();
    work(whole.path(), &FakeEngine::new(Script::Varied, 0, None), &request(&[])).await.unwrap();
    let runs = tempfile::tempdir().unwrap();
    let hang = Hang { at: 4, after_effect: true };
    work(runs.path(), &FakeEngine::new(Script::Varied, 0, Some(hang)), &request(&[])).await.unwrap();
    for name in ["curriculum-01-0001", ".unfinished-curriculum-01-0001"] {
        let stray = runs.path().join("r/checkpoints").join(name);
        std::fs::create_dir(&stray).unwrap();
        std::fs::write(stray.join("adapter"), "half a number").unwrap();
    }
    assert!(work(runs.path(), &FakeEngine::new(Script::Varied, 0, None), &request(&[])).await.unwrap());
    assert!(remains(runs.path()) == remains(whole.path()));
}

/// The executor's first step learns from the answers that are there, and the others draw new ones.
#[tokio::test]
async fn the_answers_of_the_frontier_are_learned_from() {
    learned_from_the_answers_that_are_there("frontier.include_curriculum=false").await;
}

/// Tasks of the curriculum phase can be part of the frontier, with their answers.
#[tokio::test]
async fn the_tasks_of_the_curriculum_phase_are_learned_from() {
    learned_from_the_answers_that_are_there("frontier.include_curriculum=true").await;
}

async fn learned_from_the_answers_that_are_there(include: &str) {
    let request = request(&["executor.reuse_answers=true", "executor.steps=5", include]);
    let whole = tempfile::tempdir().unwrap();
    let engine = FakeEngine::new(Script::Varied, 0, None);
    assert!(work(whole.path(), &engine, &request).await.unwrap());
    let db = Connection::open(whole.path().join("r/run.db")).unwrap();
    let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let kept = count("SELECT COUNT(*) FROM tasks WHERE iteration = 1 AND fate = 'kept'");
    let of_curriculum = count("SELECT COUNT(*) FROM tasks WHERE iteration = 1 AND fate = 'kept' AND phase = 'curriculum'");
    assert_eq!(of_curriculum > 0, include.ends_with("true"), "{of_curriculum} tasks");
    assert_eq!(summary(whole.path()).iterations[0].frontier.kept_of_curriculum as i64, of_curriculum);
    let questions = |what: &str| count(&format!("SELECT COUNT({what} question) FROM tasks WHERE iteration = 1 AND fate = 'kept'"));
    assert_eq!(questions("DISTINCT"), questions("ALL"), "no task is kept twice");
    let mut trained = Vec::new();
    for step in 1..=5i64 {
        let of_step = |what: &str| format!("SELECT {what} WHERE iteration = 1 AND phase = 'executor' AND step = {step}");
        let drawn = count(&of_step("COUNT(*) FROM trajectories"));
        assert_eq!(drawn, if step == 1 { 0 } else { 2 * 3 }, "step {step}");
        assert_eq!(count(&of_step("COUNT(*) FROM tasks")), if step == 1 { kept } else { 2 }, "step {step}");
        if count(&of_step("tokens_trained FROM steps")) > 0 {
            trained.push(step);
        }
    }
    assert!(trained[0] == 1 && trained.len() > 1, "both kinds of steps teach something: {trained:?}");
    let metric = |step: i64, name: &str| {
        let sql = "SELECT value FROM metrics WHERE iteration = 1 AND phase = 'executor' AND step = ?1 AND name = ?2";
        db.query_row(sql, (step, name), |row| row.get::<_, f64>(0)).unwrap()
    };
    for step in trained {
        // The reference drew the answers of the first step: their log-probabilities are known.
        assert_eq!(metric(step, "scoring_seconds") > 0.0, step > 1, "step {step}");
    }
    let (reward, label) = (metric(1, "reward_mean"), metric(1, "p_hat_mean"));
    assert!((reward - label).abs() < 1e-12, "the answers that voted agree with the label as often as the vote says: {reward}, {label}");
    assert!(summary(whole.path()).iterations[0].executor.reward_mean.is_some_and(|reward| reward > 0.0));

    let killed = tempfile::tempdir().unwrap();
    let hang = Hang { at: engine.calls() - 3, after_effect: true };
    assert!(!work(killed.path(), &FakeEngine::new(Script::Varied, 1, Some(hang)), &request).await.unwrap());
    assert!(work(killed.path(), &FakeEngine::new(Script::Varied, 2, None), &request).await.unwrap());
    assert!(remains(killed.path()) == remains(whole.path()));
}

/// Answers that the budget cut off are trained on, or are not, as the settings say.
#[tokio::test]
async fn overlong_answers_can_be_left_out() {
    let mut trained = Vec::new();
    for choice in ["true", "false"] {
        let runs = tempfile::tempdir().unwrap();
        let settings = [&format!("executor.train_overlong={choice}"), "iterations=1", "executor.group_size=6", "rollout.max_tokens=40"];
        work(runs.path(), &FakeEngine::new(Script::Varied, 0, None), &request(&settings)).await.unwrap();
        let db = Connection::open(runs.path().join("r/run.db")).unwrap();
        let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert!(count("SELECT COUNT(*) FROM trajectories WHERE phase = 'executor' AND step = 1 AND ending = 'budget'") > 0);
        trained.push(count("SELECT tokens_trained FROM steps WHERE phase = 'executor' AND step = 1"));
    }
    assert!(0 < trained[1] && trained[1] < trained[0], "{trained:?}");
}

#[tokio::test]
async fn agents_that_are_no_good_end_a_run_cleanly() {
    for (script, curriculum, frontier) in [
        (Script::NoTasks, "no text passed the format gate", "malformed"),
        (Script::TooEasy, "all tasks earned the same reward", "too_easy"),
        (Script::Unanswered, "all tasks earned the same reward", "unanswered"),
    ] {
        let runs = tempfile::tempdir().unwrap();
        // Without the repetition term, tasks that are all too easy are all worth the same.
        let request = request(&["curriculum.reward.lambda_rep=0"]);
        assert!(work(runs.path(), &FakeEngine::new(script, 0, None), &request).await.unwrap());
        let summary = summary(runs.path());
        assert_eq!(summary.status, "finished");
        let iteration = &summary.iterations[0];
        assert!(iteration.skipped[0].contains(curriculum), "{script:?}: {:?}", iteration.skipped);
        assert!(iteration.skipped.iter().any(|reason| reason.contains("no task of iteration 1 is in the frontier")));
        assert_eq!((iteration.frontier.generated, iteration.frontier.kept), (10, 0), "{script:?}: the stated limit is reached");
        assert!(iteration.frontier.fates.iter().any(|(fate, _)| fate == frontier), "{script:?}: {:?}", iteration.frontier.fates);
        assert_eq!(summary.tokens_trained, 0);
    }
}

#[tokio::test]
async fn a_run_in_use_or_begun_with_another_model_is_refused() {
    let runs = tempfile::tempdir().unwrap();
    let held = RunFolder::open(runs.path(), Some("r"), &request(&[])).unwrap();
    let error = work(runs.path(), &FakeEngine::new(Script::Varied, 0, None), &request(&[])).await.unwrap_err().to_string();
    assert!(error.contains("in use by another process"), "{error}");
    held.store.set_meta("model", "another").unwrap();
    drop(held);
    let error = work(runs.path(), &FakeEngine::new(Script::Varied, 0, None), &request(&[])).await.unwrap_err().to_string();
    assert!(error.contains("begun with another model: another, and now"), "{error}");
}

#[tokio::test]
async fn a_checkpoint_that_vanished_is_named() {
    let runs = tempfile::tempdir().unwrap();
    work(runs.path(), &FakeEngine::new(Script::Varied, 0, None), &request(&[])).await.unwrap();
    std::fs::remove_dir_all(runs.path().join("r/checkpoints")).unwrap();
    let error = work(runs.path(), &FakeEngine::new(Script::Varied, 0, None), &request(&[])).await.unwrap_err().to_string();
    assert!(error.contains("checkpoint") && error.contains("is missing"), "{error}");
}
