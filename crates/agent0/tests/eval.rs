//! `agent0 eval` as a shell meets it, with the default model: scores, resuming, comparing, bad rows, and a hub on a local port.
//! The model and the Python environment are obtained by the program itself, as on a first run.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// Questions that take little work to ask.
fn questions() -> Vec<Value> {
    let sum = |i: i64| json!({"id": format!("sum-{i}"), "question": format!("What is {i} + {i}?"), "answer": (2 * i).to_string(), "subject": "sums"});
    let choice =
        json!({"id": "letter", "subject": "primes", "question": "Which is a prime number?", "answer": "B", "choices": ["4", "7", "9"]});
    (1..4).map(sum).chain([choice]).collect()
}

fn write_rows(path: &Path, rows: &[Value]) {
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    std::fs::write(path, lines.join("\n")).unwrap();
}

/// `agent0 eval` in `folder`, with few tokens.
fn eval(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent0"));
    command.arg("eval").args(args).current_dir(folder).stdin(Stdio::null());
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn last_line(output: &Output) -> Value {
    let text = stdout(output);
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_else(|e| panic!("{e}\n{text}\n{}", stderr(output)))
}

/// A result without the time it took.
fn timeless(report: &Value) -> Value {
    let mut report = report.clone();
    for result in report["results"].as_array_mut().unwrap() {
        result.as_object_mut().unwrap().remove("seconds");
    }
    report["folder"] = Value::Null;
    report
}

#[test]
fn a_killed_evaluation_goes_on_and_a_repeated_one_gives_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    write_rows(&folder.path().join("mine.jsonl"), &questions());
    let args = [
        "--data",
        "mine.jsonl",
        "--tool",
        "both",
        "--preset",
        "sampled",
        "--samples",
        "2",
        "--max-tokens",
        "120",
        "--seed",
        "5",
        "--json",
        "--out",
    ];
    let run = |out: &str| eval(folder.path(), &args).arg(out).output().unwrap();
    let whole = run("whole");
    assert!(whole.status.success(), "{}", stderr(&whole));
    let report = last_line(&whole);
    assert_eq!(report["model"], "qwen2.5-coder-0.5b-instruct");
    assert_eq!((&report["adapter"], report["model_digest"].as_str().map(str::len)), (&Value::Null, Some(64)));
    let results = report["results"].as_array().unwrap();
    assert_eq!(results.iter().map(|r| r["tool"].as_str().unwrap()).collect::<Vec<_>>(), ["off", "on"]);
    for result in results {
        assert_eq!((&result["bench"], &result["rows"], &result["samples"]), (&"mine".into(), &4.into(), &2.into()));
        for key in ["accuracy", "stderr", "answered_share", "tool_calls_mean", "tokens", "seconds", "prompt_hash"] {
            assert!(!result[key].is_null(), "{key} is missing in {result}");
        }
    }
    assert!(results[1]["tool_calls_mean"].as_f64() > Some(0.0), "the tool is used: {report}");

    // Killed as soon as one answer is on disk, then once more until the end.
    let mut child = eval(folder.path(), &args).arg("killed").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let answered = || {
        let files = std::fs::read_dir(folder.path().join("killed")).into_iter().flatten().flatten();
        files.filter(|file| file.path().extension().is_some_and(|e| e == "jsonl")).any(|file| file.metadata().is_ok_and(|m| m.len() > 0))
    };
    while !answered() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before an answer was kept");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let resumed = run("killed");
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_eq!(timeless(&last_line(&resumed)), timeless(&report));

    let again = run("whole");
    assert_eq!(last_line(&again), report, "nothing is asked twice");

    let saved = ["t.md", "t.csv", "t.json", "t.svg"].iter().flat_map(|file| ["--save", file]);
    let compare = ["--compare", "whole", "killed", "--average", "mine,mine:sums", "--by-subject", "--published", "--json"];
    let compared = eval(folder.path(), &compare).args(saved).output().unwrap();
    assert!(compared.status.success(), "{}", stderr(&compared));
    let table = last_line(&compared);
    assert_eq!(table["rows"].as_array().unwrap().iter().filter(|row| row["measured"] == true).count(), 4);
    let own: Vec<&str> = table["columns"].as_array().unwrap().iter().filter_map(Value::as_str).filter(|t| t.contains("mine")).collect();
    assert_eq!(own, ["mine", "mine: primes", "mine: sums", "average of mine, mine: sums"]);
    let column = table["columns"].as_array().unwrap().iter().position(|title| title == "mine").unwrap();
    let delta = &table["rows"][2]["cells"][column]["delta"];
    assert_eq!((&delta["delta"], &delta["p"], &delta["questions"]), (&0.0.into(), &1.0.into(), &4.into()), "the same answers: {table}");
    assert!(stdout(&compared).contains("published, not measured"));
    let file = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(file("t.md").contains("| mine |") && file("t.csv").starts_with("model,") && file("t.json").starts_with('{'));
    assert!(file("t.svg").contains("Qwen3-8B-Base"), "{}", file("t.svg"));
    let unknown = eval(folder.path(), &["--compare", "whole", "--average", "mine,gsm9k"]).output().unwrap();
    assert!(unknown.status.code() == Some(2) && stderr(&unknown).contains("gsm9k"), "{}", stderr(&unknown));
}

