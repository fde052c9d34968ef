//! Obtaining a benchmark with a local server in the hub's place. The environment names the hub, so each run is a process of its
//! own: this test program again, with only `obtain_one`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use agent0_eval::{find_benchmark, obtain};
use agent0_provision::Cache;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Obtains the benchmark that the environment names and prints what came of it.
#[test]
#[ignore = "a part of the other tests"]
fn obtain_one() {
    let benchmark = find_benchmark(&std::env::var("BENCHMARK").unwrap()).unwrap();
    match obtain(benchmark, &Cache::open().unwrap(), &|_| {}) {
        Ok(loaded) => println!("{:?}", (loaded.origin.discrepancy(benchmark.name), loaded.questions, loaded.origin)),
        Err(error) => println!("error: {error}"),
    }
}

/// A hub that has these datasets' files, each at `org/name/path`.
struct Hub {
    endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
}

fn hub(files: &[(&str, Vec<u8>)]) -> Hub {
    let mut pages: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (path, bytes) in files {
        let (repo, file) = path.match_indices('/').nth(1).map(|(at, _)| (&path[..at], &path[at + 1..])).unwrap();
        let listing = format!("{{\"sha\": \"{COMMIT}\", \"siblings\": [{{\"rfilename\": \"{file}\", \"size\": {}}}]}}", bytes.len());
        pages.insert(format!("/api/datasets/{repo}/revision/main?blobs=true"), listing.into());
        pages.insert(format!("/datasets/{repo}/resolve/{COMMIT}/{file}"), bytes.clone());
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let asked = requests.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let lines = BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            let head: Vec<String> = lines.collect();
            let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_string();
            let (status, body) = pages.get(&path).map_or((404, &b""[..]), |page| (200, &page[..]));
            asked.lock().unwrap().push(path);
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    Hub { endpoint, requests }
}

/// What [`obtain_one`] prints of a benchmark, with caches in `home`.
fn obtained(benchmark: &str, home: &Path, settings: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "obtain_one", "--ignored", "--nocapture"]).env("BENCHMARK", benchmark);
    command.env("AGENT0_CACHE", home.join("cache")).env("HF_HOME", home.join("hf")).envs(settings.iter().copied());
    for name in ["HF_TOKEN", "HF_HUB_CACHE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn gsm8k() -> Vec<u8> {
    fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/forms/gsm8k.parquet")).unwrap()
}

#[test]
fn a_benchmark_comes_once_and_is_then_at_hand() {
    let home = tempfile::tempdir().unwrap();
    let hub = hub(&[("openai/gsm8k/main/test-00000-of-00001.parquet", gsm8k())]);
    let first = obtained("gsm8k", home.path(), &[("HF_ENDPOINT", &hub.endpoint)]);
    assert!(first.contains("gsm8k-1") && first.contains(&format!("openai/gsm8k@{COMMIT} main/test-00000-of-00001.parquet")), "{first}");
    assert!(first.contains(&format!("revision: Some(\"{COMMIT}\")")), "{first}");
    assert!(first.contains("the copy has 2 rows where 1319 are published"), "{first}");
    assert_eq!(hub.requests.lock().unwrap().len(), 2, "the listing and the file");
    let result = |text: &str| text.lines().find(|line| line.contains("gsm8k-1")).unwrap().to_string();
    let offline = obtained("gsm8k", home.path(), &[("HF_ENDPOINT", &hub.endpoint), ("HF_HUB_OFFLINE", "1")]);
    assert_eq!(result(&offline), result(&first));
    let again = obtained("gsm8k", home.path(), &[("HF_ENDPOINT", &hub.endpoint)]);
    assert_eq!(result(&again), result(&first));
    assert_eq!(hub.requests.lock().unwrap().len(), 2, "no more was asked for");
}

#[test]
fn the_next_copy_is_taken_where_the_first_is_missing_and_kept_to() {
    let home = tempfile::tempdir().unwrap();
    let row = |answer: u32| format!("{{\"problem\": \"q\", \"solution\": \"$\\\\boxed{{{answer}}}$\"}}").into_bytes();
    let second = hub(&[("svc-huggingface/minerva-math/test.jsonl", row(5))]);
    let found = obtained("minerva", home.path(), &[("HF_ENDPOINT", &second.endpoint)]);
    assert!(found.contains("svc-huggingface/minerva-math@") && found.contains("answer: \"5\""), "{found}");
    let both = hub(&[("math-ai/minervamath/test.jsonl", row(6)), ("svc-huggingface/minerva-math/test.jsonl", row(7))]);
    let kept = obtained("minerva", home.path(), &[("HF_ENDPOINT", &both.endpoint)]);
    assert!(kept.contains("answer: \"5\""), "{kept}");
}

#[test]
fn a_benchmark_that_cannot_be_had_names_what_was_tried_and_the_remedy() {
    let home = tempfile::tempdir().unwrap();
    let empty = hub(&[]);
    let message = obtained("aime25", home.path(), &[("HF_ENDPOINT", &empty.endpoint)]);
    let says = [
        "could not obtain the benchmark aime25",
        "no dataset repository at",
        "/datasets/math-ai/aime25",
        "/datasets/opencompass/AIME2025",
        "bring the file yourself and give its path",
    ];
    assert!(says.iter().all(|part| message.contains(part)), "{message}");
    let offline = obtained("aime25", home.path(), &[("HF_HUB_OFFLINE", "1")]);
    assert!(
        offline.contains("math-ai/aime25: Hugging Face cache: no complete copy") && offline.contains("HF_HUB_OFFLINE is set"),
        "{offline}"
    );
}
