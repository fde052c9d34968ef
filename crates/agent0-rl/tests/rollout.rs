//! Rollouts against a scripted engine and tool: what ends a trajectory, and that every token is accounted for.

mod scripted;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent0_engine::{Codec, Weights};
use agent0_rl::{Ending, Event, Observer, Rollout, RolloutError, RolloutParams, Seed, Tool, Trajectory, generate, rollout};
use scripted::{EOS, ScriptedEngine, ScriptedTool, Vocabulary};

const PROMPT: &str = "Solve.\n";

/// A rollout in which the model says `stretches`, given token by token, and the tool answers `results`.
async fn run(stretches: &[&[&str]], results: &[&str], params: &RolloutParams) -> (Trajectory, ScriptedEngine, ScriptedTool) {
    let engine = ScriptedEngine::new(stretches);
    let tool = ScriptedTool::new(results);
    let trajectory = attempt(&engine, Some(&tool), params).await.unwrap();
    check_accounting(&trajectory, &engine);
    (trajectory, engine, tool)
}

async fn attempt(engine: &ScriptedEngine, tool: Option<&dyn Tool>, params: &RolloutParams) -> Result<Trajectory, RolloutError> {
    let codec: Arc<dyn Codec> = engine.vocabulary.clone();
    let prompt = codec.encode(PROMPT).unwrap();
    rollout(engine, &codec, tool, &prompt, Weights::Base, params, Seed::root(1)).await
}

/// The scripted engine samples ids >= 256 with log-probability `-id / 1000`; environment and prompt are bytes.
fn check_accounting(trajectory: &Trajectory, engine: &ScriptedEngine) {
    let Trajectory { ids, sampled, logprobs, prompt_len, .. } = trajectory;
    assert!(ids.len() == sampled.len() && ids.len() == logprobs.len());
    assert_eq!(engine.vocabulary.decode(&ids[..*prompt_len]), PROMPT);
    for t in 0..ids.len() {
        assert_eq!(sampled[t], ids[t] >= EOS, "token {t}");
        assert_eq!(logprobs[t], if sampled[t] { -(ids[t] as f32) / 1000.0 } else { 0.0 });
    }
    let requests = engine.requests.lock().unwrap();
    for request in requests.iter() {
        assert!(ids.starts_with(&request.prompt), "a stretch continues the very ids of the trajectory");
    }
    let seeds: std::collections::HashSet<u64> = requests.iter().map(|request| request.params.seed).collect();
    assert_eq!(seeds.len(), requests.len(), "every stretch has its own seed");
}

fn text(trajectory: &Trajectory, engine: &ScriptedEngine) -> String {
    trajectory.text(engine.vocabulary.as_ref())
}

fn environment(trajectory: &Trajectory, engine: &ScriptedEngine) -> String {
    let ids: Vec<_> =
        (trajectory.prompt_len..trajectory.ids.len()).filter(|&t| !trajectory.sampled[t]).map(|t| trajectory.ids[t]).collect();
    engine.vocabulary.decode(&ids)
}

#[tokio::test]
async fn a_box_ends_it() {
    let (trajectory, engine, tool) = run(&[&["It is ", "\\boxed{", "4", "2}", " never"]], &[], &RolloutParams::default()).await;
    assert_eq!((trajectory.ending, trajectory.answer.as_deref()), (Ending::Boxed, Some("42")));
    assert_eq!(text(&trajectory, &engine), "It is \\boxed{42}");
    assert!(tool.calls().is_empty());
}

#[tokio::test]
async fn the_end_of_the_turn_ends_it_and_is_a_sampled_token() {
    let (trajectory, engine, _) = run(&[&["No idea.", "<eos>", "never"]], &[], &RolloutParams::default()).await;
    assert_eq!((trajectory.ending, trajectory.answer.as_deref()), (Ending::Stop, None));
    assert_eq!(trajectory.ids.last(), Some(&EOS));
    assert_eq!(text(&trajectory, &engine), "No idea.");
}

