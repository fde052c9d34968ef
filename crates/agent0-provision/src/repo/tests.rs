//! With a hub on a local port that holds `org/toy`: a model of two shards and some files that are not wanted.

use super::*;
use crate::fake_hub::{Answer, FakeHub, Fault, Requests, fake_repo, quiet};
use crate::model_files::WEIGHTS_INDEX;
use crate::repo_name::RepoKind;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const LISTING: &str = "/api/models/org/toy/revision/main?blobs=true";
const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
/// What is to arrive, in this order.
const WANTED: [&str; 7] = [
    "config.json",
    "tokenizer.json",
    "generation_config.json",
    "tokenizer_config.json",
    "model.safetensors.index.json",
    SHARDS[0],
    SHARDS[1],
];

type Files = BTreeMap<String, Vec<u8>>;

/// The repository's files.
fn toy() -> Files {
    let index = json!({ "weight_map": { "a": SHARDS[0], "b": SHARDS[1], "c": SHARDS[0] } }).to_string();
    let noise = |seed: u32| (0..100_000_u32).map(|i| (i.wrapping_mul(seed) >> 13) as u8).collect::<Vec<u8>>();
    let mut files: Files =
        ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "README.md", "onnx/config.json"]
            .map(|name| (name.to_string(), format!("content of {name}").into_bytes()))
            .into();
    files.insert(WEIGHTS_INDEX.into(), index.into_bytes());
    files.insert(SHARDS[0].into(), noise(2_654_435_761));
    files.insert(SHARDS[1].into(), noise(2_246_822_519));
    files.insert("consolidated.safetensors".into(), noise(3_266_489_917));
    files
}

/// What the hub says of the repository; large files have digests.
fn listing(files: &Files) -> Vec<u8> {
    let sibling = |(name, bytes): (&String, &Vec<u8>)| -> Value {
        let sha256 = crate::digest::hex(&<sha2::Sha256 as sha2::Digest>::digest(bytes));
        let mut file = json!({ "rfilename": name, "size": bytes.len() });
        if name.ends_with(".safetensors") {
            file["lfs"] = json!({ "sha256": sha256, "size": bytes.len(), "pointerSize": 135 });
        }
        file
    };
    json!({ "id": "org/toy", "sha": COMMIT, "siblings": files.iter().map(sibling).collect::<Vec<_>>() }).to_string().into_bytes()
}

/// A hub with these files at [`COMMIT`], which is `main`.
fn hub(files: &Files, faults: &[Fault]) -> FakeHub {
    let mut paths: Files = files.iter().map(|(name, bytes)| (format!("/org/toy/resolve/{COMMIT}/{name}"), bytes.clone())).collect();
    paths.insert(LISTING.into(), listing(files));
    paths.insert(LISTING.replace("main", COMMIT), listing(files));
    fake_repo(paths, faults)
}

struct Fixture {
    dir: tempfile::TempDir,
    cache: Cache,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    Fixture { cache: Cache::at(dir.path().join("cache")).unwrap(), dir }
}

impl Fixture {
    fn hub_cache(&self) -> PathBuf {
        self.dir.path().join("hub")
    }

    fn sources(&self, hub: Option<Hub>) -> Sources {
        Sources { hub_cache: Some(self.hub_cache()), hub, python: None }
    }

    fn obtain(&self, hub: Option<Hub>) -> Result<PathBuf, ProvisionError> {
        self.obtain_as("org/toy", hub, &quiet)
    }

    fn obtain_as(&self, name: &str, hub: Option<Hub>, progress: Progress) -> Result<PathBuf, ProvisionError> {
        obtain(&self.cache, &RepoName::parse(name).unwrap(), Wanted::Model, &self.sources(hub), progress)
    }

    fn refusal(&self, hub: Option<Hub>) -> String {
        self.obtain(hub).unwrap_err().to_string()
    }

    fn ours(&self) -> RepoFolder {
        RepoFolder::new(&self.cache.root().join("models/hub"), RepoKind::Model, "org/toy")
    }

