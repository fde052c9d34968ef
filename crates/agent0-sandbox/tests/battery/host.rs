//! What the host holds for the sandboxes of this process: open files, memory, processes, mounts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

/// How long what has ended may take to disappear, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is held at one moment by this process and those below it. Calls that run are not among them: it is taken between calls.
#[derive(Debug)]
pub struct Held {
    mounts: usize,
    shared: BTreeSet<String>,
    processes: BTreeMap<u32, Process>,
}

#[derive(Clone, Debug)]
struct Process {
    name: String,
    /// Unknown where another user's process may not be looked into.
    files: Option<usize>,
    /// None for one that has ended and that nobody has waited for.
    resident_kib: Option<u64>,
}

impl Held {
    pub fn now() -> Self {
        adopt_orphans();
        let own = std::process::id();
        let parents: BTreeMap<u32, u32> = numbers("/proc").filter_map(|process| Some((process, parent(process)?))).collect();
        let is_ours = |process: u32| std::iter::successors(Some(process), |p| parents.get(p).copied()).any(|p| p == own);
        let processes = parents.keys().filter(|&&process| is_ours(process)).filter_map(|&process| Some((process, look(process)?)));
        Self {
            mounts: fs::read_to_string("/proc/self/mounts").unwrap_or_default().lines().count(),
            shared: fs::read_dir("/dev/shm").into_iter().flatten().filter_map(|e| e.ok()?.file_name().into_string().ok()).collect(),
            // Adopted ones that have ended belong to sandboxes that are gone.
            processes: processes.filter(|(number, process)| process.resident_kib.is_some() || parents[number] != own).collect(),
        }
    }

    /// Panics when more is held now, and stays so: another process, a file, a mount, or more memory than a longer list of free memory explains.
    /// What the last call held may go a moment after its outcome comes.
    pub fn assert_same(&self) {
        let end = Instant::now() + PATIENCE;
        while !self.more_than_then().is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(self.more_than_then(), [] as [String; 0], "more is held");
    }

    /// All that is held now and was not then; processes as `NUMBER NAME`.
    pub fn more_than_then(&self) -> Vec<String> {
        let now = Self::now();
        let new =
            |(number, process): (&u32, &Process)| (!self.processes.contains_key(number)).then(|| format!("{number} {}", process.name));
        let mut more: Vec<String> = now.processes.iter().filter_map(new).collect();
        if now.mounts != self.mounts {
            more.push(format!("{} mounts, not {}", now.mounts, self.mounts));
        }
        more.extend(now.shared.difference(&self.shared).filter(|name| name.contains("agent0")).map(|name| format!("/dev/shm/{name}")));
        for (number, process) in &now.processes {
            let Some(before) = self.processes.get(number) else { continue };
            let most = before.resident_kib.map(|kib| kib + (32 << 10));
            if process.files > before.files || process.resident_kib >= most {
                more.push(format!("process {number}: {before:?} {process:?}"));
            }
        }
        more
    }
}

/// What loses its parent becomes a child of this process, so that it is found.
fn adopt_orphans() {
    // SAFETY: no pointers.
    #[allow(unsafe_code)]
    let result = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    assert_eq!(result, 0);
}

fn look(process: u32) -> Option<Process> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let fact = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.split_whitespace().next());
    let files = fs::read_dir(format!("/proc/{process}/fd")).ok().map(Iterator::count);
    let resident_kib = fact("VmRSS:").and_then(|kib| kib.parse().ok());
    Some(Process { name: fact("Name:").unwrap_or_default().to_owned(), files, resident_kib })
}

fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn numbers(folder: &str) -> impl Iterator<Item = u32> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}