#[tokio::test]
async fn code_is_run_and_its_result_appended() {
    let stretches: &[&[&str]] = &[&["Run:\n", "```", "python\n", "print(6*7)\n", "```", "never"], &["So \\boxed{42}"]];
    let (trajectory, engine, tool) = run(stretches, &["42"], &RolloutParams::default()).await;
    assert_eq!(text(&trajectory, &engine), "Run:\n```python\nprint(6*7)\n```\n```output\n42\n```\nSo \\boxed{42}");
    assert_eq!(environment(&trajectory, &engine), "\n```output\n42\n```\n");
    assert_eq!(tool.calls(), ["print(6*7)\n"]);
    assert_eq!((trajectory.tool_calls[0].code.as_str(), trajectory.tool_calls[0].output.as_str()), ("print(6*7)\n", "42"));
    assert_eq!(trajectory.sampled_tokens(), 6);
    assert_eq!(trajectory.answer.as_deref(), Some("42"));
}

#[tokio::test]
async fn a_token_that_closes_the_block_and_says_more_is_kept_whole() {
    let stretches: &[&[&str]] = &[&["```python\n1\n", "```\n\nNow"], &["\\boxed{1}."]];
    let (trajectory, engine, _) = run(stretches, &["1"], &RolloutParams::default()).await;
    assert_eq!(text(&trajectory, &engine), "```python\n1\n```\n\nNow\n```output\n1\n```\n\\boxed{1}.");
    assert_eq!((trajectory.sampled_tokens(), trajectory.dropped), (3, 0));
}

#[tokio::test]
async fn an_invented_output_is_cut_and_contradicted() {
    let stretches: &[&[&str]] = &[&["I ran it", ".\n", "``", "`out", "put\n", "never"], &["\\boxed{1}"]];
    let (trajectory, engine, tool) = run(stretches, &[], &RolloutParams::default()).await;
    let expected = "I ran it.\n```output\n[not run: no python block was closed before this]\n```\n\\boxed{1}";
    assert_eq!(text(&trajectory, &engine), expected);
    assert_eq!((trajectory.sampled_tokens(), trajectory.dropped), (3, 3));
    assert!(tool.calls().is_empty() && trajectory.tool_calls.is_empty());
}

#[tokio::test]
async fn a_token_that_holds_the_start_of_an_invented_output_goes_whole() {
    let stretches: &[&[&str]] = &[&["Done", ".\n```output\n"], &["\\boxed{1}"]];
    let (trajectory, engine, _) = run(stretches, &[], &RolloutParams::default()).await;
    assert!(text(&trajectory, &engine).starts_with("Done\n```output\n[not run"), "{}", text(&trajectory, &engine));
    assert_eq!(trajectory.dropped, 1);
}

#[tokio::test]
async fn after_the_last_call_code_is_not_run_and_output_not_invented() {
    let block: &[&str] = &["```python\n1\n", "```"];
    let closing: &[&str] = &["```python\n2\n", "```\n", "```", "output"];
    let params = RolloutParams { max_turns: 2, ..RolloutParams::default() };
    let (trajectory, engine, tool) = run(&[block, block, closing, &["\\boxed{3}"]], &["a", "b"], &params).await;
    assert_eq!(tool.calls(), ["1\n", "1\n"]);
    assert_eq!(trajectory.tool_calls.len(), 2);
    let end = "```python\n2\n```\n```output\n[not run: all 2 tool calls are used]\n```\n\\boxed{3}";
    assert!(text(&trajectory, &engine).ends_with(end), "{}", text(&trajectory, &engine));
    assert_eq!(trajectory.dropped, 2);
}

#[tokio::test]
async fn an_output_fence_in_place_of_the_closing_one_leaves_no_block_open() {
    let params = RolloutParams { max_turns: 1, ..RolloutParams::default() };
    let stretches: &[&[&str]] = &[&["```python\n1\n", "```"], &["```python\n2\n", "```output"], &["\\boxed{3}"]];
    let (trajectory, engine, _) = run(stretches, &["a"], &params).await;
    let end = "```python\n2\n```\n```output\n[not run: all 1 tool calls are used]\n```\n\\boxed{3}";
    assert!(text(&trajectory, &engine).ends_with(end), "{}", text(&trajectory, &engine));
}

#[tokio::test]
async fn boxes_in_code_are_no_answers() {
    let stretches: &[&[&str]] = &[&["```python\n", "print('\\boxed{9}')\n", "```"], &["```text\n\\boxed{8}\n```\n", "\\boxed{7}"]];
    let (trajectory, _, _) = run(stretches, &["\\boxed{9}"], &RolloutParams::default()).await;
    assert_eq!(trajectory.answer.as_deref(), Some("7"));
}