#[test]
fn questions_are_left_out_and_prompts_changed() {
    let folder = tempfile::tempdir().unwrap();
    write_rows(&folder.path().join("mine.jsonl"), &questions());
    std::fs::write(folder.path().join("short.toml"), "[prompts]\nexecutor_user = \"{question} Be short.\"\n").unwrap();
    let result = |args: &[&str]| {
        let common = ["--data", "mine.jsonl", "--max-tokens", "4", "--json", "--skip"];
        let output = eval(folder.path(), &common).args(args).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        last_line(&output)["results"][0].clone()
    };
    let (plain, set) = (result(&["1"]), result(&["3", "--set", "prompts.executor_user={question} Be short."]));
    let filed = result(&["3", "--limit", "1", "--config", "short.toml"]);
    assert_eq!((&plain["rows"], &plain["skip"]), (&3.into(), &1.into()));
    assert_eq!((&set["rows"], &set["skip"]), (&1.into(), &3.into()));
    assert_ne!(plain["prompt_hash"], set["prompt_hash"]);
    assert_eq!(filed["prompt_hash"], set["prompt_hash"]);
}

#[test]
fn bad_input_is_named_before_any_work_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let mut rows = questions();
    rows.push(rows[0].clone());
    rows.push(json!({"id": "no-answer", "question": "?"}));
    rows.push(json!({"id": "wrong-letter", "question": "?", "answer": "D", "choices": ["1", "2"]}));
    write_rows(&folder.path().join("bad.jsonl"), &rows);
    std::fs::write(folder.path().join("empty.jsonl"), "").unwrap();
    let ended = |code: i32, args: &[&str], words: &[&str]| {
        let output = eval(folder.path(), args).env("HF_HUB_OFFLINE", "1").env("HF_HUB_CACHE", folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        for word in words {
            assert!(stderr(&output).contains(word), "{args:?} does not say {word:?}: {}", stderr(&output));
        }
        assert!(stderr(&output).matches("No such file").count() <= 1, "{args:?} says it twice: {}", stderr(&output));
    };
    let refused = |args: &[&str], words: &[&str]| ended(1, args, words);
    let misused = |args: &[&str], words: &[&str]| ended(2, args, words);
    refused(&["--data", "bad.jsonl"], &["row 5 (sum-1)", "row 6 (no-answer)", "row 7 (wrong-letter)", "--keep-going"]);
    refused(&["--data", "empty.jsonl"], &["empty.jsonl"]);
    refused(&["--data", "none.jsonl"], &["none.jsonl"]);
    refused(&["--data", "mine=none.jsonl"], &["cannot read none.jsonl: No such file"]);
    misused(&["--bench", "gsm9k"], &["gsm9k", "gsm8k"]);
    misused(&[], &["--bench", "--data"]);
    misused(&["--data", "bad.jsonl", "--data", "bad.jsonl"], &["`bad` is named twice"]);
    misused(&["--compare", "nothing", "--save", "x.png"], &["--save x.png", ".svg"]);
    write_rows(&folder.path().join("good.jsonl"), &questions());
    misused(&["--data", "good.jsonl", "--skip", "9"], &["--skip 9", "4 questions"]);
    refused(&["--data", "bad.jsonl", "--keep-going", "--skip", "9"], &["--skip 9", "4 questions"]);
    refused(&["--compare", "nothing"], &["nothing", "results.json"]);
    // Through a cache of its own: another may hold the benchmark.
    let cache = folder.path().join("cache");
    let offline = eval(folder.path(), &["--bench", "gsm8k"]).env("HF_HUB_OFFLINE", "1").env("AGENT0_CACHE", &cache).output().unwrap();
    assert!(!offline.status.success() && stderr(&offline).contains("openai/gsm8k"), "{}", stderr(&offline));

    let kept =
        eval(folder.path(), &["--data", "bad.jsonl", "--keep-going", "--limit", "1", "--max-tokens", "16", "--json"]).output().unwrap();
    assert!(kept.status.success(), "{}", stderr(&kept));
    let result = &last_line(&kept)["results"][0];
    assert_eq!((&result["rows"], &result["left_out"], &result["limit"]), (&1.into(), &3.into(), &1.into()));
}

