//! With a hub on a local port that holds the dataset `org/quiz`: two shards of a test split, a training split and a card.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::fake_hub::{Answer, FakeHub, Fault, fake_repo, quiet};
use crate::hub::Hub;
use crate::hub_layout::RepoFolder;
use crate::repo_name::RepoKind;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const LISTING: &str = "/api/datasets/org/quiz/revision/main?blobs=true";
const SHARDS: [&str; 2] = ["data/test-00000-of-00002.parquet", "data/test-00001-of-00002.parquet"];
const TEST: &str = "data/test-*.parquet";

fn files() -> BTreeMap<String, Vec<u8>> {
    ["README.md", SHARDS[0], SHARDS[1], "data/train-00000-of-00001.parquet"]
        .map(|name| (name.to_string(), format!("content of {name}").into()))
        .into()
}

fn hub(files: &BTreeMap<String, Vec<u8>>, faults: &[Fault]) -> FakeHub {
    let sibling = |(name, bytes): (&String, &Vec<u8>)| {
        let sha256 = crate::digest::hex(&<sha2::Sha256 as sha2::Digest>::digest(bytes));
        json!({ "rfilename": name, "size": bytes.len(), "lfs": { "sha256": sha256, "size": bytes.len() } })
    };
    let listing = json!({ "sha": COMMIT, "siblings": files.iter().map(sibling).collect::<Vec<_>>() }).to_string().into_bytes();
    let mut paths: BTreeMap<String, Vec<u8>> =
        files.iter().map(|(name, bytes)| (format!("/datasets/org/quiz/resolve/{COMMIT}/{name}"), bytes.clone())).collect();
    paths.insert(LISTING.into(), listing.clone());
    paths.insert(LISTING.replace("main", COMMIT), listing);
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
    fn sources(&self, hub: Option<Hub>) -> Sources {
        Sources { hub_cache: Some(self.dir.path().join("hub")), hub, python: None }
    }

    fn obtain(&self, pattern: &str, hub: Option<Hub>) -> Result<Dataset, ProvisionError> {
        obtain(&self.cache, "org/quiz", pattern, &self.sources(hub), &quiet)
    }

    fn cached(&self, pattern: &str) -> Option<Dataset> {
        cached(&self.cache, "org/quiz", pattern, &self.sources(None), &quiet).unwrap()
    }

    /// Files in the user's hub cache, as another program leaves them: links in the snapshot, the bytes elsewhere.
    fn fill_hub_cache(&self, names: &[&str]) {
        let theirs = RepoFolder::new(&self.dir.path().join("hub"), RepoKind::Dataset, "org/quiz");
        theirs.remember("main", COMMIT).unwrap();
        for name in names {
            let (blob, link) = (theirs.path().join(name.replace('/', "-")), theirs.snapshot(COMMIT).join(name));
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            fs::write(&blob, &files()[*name]).unwrap();
            std::os::unix::fs::symlink(&blob, &link).unwrap();
        }
    }
}

fn assert_is_test_split(dataset: &Dataset) {
    assert_eq!((dataset.commit.as_str(), &dataset.files[..]), (COMMIT, &SHARDS.map(str::to_string)[..]));
    for name in SHARDS {
        assert_eq!(fs::read(dataset.folder.join(name)).unwrap(), files()[name]);
    }
}

#[test]
fn the_files_that_match_come_once_and_stay() {
    let f = fixture();
    assert_eq!(f.cached(TEST), None);
    let FakeHub { hub: first, requests } = hub(&files(), &[]);
    let dataset = f.obtain(TEST, Some(first)).unwrap();
    assert_is_test_split(&dataset);
    assert_eq!(
        requests.lock().unwrap()[..2],
        [format!("{LISTING}  Bearer secret"), format!("/datasets/org/quiz/resolve/{COMMIT}/{}  Bearer secret", SHARDS[0])]
    );
    assert_eq!(requests.lock().unwrap().len(), 3, "the listing and two shards");
    assert_eq!(f.cached(TEST).unwrap(), dataset);
    assert_eq!(f.obtain(TEST, None).unwrap(), dataset, "offline");
    // Other files of it are another matter; they come from the same commit, though `main` may have moved on.
    assert_eq!(f.cached("*train*"), None);
    let FakeHub { hub: second, requests } = hub(&files(), &[("revision/main", Answer::Status(500))]);
    assert_eq!(f.obtain("*train*", Some(second)).unwrap().files, ["data/train-00000-of-00001.parquet"]);
    assert_eq!(requests.lock().unwrap().len(), 2);
    assert_eq!(f.cached(TEST).unwrap(), dataset);
}