#[tokio::test]
async fn characters_may_be_spread_over_tokens() {
    let engine = ScriptedEngine::of_bytes(&[&[b"\\boxed{\xe6", b"\x95", b"\xb0 \xf0\x9f", b"\x91\x8d}"]]);
    let trajectory = attempt(&engine, None, &RolloutParams::default()).await.unwrap();
    check_accounting(&trajectory, &engine);
    assert_eq!(trajectory.answer.as_deref(), Some("数 👍"));
    assert_eq!(trajectory.sampled_tokens(), 4);
}

#[tokio::test]
async fn the_budget_counts_what_was_sampled_kept_or_not() {
    let params = RolloutParams { max_tokens: 7, ..RolloutParams::default() };
    let stretches: &[&[&str]] = &[&["```python\n", "1\n", "```"], &["```", "output"], &["a", "b", "c", "never"]];
    let (trajectory, engine, _) = run(stretches, &["a long result"], &params).await;
    assert_eq!(trajectory.ending, Ending::Budget);
    assert_eq!((trajectory.sampled_tokens(), trajectory.dropped), (5, 2));
    assert!(text(&trajectory, &engine).ends_with("```\nab"));
    let room: Vec<usize> = engine.requests.lock().unwrap().iter().map(|request| request.params.max_tokens).collect();
    assert_eq!(room, [7, 4, 2]);
}

#[tokio::test]
async fn no_program_is_run_when_no_token_is_left_to_use_its_result() {
    let params = RolloutParams { max_tokens: 2, ..RolloutParams::default() };
    let (trajectory, _, tool) = run(&[&["```python\n1\n", "```"]], &["1"], &params).await;
    assert_eq!(trajectory.ending, Ending::Budget);
    assert!(tool.calls().is_empty());
}

#[tokio::test]
async fn the_context_ends_it() {
    let mut engine = ScriptedEngine::new(&[&["a", "b", "c", "d"]]);
    engine.info.context = PROMPT.len() + 3;
    let trajectory = attempt(&engine, None, &RolloutParams::default()).await.unwrap();
    assert_eq!((trajectory.ending, trajectory.sampled_tokens()), (Ending::Context, 3));

    engine.info.context = PROMPT.len();
    let trajectory = attempt(&engine, None, &RolloutParams::default()).await.unwrap();
    assert_eq!((trajectory.ending, trajectory.sampled_tokens()), (Ending::Context, 0));
}

#[tokio::test]
async fn a_result_that_does_not_fit_the_context_is_left_out() {
    let mut engine = ScriptedEngine::new(&[&["```python\n1\n", "```"]]);
    let tool = ScriptedTool::new(&["1"]);
    engine.info.context = PROMPT.len() + 2 + "\n```output\n1\n```\n".len();
    let trajectory = attempt(&engine, Some(&tool), &RolloutParams::default()).await.unwrap();
    assert_eq!((trajectory.ending, trajectory.sampled_tokens()), (Ending::Context, 2));
    assert_eq!((trajectory.tool_calls.len(), trajectory.ids.len()), (1, PROMPT.len() + 2));
}

#[tokio::test]
async fn long_results_keep_head_and_tail() {
    let params = RolloutParams { tool_output_tokens: 60, ..RolloutParams::default() };
    let long = format!("begin{}end", "x".repeat(1000));
    let (trajectory, _, _) = run(&[&["```python\n1\n", "```"], &["\\boxed{1}"]], &[&long], &params).await;
    let shown = &trajectory.tool_calls[0].output;
    assert!(shown.starts_with("beginx") && shown.ends_with("xend"), "{shown}");
    let cut = 1000 - shown.matches('x').count();
    assert!(shown.contains(&format!("\n[... {cut} tokens cut ...]\n")), "{shown}");
    assert!((58..=60).contains(&shown.len()), "{shown}");
}

