//! What the host holds for the sandboxes of this process: open files, memory, processes, mounts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// What is held at one moment by this process and those below it. Calls that run are not among them: it is taken between calls.
#[derive(Debug)]
pub struct Held {
    mounts: usize,
    shared: BTreeSet<String>,
    processes: BTreeMap<u32, Process>,
}

#[derive(Clone, Copy, Debug)]
struct Process {
    /// Unknown where another user's process may not be looked into.
    files: Option<usize>,
    resident_kib: u64,
}

impl Held {
    pub fn now() -> Self {
        let parents: BTreeMap<u32, u32> = numbers("/proc").filter_map(|process| Some((process, parent(process)?))).collect();
        let is_ours = |process: u32| std::iter::successors(Some(process), |p| parents.get(p).copied()).any(|p| p == std::process::id());
        let processes = parents.keys().filter(|&&process| is_ours(process)).filter_map(|&process| Some((process, look(process)?)));
        Self {
            mounts: fs::read_to_string("/proc/self/mounts").unwrap_or_default().lines().count(),
            shared: fs::read_dir("/dev/shm").into_iter().flatten().filter_map(|e| e.ok()?.file_name().into_string().ok()).collect(),
            processes: processes.collect(),
        }
    }

    /// Panics when more is held now: another process, a file, a mount, or more memory than a longer list of free memory explains.
    pub fn assert_same(&self) {
        let now = Self::now();
        assert_eq!(now.mounts, self.mounts);
        assert!(now.shared.iter().all(|name| self.shared.contains(name) || !name.contains("agent0")), "{:?}", now.shared);
        for (number, process) in &now.processes {
            let Some(before) = self.processes.get(number) else { continue };
            assert!(process.files <= before.files, "files of process {number}: {before:?} {process:?}");
            assert!(process.resident_kib < before.resident_kib + (32 << 10), "memory of process {number}: {before:?} {process:?}");
        }
    }
}

fn look(process: u32) -> Option<Process> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let files = fs::read_dir(format!("/proc/{process}/fd")).ok().map(Iterator::count);
    Some(Process { files, resident_kib: resident.split_whitespace().next()?.parse().ok()? })
}

fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn numbers(folder: &str) -> impl Iterator<Item = u32> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}
