//! Landlock: reading the [`Tree`](crate::tree::Tree) and the devices is all that may be done with files; no TCP; no signals to outside.

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope,
};
use serde::Serialize;

use crate::attempt::{Attempt, Failure, in_helper};
use crate::sys::landlock_abi;
use crate::tree::{DEVICES, SCRATCH, Tree};

/// The newest interface that this file was written for. On older kernels the crate asks for what they know.
const NEWEST: ABI = ABI::V6;

/// Restricts this process and its descendants to reading `tree`; false when the kernel has no Landlock.
pub fn restrict(tree: &Tree) -> Attempt<bool> {
    build_and_enforce(tree).map_err(io::Error::other).attempt("restricting files with Landlock")
}

/// A restriction as data, for a process that has still to mount its scratch folder, which a restricted one cannot.
#[derive(Debug, Serialize)]
pub struct Rules {
    /// Accesses to files, to the network, and scopes (`struct landlock_ruleset_attr`) that are forbidden but for the rules.
    handled: Vec<u64>,
    /// Paths and the accesses that are allowed there and below.
    allowed: Vec<(PathBuf, u64)>,
}

impl Rules {
    /// What every call adds to its zygote's restriction, if the kernel can: signals and abstract sockets stay within the call.
    pub fn for_call() -> Option<Self> {
        (landlock_abi() >= 6).then(|| Self { handled: vec![0, 0, Scope::from_all(NEWEST).bits()], allowed: vec![] })
    }

    /// All of it, with a scratch folder in which everything is allowed; nothing when the kernel has no Landlock.
    pub fn with_scratch(tree: &Tree) -> Option<Self> {
        let version = landlock_abi();
        let abi = ABI::from(i32::try_from(version).ok()?).min(NEWEST);
        let everything = AccessFs::from_all(abi);
        let known = [(1, everything.bits()), (4, AccessNet::from_all(abi).bits()), (6, Scope::from_all(abi).bits())];
        let handled = known.into_iter().filter(|(since, _)| version >= *since).map(|(_, bits)| bits).collect();
        let rules = allowed(tree).map(|(path, access)| (path.to_owned(), (access & everything).bits()));
        let scratch = (PathBuf::from(SCRATCH), everything.bits());
        (version > 0).then(|| Self { handled, allowed: rules.chain([scratch]).collect() })
    }
}

/// The rules of a tree.
fn allowed(tree: &Tree) -> impl Iterator<Item = (&Path, BitFlags<AccessFs>)> {
    let read = AccessFs::from_read(NEWEST);
    let on_file = AccessFs::from_file(NEWEST);
    let devices = DEVICES.iter().map(|path| (Path::new(path), AccessFs::ReadFile | AccessFs::WriteFile));
    let listed = tree.listed().map(|path| (path, AccessFs::ReadDir.into()));
    tree.binds().map(move |path| (path, if path.is_dir() { read } else { read & on_file })).chain(listed).chain(devices)
}

/// Finds out, in a helper process, whether Landlock really keeps files away.
pub fn try_out() -> Attempt<()> {
    in_helper(|| {
        let refused = Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        if !restrict(&Tree::default())? {
            return refused.attempt("enforcing");
        }
        match std::fs::read_dir("/") {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            _ => refused.attempt("checking that it keeps files away"),
        }
    })
}

fn build_and_enforce(tree: &Tree) -> Result<bool, RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for (path, access) in allowed(tree) {
        // A place that cannot be opened stays forbidden; if it was needed, the interpreter says so.
        if let Ok(fd) = PathFd::new(path) {
            rules = rules.add_rule(PathBeneath::new(fd, access))?;
        }
    }
    Ok(rules.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}