#[tokio::test]
async fn without_a_tool_blocks_are_just_text() {
    let stretches: &[&[&str]] = &[&["```python\n1\n```\n", "```output\n2\n```\n", "\\boxed{2}"]];
    let engine = ScriptedEngine::new(stretches);
    let trajectory = attempt(&engine, None, &RolloutParams::default()).await.unwrap();
    check_accounting(&trajectory, &engine);
    assert_eq!((trajectory.ending, trajectory.answer.as_deref()), (Ending::Boxed, Some("2")));
    assert_eq!((trajectory.sampled_tokens(), engine.requests.lock().unwrap().len()), (3, 1));

    let params = RolloutParams { max_turns: 0, ..RolloutParams::default() };
    let (no_turns, _, tool) = run(stretches, &[], &params).await;
    assert!(tool.calls().is_empty());
    assert_eq!(no_turns, trajectory);
}

#[tokio::test]
async fn plain_generation_goes_on_after_a_box() {
    let engine = ScriptedEngine::new(&[&["<question>", "q \\boxed{1}", "</question>", "\\boxed{2}", "<eos>"]]);
    let codec = engine.vocabulary.clone();
    let prompt = codec.encode(PROMPT).unwrap();
    let params = RolloutParams::default();
    let trajectory = generate(&engine, codec.as_ref(), &prompt, Weights::Base, &params, Seed::root(2)).await.unwrap();
    check_accounting(&trajectory, &engine);
    assert_eq!((trajectory.ending, trajectory.answer.clone()), (Ending::Stop, None));
    assert_eq!(text(&trajectory, &engine), "<question>q \\boxed{1}</question>\\boxed{2}");
}

