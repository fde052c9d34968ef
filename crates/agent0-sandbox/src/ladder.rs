//! The levels of isolation, and which of them this machine allows. Findings come from trying, in helper processes, not from guessing.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::launcher::Attempt;
use crate::namespaces::{self, IdMap};
use crate::tree::Tree;
use crate::{landlock, seccomp, sys};

/// A level of isolation. System-call filters, limits and a clean environment belong to both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Namespaces: other files, processes and networks do not exist there. Landlock too, where the kernel has it.
    Full,
    /// No namespaces (as in many containers): Landlock keeps files and networks away, but whether a path exists, its size and its times
    /// can be seen, which Landlock does not cover.
    Landlock,
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full (namespaces, Landlock, seccomp)",
            Self::Landlock => "without namespaces (Landlock, seccomp)",
        })
    }
}

/// What a machine allows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// The best level, if there is any.
    pub isolation: Option<Isolation>,
    /// What was tried.
    pub steps: Vec<Step>,
}

/// One thing that isolation is built from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What it is.
    pub name: String,
    /// Whether it works here.
    pub available: bool,
    /// In which form it works, or why it does not and what helps.
    pub detail: String,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.steps.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            let mark = if step.available { "yes" } else { "no" };
            write!(f, "{separator}  {}: {mark}, {}", step.name, step.detail)?;
        }
        Ok(())
    }
}

impl Probe {
    /// The findings when the launcher itself did not come up.
    pub(crate) fn without_launcher(detail: String) -> Self {
        Self { isolation: None, steps: vec![Step { name: "launcher".into(), available: false, detail }] }
    }
}

/// How the launcher isolates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// [`Isolation::Full`] with these users.
    Namespaces(IdMap),
    /// [`Isolation::Landlock`].
    Landlock,
}

/// Tries everything; the plan for the best level, or for `wanted` only.
pub fn explore(tree: &Tree, wanted: Option<Isolation>) -> (Option<Plan>, Probe) {
    let (map, namespaces) = explore_namespaces(tree);
    let landlock = landlock_step();
    let seccomp = step("seccomp", seccomp::try_out(), "system calls are filtered".into(), SECCOMP_REMEDY);
    let plan = match map {
        _ if !seccomp.available => None,
        Some(map) if wanted != Some(Isolation::Landlock) => Some(Plan::Namespaces(map)),
        _ if landlock.available && wanted != Some(Isolation::Full) => Some(Plan::Landlock),
        _ => None,
    };
    let isolation = plan.map(|plan| match plan {
        Plan::Namespaces(_) => Isolation::Full,
        Plan::Landlock => Isolation::Landlock,
    });
    (plan, Probe { isolation, steps: vec![namespaces, landlock, seccomp] })
}

const NAMESPACES_REMEDY: &str = "allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone=1, \
     kernel.apparmor_restrict_unprivileged_userns=0; in a container, its seccomp profile must allow unshare and mount), Linux 5.12 or newer";
const LANDLOCK_REMEDY: &str =
    "use Linux 5.13 or newer with `landlock` in the boot parameter lsm=; in a container, its seccomp profile must allow it";
const SECCOMP_REMEDY: &str = "use a kernel with CONFIG_SECCOMP_FILTER";

fn explore_namespaces(tree: &Tree) -> (Option<IdMap>, Step) {
    let mut refusals = Vec::new();
    for &map in IdMap::candidates() {
        match namespaces::try_out(map, tree) {
            Ok(()) => {
                let users = match map {
                    IdMap::RootAndNobody => "code runs as nobody",
                    IdMap::Own => "code runs as the current user without privileges",
                };
                return (Some(map), Step { name: "namespaces".into(), available: true, detail: users.into() });
            }
            Err(failure) => refusals.push(failure),
        }
    }
    (None, Step { name: "namespaces".into(), available: false, detail: format!("{}; {NAMESPACES_REMEDY}", refusals.join("; ")) })
}

fn landlock_step() -> Step {
    step("Landlock", landlock::try_out(), format!("interface version {}", sys::landlock_abi()), LANDLOCK_REMEDY)
}

fn step(name: &str, tried: Attempt<()>, working: String, remedy: &str) -> Step {
    match tried {
        Ok(()) => Step { name: name.into(), available: true, detail: working },
        Err(failure) => Step { name: name.into(), available: false, detail: format!("{failure}; {remedy}") },
    }
}
