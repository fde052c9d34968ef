//! Which level of isolation this machine allows. Findings come from trying, in helper processes, not from guessing.

use crate::attempt::Attempt;
use crate::isolation::{Isolation, Probe, Step};
use crate::namespaces::{self, IdMap};
use crate::tree::Tree;
use crate::{landlock, seccomp, sys};

/// How the launcher isolates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// [`Isolation::Full`] with these users.
    Namespaces(IdMap),
    /// [`Isolation::Landlock`].
    Landlock,
    /// [`Isolation::None`].
    Nothing,
}

/// Tries everything; the plan for the best level, or for `wanted` only. Nothing at all is a plan only when `unsafe_no_isolation`.
pub fn explore(tree: &Tree, wanted: Option<Isolation>, unsafe_no_isolation: bool) -> (Option<Plan>, Probe) {
    let (map, namespaces) = explore_namespaces(tree);
    let landlock = landlock_step();
    let seccomp = step("seccomp", seccomp::try_out(), "system calls are filtered".into(), SECCOMP_REMEDY);
    let may = |level| wanted.is_none_or(|wanted| wanted == level);
    let plan = match map {
        Some(map) if seccomp.available && may(Isolation::Full) => Some(Plan::Namespaces(map)),
        _ if landlock.available && seccomp.available && may(Isolation::Landlock) => Some(Plan::Landlock),
        _ if unsafe_no_isolation && may(Isolation::None) => Some(Plan::Nothing),
        _ => None,
    };
    let isolation = plan.map(|plan| match plan {
        Plan::Namespaces(_) => Isolation::Full,
        Plan::Landlock => Isolation::Landlock,
        Plan::Nothing => Isolation::None,
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