#[tokio::test]
async fn a_plain_generation_is_told_token_by_token() {
    let engine = ScriptedEngine::new(&[&["\\boxed{1}", "``", "`output\n", "<eos>"]]);
    let codec: Arc<dyn Codec> = engine.vocabulary.clone();
    let (told, params) = (Arc::new(Mutex::new(Vec::new())), RolloutParams::default());
    let observer: Observer = Arc::new({
        let told = told.clone();
        move |event| told.lock().unwrap().push(event)
    });
    let rollout =
        Rollout { engine: &engine, codec: &codec, tool: None, weights: Weights::Base, params: &params, observer: Some(&observer) };
    *engine.drawn.lock().unwrap() = Some(Box::new({
        let told = told.clone();
        let mut drawn = 0;
        move || {
            drawn += 1;
            assert_eq!(told.lock().unwrap().len(), drawn);
        }
    }));
    let trajectory = rollout.plain(&codec.encode(PROMPT).unwrap(), Seed::root(1)).await.unwrap();
    let sampled = |t: usize| Event::Sampled { id: trajectory.ids[t], logprob: trajectory.logprobs[t] };
    assert_eq!(*told.lock().unwrap(), (trajectory.prompt_len..trajectory.ids.len()).map(sampled).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_same_seed_gives_the_same_streams() {
    let stretches: &[&[&str]] = &[&["```python\n1\n", "```"], &["\\boxed{1}"]];
    let seeds = async || {
        let (_, engine, tool) = run(stretches, &["1"], &RolloutParams::default()).await;
        let seeds: Vec<u64> = engine.requests.lock().unwrap().iter().map(|request| request.params.seed).collect();
        (seeds, tool.seeds.lock().unwrap().clone())
    };
    assert_eq!(seeds().await, seeds().await);
}

/// What an observer is told of a rollout, and the trajectory.
async fn watched(stretches: &[&[&str]], results: &[&str]) -> (Vec<Event>, Trajectory) {
    let engine = ScriptedEngine::new(stretches);
    let tool = ScriptedTool::new(results);
    let codec: Arc<dyn Codec> = engine.vocabulary.clone();
    let (events, params) = (Arc::new(Mutex::new(Vec::new())), RolloutParams::default());
    let observer: Observer = Arc::new({
        let events = events.clone();
        move |event| events.lock().unwrap().push(event)
    });
    let rollout =
        Rollout { engine: &engine, codec: &codec, tool: Some(&tool), weights: Weights::Base, params: &params, observer: Some(&observer) };
    let trajectory = rollout.run(&codec.encode(PROMPT).unwrap(), Seed::root(1)).await.unwrap();
    check_accounting(&trajectory, &engine);
    let events = std::mem::take(&mut *events.lock().unwrap());
    (events, trajectory)
}

#[tokio::test]
async fn an_observer_is_told_exactly_what_stays() {
    let scripts: [(&[&[&str]], &[&str]); 4] = [
        (&[&["Run:\n", "```", "python\n", "print(6*7)\n", "```", "never"], &["So ", "`4", "2` \\boxed{42}"]], &["42"]),
        (&[&["I ran it", ".\n", "``", "`out", "put\n", "never"], &["\\boxed{1}"]], &[]),
        (&[&["Done", ".\n```output\n"], &["```", "out", "<eos>"]], &[]),
        (&[&["```", "out", "rage\n```\n", "`", "`", "<eos>"]], &[]),
    ];
    for (stretches, results) in scripts {
        let (events, trajectory) = watched(stretches, results).await;
        let mut told = (Vec::new(), Vec::new(), Vec::new());
        for event in events {
            match event {
                Event::Sampled { id, logprob } => {
                    told.0.push(id);
                    told.1.push(true);
                    told.2.push(logprob);
                }
                Event::Environment(ids) => {
                    told.1.resize(told.1.len() + ids.len(), false);
                    told.2.resize(told.2.len() + ids.len(), 0.0);
                    told.0.extend(ids);
                }
            }
        }
        let from = trajectory.prompt_len;
        assert_eq!(told, (trajectory.ids[from..].to_vec(), trajectory.sampled[from..].to_vec(), trajectory.logprobs[from..].to_vec()));
    }
}

#[tokio::test]
async fn an_observer_is_told_at_once_unless_a_token_may_be_cut_away() {
    let engine = ScriptedEngine::new(&[&["so", "\n", "``", "`out", "er\n", "x", "<eos>"]]);
    let codec: Arc<dyn Codec> = engine.vocabulary.clone();
    let (told, params) = (Arc::new(AtomicUsize::new(0)), RolloutParams::default());
    let observer: Observer = Arc::new({
        let told = told.clone();
        move |_| {
            told.fetch_add(1, Ordering::SeqCst);
        }
    });
    let tool = ScriptedTool::new(&[]);
    let rollout =
        Rollout { engine: &engine, codec: &codec, tool: Some(&tool), weights: Weights::Base, params: &params, observer: Some(&observer) };
    let before = Arc::new(Mutex::new(Vec::new()));
    *engine.drawn.lock().unwrap() = Some(Box::new({
        let (told, before) = (told.clone(), before.clone());
        move || before.lock().unwrap().push(told.load(Ordering::SeqCst))
    }));
    rollout.run(&codec.encode(PROMPT).unwrap(), Seed::root(1)).await.unwrap();
    assert_eq!(*before.lock().unwrap(), [1, 2, 2, 2, 5, 6, 7], "told after each token was drawn");
}

#[tokio::test]
async fn a_broken_tool_is_an_error() {
    let engine = ScriptedEngine::new(&[&["```python\n1\n", "```"]]);
    let tool = ScriptedTool::new(&[]);
    let error = attempt(&engine, Some(&tool), &RolloutParams::default()).await.unwrap_err();
    assert!(matches!(error, RolloutError::Tool(_)), "{error}");
}

#[tokio::test]
async fn dropping_it_cancels_the_tool() {
    let engine = ScriptedEngine::new(&[&["```python\n1\n", "```"]]);
    let tool = ScriptedTool::hanging();
    let params = RolloutParams::default();
    let cancelled = tokio::time::timeout(Duration::from_millis(20), attempt(&engine, Some(&tool), &params)).await;
    assert!(cancelled.is_err());
    assert_eq!(tool.calls(), ["1\n"]);
    assert!(tool.cancelled.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_stored_trajectory_comes_back_the_same() {
    let stretches: &[&[&str]] = &[&["```python\n1\n", "```"], &["\\boxed{1}"]];
    let (trajectory, _, _) = run(stretches, &["1"], &RolloutParams::default()).await;
    let stored = serde_json::to_string(&trajectory).unwrap();
    assert_eq!(serde_json::from_str::<Trajectory>(&stored).unwrap(), trajectory);
}

/// Compiles only if a rollout can be spawned.
#[test]
fn rollouts_are_send() {
    fn is_send<T: Send>(_: &T) {}
    let engine = ScriptedEngine::new(&[]);
    let codec: Arc<dyn Codec> = Arc::new(Vocabulary::default());
    let params = RolloutParams::default();
    is_send(&rollout(&engine, &codec, None, &[], Weights::Base, &params, Seed::root(0)));
}
