//! Landlock: reading the [`Tree`](crate::tree::Tree) and the devices is all that may be done with files; no TCP; no signals to outside.

use std::io;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use crate::launcher::{Attempt, Failure, in_helper};
use crate::tree::DEVICES;

/// The newest interface that this file was written for. On older kernels the crate asks for what they know.
const NEWEST: ABI = ABI::V6;

/// Restricts this process and its descendants to reading `readable`; false when the kernel has no Landlock.
pub fn restrict<'a>(readable: impl Iterator<Item = &'a Path>) -> Attempt<bool> {
    build_and_enforce(readable).map_err(io::Error::other).attempt("restricting files with Landlock")
}

/// Finds out, in a helper process, whether Landlock really keeps files away.
pub fn try_out() -> Attempt<()> {
    in_helper(|| {
        let refused = Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        if !restrict(std::iter::empty())? {
            return refused.attempt("enforcing");
        }
        match std::fs::read_dir("/") {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            _ => refused.attempt("checking that it keeps files away"),
        }
    })
}

fn build_and_enforce<'a>(readable: impl Iterator<Item = &'a Path>) -> Result<bool, RulesetError> {
    let read = AccessFs::from_read(NEWEST);
    let on_file = AccessFs::from_file(NEWEST);
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for path in readable {
        // A place that cannot be opened stays forbidden; if it was needed, the interpreter says so.
        if let Ok(fd) = PathFd::new(path) {
            rules = rules.add_rule(PathBeneath::new(fd, if path.is_dir() { read } else { read & on_file }))?;
        }
    }
    for path in DEVICES {
        if let Ok(fd) = PathFd::new(path) {
            rules = rules.add_rule(PathBeneath::new(fd, AccessFs::ReadFile | AccessFs::WriteFile))?;
        }
    }
    Ok(rules.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}