#[test]
fn damaged_and_cut_files_are_fetched_again() {
    let f = fixture();
    let cut = [(SHARDS[1], Answer::Bytes(5)), (SHARDS[1], Answer::Status(404))];
    assert!(f.obtain(TEST, Some(hub(&files(), &cut).hub)).unwrap_err().to_string().contains(SHARDS[1]));
    assert_eq!(f.cached(TEST), None, "one shard is not all");
    let FakeHub { hub: second, requests } = hub(&files(), &[]);
    let dataset = f.obtain(TEST, Some(second)).unwrap();
    assert_is_test_split(&dataset);
    assert!(requests.lock().unwrap().iter().any(|line| line.contains(SHARDS[1]) && line.contains("bytes=5-")));
    fs::write(dataset.folder.join(SHARDS[0]), "damaged").unwrap();
    assert_eq!(f.cached(TEST), None);
    assert_is_test_split(&f.obtain(TEST, Some(hub(&files(), &[]).hub)).unwrap());
}

#[test]
fn the_users_hub_cache_is_used_if_it_is_complete() {
    let f = fixture();
    f.fill_hub_cache(&SHARDS[..1]);
    assert_eq!(f.cached(TEST), None, "a shard is missing");
    f.fill_hub_cache(&[SHARDS[1]]);
    let dataset = f.cached(TEST).unwrap();
    assert!(dataset.folder.starts_with(f.dir.path().join("hub")), "{}", dataset.folder.display());
    assert_is_test_split(&dataset);
    assert_eq!(f.obtain(TEST, None).unwrap(), dataset);
}

#[test]
fn every_refusal_is_told_with_what_to_do() {
    let cases: [(&str, &[Fault], &[&str]); 5] = [
        (TEST, &[(LISTING, Answer::Code(401, "RepoNotFound"))], &["no dataset repository at", "/datasets/org/quiz,", "HF_TOKEN"]),
        (TEST, &[(SHARDS[0], Answer::Code(403, "GatedRepo"))], &["org/quiz is gated", "/datasets/org/quiz,", "HF_TOKEN"]),
        (TEST, &[(LISTING, Answer::Status(503)); 3], &["could not obtain dataset `org/quiz`", "HTTP 503", "give its path"]),
        (TEST, &[(SHARDS[0], Answer::Garbled)], &["SHA-256"]),
        ("test.jsonl", &[], &["org/quiz", "no usable file test.jsonl", "it has 1 .md file, 3 .parquet files"]),
    ];
    for (pattern, faults, says) in cases {
        let message = fixture().obtain(pattern, Some(hub(&files(), faults).hub)).unwrap_err().to_string();
        assert!(says.iter().all(|part| message.contains(part)), "{message}");
    }
    let offline = fixture().obtain(TEST, None).unwrap_err().to_string();
    assert!(offline.contains("no complete copy in") && offline.contains("HF_HUB_OFFLINE is set"), "{offline}");
}

#[test]
fn a_name_that_leads_out_of_the_folder_is_refused() {
    let f = fixture();
    let outside = BTreeMap::from([("../../../outside.parquet".to_string(), vec![1])]);
    let message = f.obtain("*.parquet", Some(hub(&outside, &[]).hub)).unwrap_err().to_string();
    assert!(message.contains("is no plain path"), "{message}");
    let has_none = |folder: &Path| fs::read_dir(folder).unwrap().all(|entry| entry.unwrap().file_name() != "outside.parquet");
    assert!(has_none(f.dir.path()) && has_none(f.cache.root()));
    assert!(obtain(&f.cache, "../quiz", TEST, &f.sources(None), &quiet).unwrap_err().to_string().contains("org/name"));
}