/// A hub that has one dataset file, at one commit.
fn hub(repo: &str, file: &str, body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let commit = "0123456789012345678901234567890123456789";
    let listing = json!({"id": repo, "sha": commit, "siblings": [{"rfilename": file, "size": body.len()}]}).to_string().into_bytes();
    let (listed, resolved) = (format!("/api/datasets/{repo}/revision/"), format!("/datasets/{repo}/resolve/{commit}/{file}"));
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let path = request_path(&stream);
            let answer = if path.starts_with(&listed) { Some(&listing) } else { (path == resolved).then_some(&body) };
            let _ = reply(stream, answer);
        }
    });
    endpoint
}

fn request_path(stream: &TcpStream) -> String {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    lines.find(String::is_empty);
    first.split(' ').nth(1).unwrap_or_default().to_owned()
}

fn reply(mut stream: TcpStream, body: Option<&Vec<u8>>) -> std::io::Result<()> {
    let (status, body) = body.map_or(("404 X", &[][..]), |body| ("200 OK", body.as_slice()));
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(body)
}

#[test]
fn a_benchmark_is_fetched_from_the_hub_once() {
    let folder = tempfile::tempdir().unwrap();
    let row = json!({"problem": "What is 1 + 1?", "solution": "\\boxed{2}", "answer": "2", "subject": "Algebra", "level": 1, "unique_id": "test/1.json"});
    let endpoint = hub("HuggingFaceH4/MATH-500", "test.jsonl", row.to_string().into_bytes());
    // The model comes from the user's own cache, the benchmark into one of its own.
    let model = Command::new(env!("CARGO_BIN_EXE_agent0")).args(["model", "fetch", "qwen2.5-coder-0.5b-instruct"]).output().unwrap();
    assert!(model.status.success(), "{}", stderr(&model));
    let model = stdout(&model).trim().to_owned();
    let cache = folder.path().join("cache");
    std::fs::create_dir(&cache).unwrap();
    // The Python environment is shared: making another takes a minute.
    let python = Path::new(&model).parent().and_then(Path::parent).unwrap().join("python");
    std::os::unix::fs::symlink(python, cache.join("python")).unwrap();
    let run = |endpoint: &str, out: &str| {
        let args = ["--model", &model, "--bench", "math500", "--max-tokens", "16", "--json", "--out", out];
        let hub = [("HF_ENDPOINT", endpoint), ("HF_HUB_CACHE", "none")];
        eval(folder.path(), &args).envs(hub).env("AGENT0_CACHE", &cache).env_remove("HF_HUB_OFFLINE").output().unwrap()
    };
    let first = run(&endpoint, "a");
    assert!(first.status.success(), "{}", stderr(&first));
    let data = last_line(&first)["results"][0]["data"].clone();
    assert_eq!(data["revision"], "0123456789012345678901234567890123456789");
    assert_eq!((data["sha256"].as_str().map(str::len), &data["rows"]), (Some(64), &1.into()));
    assert!(stderr(&first).contains("the copy has 1 rows where 500 are published"), "{}", stderr(&first));
    let offline = run("http://127.0.0.1:1", "b");
    assert!(offline.status.success(), "what was fetched is not fetched again: {}", stderr(&offline));
    assert_eq!(timeless(&last_line(&offline)), timeless(&last_line(&first)));
}
