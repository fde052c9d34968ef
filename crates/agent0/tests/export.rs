//! `agent0 export` as a user meets it, on tiny models: from a run and from a model with an adapter, and what it says when it cannot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use agent0_evolve::store::Cursor;
use agent0_evolve::{Phase, Place, Request, RunFolder};
use serde_json::Value;

fn agent0(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_agent0")).args(args).current_dir(folder).env("AGENT0_CACHE", folder.join("cache")).output().unwrap()
}

/// The JSON that a command prints.
fn report(folder: &Path, args: &[&str]) -> Value {
    let output = agent0(folder, args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a command says when it fails with `code`.
fn refusal(folder: &Path, args: &[&str], code: i32) -> String {
    let output = agent0(folder, args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    said
}

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent0-lm/tests/fixtures").join(name);
    path.canonicalize().unwrap().to_string_lossy().into_owned()
}

fn names(report: &Value) -> Vec<&str> {
    report["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect()
}

/// A run whose executor has trained in its first iteration, and whose curriculum agent has not.
fn run(folder: &Path) -> PathBuf {
    let request = Request { sets: vec![format!("model={}", fixture("tiny-qwen3"))], ..Request::default() };
    let run = RunFolder::open(&folder.join("runs"), Some("mine"), &request).unwrap();
    let place = Place { iteration: 2, phase: Phase::Curriculum, step: 1 };
    let executor = Some("executor-01-0001".to_owned());
    run.store.set_cursor(&Cursor { place, curriculum: None, executor, reference: None }).unwrap();
    let checkpoint = run.path.join("checkpoints/executor-01-0001");
    fs::create_dir_all(&checkpoint).unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(Path::new(&fixture("gradients-qwen3/adapter")).join(name), checkpoint.join(name)).unwrap();
    }
    fs::write(checkpoint.join("optimizer.safetensors"), "").unwrap();
    run.path
}

#[test]
fn a_runs_agents_are_exported() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path());
    let adapter = report(folder.path(), &["export", "mine", "--out", "adapter", "--json"]);
    assert_eq!((adapter["kind"].as_str(), names(&adapter)), (Some("adapter"), vec!["adapter_config.json", "adapter_model.safetensors"]));
    let config: Value = serde_json::from_slice(&fs::read(folder.path().join("adapter/adapter_config.json")).unwrap()).unwrap();
    assert_eq!(config["base_model_name_or_path"], fixture("tiny-qwen3"), "what peft finds the base by");

    let fixture_adapter = fixture("gradients-qwen3/adapter");
    let pinned = report(folder.path(), &["export", "--model", "org/base@v1", "--adapter", &fixture_adapter, "--out", "pinned", "--json"]);
    let written = fs::read(folder.path().join("pinned/adapter_config.json")).unwrap();
    assert_eq!(pinned["files"][0]["bytes"], written.len());
    let config: Value = serde_json::from_slice(&written).unwrap();
    assert_eq!((&config["base_model_name_or_path"], &config["revision"]), (&"org/base".into(), &"v1".into()));

    let merged = report(folder.path(), &["export", "mine", "--merge", "--dtype", "f32", "--out", "merged", "--json"]);
    assert_eq!((merged["kind"].as_str(), merged["dtype"].as_str()), (Some("merged"), Some("float32")));
    assert_eq!(names(&merged), ["config.json", "generation_config.json", "model.safetensors"]);
    // The same by model and adapter, without a run.
    let by_hand = ["--model", &fixture("tiny-qwen3"), "--adapter", "runs/mine/checkpoints/executor-01-0001"];
    report(folder.path(), &[&["export", "--merge", "--dtype", "f32", "--out", "same", "--json"][..], &by_hand].concat());
    let weights = |name: &str| fs::read(folder.path().join(name).join("model.safetensors")).unwrap();
    assert!(weights("merged") == weights("same"));
    let base = report(folder.path(), &["export", "mine", "--iteration", "0", "--merge", "--dtype", "f32", "--out", "base", "--json"]);
    assert!(base["adapter"].is_null() && weights("base") != weights("merged"));

    let output = agent0(folder.path(), &["export", "mine", "--merge", "--out", "bf16"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("model in bfloat16") && said.contains("/bf16"), "{said}");
}

#[test]
fn what_cannot_be_exported_is_told_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path());
    let said = refusal(folder.path(), &["export", "mine", "--agent", "curriculum", "--out", "out"], 1);
    assert!(said.contains("has no adapter") && said.contains("--merge"), "{said}");
    let said = refusal(folder.path(), &["export", "mine", "--iteration", "2", "--out", "out"], 1);
    assert!(said.contains("iteration"), "{said}");
    assert!(refusal(folder.path(), &["export", "yours", "--out", "out"], 1).contains("not a run"));
    let said = refusal(folder.path(), &["export", "mine", "--merge", "--out", "runs"], 1);
    assert!(said.contains("is there already"), "{said}");
    for args in [&["export", "--out", "out"][..], &["export", "mine"], &["export", "mine", "--dtype", "f32", "--out", "out"]] {
        refusal(folder.path(), args, 2);
    }
    assert!(!folder.path().join("out").exists());
}