    /// Files in the user's hub cache, as another program leaves them.
    fn fill_hub_cache(&self, names: &[&str]) -> PathBuf {
        let theirs = RepoFolder::new(&self.hub_cache(), RepoKind::Model, "org/toy");
        theirs.remember("main", COMMIT).unwrap();
        let folder = theirs.snapshot(COMMIT);
        fs::create_dir_all(&folder).unwrap();
        for name in names {
            fs::write(folder.join(name), &toy()[*name]).unwrap();
        }
        folder
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn assert_is_toy(folder: &Path) {
    let mut wanted = WANTED.map(str::to_string);
    wanted.sort();
    assert_eq!(names(folder), wanted);
    for name in WANTED {
        assert!(fs::read(folder.join(name)).unwrap() == toy()[name], "{name}");
    }
}

/// The shards asked for, each as `name range`.
fn shards_asked(requests: &Requests) -> Vec<String> {
    let shard = |line: &String| Some(line[line.find("model-0")?..].trim_end_matches("Bearer secret").trim_end().to_string());
    requests.lock().unwrap().iter().filter_map(shard).collect()
}

#[test]
fn a_repository_becomes_a_folder_of_what_a_model_needs() {
    let f = fixture();
    let FakeHub { hub, requests } = hub(&toy(), &[]);
    let events = Mutex::new(Vec::new());
    let folder = f.obtain_as("org/toy", Some(hub), &|e| events.lock().unwrap().push(e)).unwrap();
    assert_is_toy(&folder);
    assert!(folder.ends_with(format!("models--org--toy/snapshots/{COMMIT}")), "{}", folder.display());
    let requests = requests.lock().unwrap();
    assert_eq!(requests[0], format!("{LISTING}  Bearer secret"));
    assert_eq!(requests.len(), 2 + WANTED.len(), "the listing, the index to choose by, each file");
    let events = events.lock().unwrap();
    assert!(matches!(&events[0], Event::Note(note) if note.contains(COMMIT) && note.contains("7 file(s)")), "{events:?}");
    let started = |text: &str| events.iter().filter(|e| matches!(e, Event::Started { what, .. } if what.starts_with(text))).count();
    assert_eq!((started("downloading"), started("verifying")), (7, 2));
}

#[test]
fn a_second_start_needs_no_network_and_keeps_to_the_commit() {
    let f = fixture();
    let folder = f.obtain(Some(hub(&toy(), &[]).hub)).unwrap();
    assert_eq!(f.obtain(None).unwrap(), folder);
    assert_eq!(f.obtain_as(&format!("org/toy@{COMMIT}"), None, &quiet).unwrap(), folder);
    let FakeHub { hub: again, requests } = hub(&toy(), &[]);
    f.obtain(Some(again)).unwrap();
    assert!(requests.lock().unwrap().is_empty(), "nor is it used when it is there");
    // Touched files are read again, offline too; a damaged one is fetched again, and only that one.
    fs::write(folder.join(SHARDS[0]), &toy()[SHARDS[0]]).unwrap();
    assert_eq!(f.obtain(None).unwrap(), folder);
    fs::write(folder.join(SHARDS[0]), "damaged").unwrap();
    assert!(f.refusal(None).contains("HF_HUB_OFFLINE"));
    let FakeHub { hub: again, requests } = hub(&toy(), &[]);
    f.obtain(Some(again)).unwrap();
    assert_is_toy(&folder);
    assert_eq!(requests.lock().unwrap().len(), 1);
}

#[test]
fn a_cut_download_goes_on_in_the_same_run_and_in_the_next() {
    let f = fixture();
    let cut = [(SHARDS[0], Answer::Bytes(30_000)), (SHARDS[1], Answer::Bytes(40_000)), (SHARDS[1], Answer::Status(404))];
    let FakeHub { hub: first, requests } = hub(&toy(), &cut);
    assert!(f.refusal(Some(first)).contains(SHARDS[1]));
    let [one, two] = SHARDS;
    assert_eq!(shards_asked(&requests), [one, &format!("{one} bytes=30000-"), two, &format!("{two} bytes=40000-")]);
    assert!(!names(&f.ours().snapshot(COMMIT)).contains(&SHARDS[1].to_string()), "half a file has not its name");
    // The hub's main has moved on meanwhile, which does not matter.
    let FakeHub { hub: second, requests } = hub(&toy(), &[(LISTING, Answer::Code(404, "RepoNotFound"))]);
    assert_is_toy(&f.obtain(Some(second)).unwrap());
    assert_eq!(shards_asked(&requests), [format!("{two} bytes=40000-")]);
}

#[test]
fn wrong_bytes_do_not_enter() {
    let f = fixture();
    let message = f.refusal(Some(hub(&toy(), &[(SHARDS[1], Answer::Garbled)]).hub));
    assert!(message.contains(SHARDS[1]) && message.contains("SHA-256"), "{message}");
    assert_eq!(names(&f.ours().snapshot(COMMIT)).len(), 6, "neither it nor a part of it");
    assert!(f.refusal(None).contains("HF_HUB_OFFLINE"), "and the folder is not taken for complete");
    assert_is_toy(&f.obtain(Some(hub(&toy(), &[]).hub)).unwrap());
}

#[test]
fn every_refusal_is_told_with_what_to_do() {
    let listing = "revision/main";
    let cases: [(&[Fault], &[&str]); 6] = [
        (&[(listing, Answer::Code(401, "RepoNotFound"))], &["no model repository at", "/org/toy,", "HF_TOKEN", "check the name"]),
        (&[(listing, Answer::Status(404))], &["no model repository at"]),
        (&[(listing, Answer::Code(404, "RevisionNotFound"))], &["org/toy", "no revision main"]),
        (&[("config.json", Answer::Code(403, "GatedRepo"))], &["org/toy is gated", "agree to its terms at http", "HF_TOKEN"]),
        (&[(listing, Answer::Status(403))], &["no access to org/toy (HTTP 403)", "HF_TOKEN"]),
        (&[(listing, Answer::Status(503)); 3], &["HTTP 503", "Check the network", "HF_ENDPOINT"]),
    ];
    for (faults, says) in cases {
        let message = fixture().refusal(Some(hub(&toy(), faults).hub));
        assert!(says.iter().all(|part| message.contains(part)), "{message}");
    }
    let offline = fixture().refusal(None);
    let says = ["could not obtain model `org/toy`", "no complete copy in", "HF_HUB_OFFLINE is set", "give its path"];
    assert!(says.iter().all(|part| offline.contains(part)), "{offline}");
}

#[test]
fn a_repository_without_safetensors_is_told_by_what_it_has() {
    let f = fixture();
    let files: Files = ["README.md", "toy-q4.gguf", "toy-q8.gguf"].map(|name| (name.to_string(), vec![1])).into();
    let message = f.refusal(Some(hub(&files, &[]).hub));
    assert!(message.contains("it has no config.json, but 2 .gguf files, 1 .md file") && message.contains("download a GGUF"), "{message}");
    assert_eq!(names(f.ours().path()), ["lock"], "nothing is remembered of it");
}

#[test]
fn a_name_that_leads_out_of_the_folder_is_refused() {
    let f = fixture();
    let mut files = toy();
    files.insert("../../../outside.safetensors".into(), vec![1]);
    files.insert("../config.json".into(), vec![1]);
    let named = json!({ "weight_map": { "a": "../../../outside.safetensors" } }).to_string();
    files.insert(WEIGHTS_INDEX.into(), named.into_bytes());
    let message = f.refusal(Some(hub(&files, &[]).hub));
    assert!(message.contains("../../../outside.safetensors"), "{message}");
    assert_eq!(names(f.ours().path()), ["lock"]);
    // Unless the index names them, such names are not looked at.
    files.insert(WEIGHTS_INDEX.into(), toy()[WEIGHTS_INDEX].clone());
    assert_is_toy(&f.obtain(Some(hub(&files, &[]).hub)).unwrap());
}

#[test]
fn a_full_disk_is_told_before_anything_is_fetched() {
    let mut f = fixture();
    f.cache = f.cache.with_free_bytes(|_| Ok(100_000));
    let FakeHub { hub, requests } = hub(&toy(), &[]);
    let error = f.obtain(Some(hub)).unwrap_err();
    assert!(matches!(&error, ProvisionError::NoSpace { needed, .. } if *needed > 200_000), "{error}");
    assert_eq!(requests.lock().unwrap().len(), 2);
}

#[test]
fn the_users_hub_cache_is_used_where_it_is_if_it_is_complete() {
    let f = fixture();
    f.fill_hub_cache(&WANTED[..6]);
    assert!(f.refusal(None).contains("no complete copy"), "a shard is missing");
    let theirs = f.fill_hub_cache(&WANTED);
    assert_eq!(f.obtain(None).unwrap(), theirs);
    // The commit is kept to when the other program moves on, and fetched when it throws the files away.
    RepoFolder::new(&f.hub_cache(), RepoKind::Model, "org/toy").remember("main", &COMMIT.replace('0', "f")).unwrap();
    assert_eq!(f.obtain(None).unwrap(), theirs);
    fs::remove_file(theirs.join(SHARDS[0])).unwrap();
    let ours = f.obtain(Some(hub(&toy(), &[("revision/main", Answer::Status(500))]).hub)).unwrap();
    assert_eq!(ours, f.ours().snapshot(COMMIT));
    assert_is_toy(&ours);
}
