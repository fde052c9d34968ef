//! A world of its own: user, mount, network, IPC, host-name and process namespaces, with the [`Tree`] as the only files.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use crate::attempt::{Attempt, Failure, in_helper, wait_for};
use crate::sys::check;
use crate::tree::Tree;

/// The user that runs code when the launcher runs as root.
pub const NOBODY: u32 = 65534;

/// Which users exist in the user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdMap {
    /// Root, for setting up, and [`NOBODY`], for running code. Only real root can map two users.
    RootAndNobody,
    /// The current user.
    Own,
}

impl IdMap {
    /// The maps to try, the best first.
    pub fn candidates() -> &'static [Self] {
        // SAFETY: no arguments, cannot fail.
        match unsafe { libc::geteuid() } {
            0 => &[Self::RootAndNobody, Self::Own],
            _ => &[Self::Own],
        }
    }

    /// The user to become after setting up; none is staying who one is.
    pub fn user(self) -> Option<u32> {
        match self {
            Self::RootAndNobody => Some(NOBODY),
            Self::Own => None,
        }
    }
}

/// Finds out, in a helper process, whether [`enter`] and [`enter_call_namespace`] work here.
pub fn try_out(map: IdMap, tree: &Tree) -> Attempt<()> {
    in_helper(|| {
        let namespace = enter(map, tree)?;
        enter_call_namespace(&namespace)?;
        in_helper(|| Ok(()))
    })
}

/// Enters the namespaces. The calling process must have one thread. It stays behind as a shim that lives as long as its child; the child,
/// first process of the new process namespace and with the tree as its root, returns from here with a descriptor of that namespace.
pub fn enter(map: IdMap, tree: &Tree) -> Attempt<OwnedFd> {
    unshare_all(map)?;
    // SAFETY: this process has one thread, so the child can go on as its parent would.
    match check(unsafe { libc::fork() }).attempt("forking into the process namespace")? {
        0 => {}
        child => stay_as_shim(child as i32),
    }
    die_with_parent();
    let namespace = File::open("/proc/self/ns/pid").attempt("opening the process namespace")?.into();
    // SAFETY: a C string and its length.
    check(unsafe { libc::sethostname(c"sandbox".as_ptr(), 7) }).attempt("hiding the host's name")?;
    make_mounts_private()?;
    tree.become_root()?;
    Ok(namespace)
}

/// What the zygote does before each call: the next child is the first process of its own process namespace.
fn enter_call_namespace(own: &OwnedFd) -> Attempt<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: no pointers; the descriptor is open.
    unsafe {
        check(libc::setns(own.as_raw_fd(), libc::CLONE_NEWPID)).attempt("going back to the process namespace")?;
        check(libc::unshare(libc::CLONE_NEWPID)).attempt("making a process namespace for a call")?;
    }
    Ok(())
}

/// Has the kernel kill this process when the thread that started its parent is gone. Changing users undoes it, so it is said again then.
pub fn die_with_parent() {
    // SAFETY: no pointers; cannot fail with a valid signal.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

fn unshare_all(map: IdMap) -> Attempt<()> {
    const ALL: i32 =
        libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWPID;
    // SAFETY: no pointers.
    let unshare = || check(unsafe { libc::unshare(ALL) }).map(drop).attempt("making a user namespace");
    match map {
        IdMap::RootAndNobody => with_map_writer(unshare),
        IdMap::Own => {
            // SAFETY: no arguments, cannot fail.
            let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
            unshare()?;
            fs::write("/proc/self/setgroups", "deny").attempt("giving up groups")?;
            fs::write("/proc/self/uid_map", format!("{user} {user} 1")).attempt("mapping the user")?;
            fs::write("/proc/self/gid_map", format!("{group} {group} 1")).attempt("mapping the group")
        }
    }
}

/// Runs `unshare`, then has a helper that stayed outside write the map of two users, which cannot be done from inside.
fn with_map_writer(unshare: impl FnOnce() -> Attempt<()>) -> Attempt<()> {
    let (mut go, told) = io::pipe().attempt("making a pipe")?;
    let process = std::process::id();
    // SAFETY: this process has one thread, so the child can go on as its parent would.
    let helper = check(unsafe { libc::fork() }).attempt("forking the map writer")? as i32;
    if helper == 0 {
        drop(told);
        let map = format!("0 0 1\n{NOBODY} {NOBODY} 1\n");
        let written = go.read_exact(&mut [0]).and_then(|()| {
            fs::write(format!("/proc/{process}/uid_map"), &map)?;
            fs::write(format!("/proc/{process}/gid_map"), &map)
        });
        // SAFETY: ends this process at once.
        unsafe { libc::_exit(i32::from(written.is_err())) }
    }
    drop(go);
    let unshared = unshare();
    let asked = unshared.is_ok() && (&told).write_all(b"x").is_ok();
    drop(told);
    let written = wait_for(helper) == 0;
    unshared?;
    if asked && written { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)).attempt("mapping two users") }
}

fn stay_as_shim(child: i32) -> ! {
    die_with_parent();
    // SAFETY: nothing here uses a descriptor any more; the supervisor must see the channel close when the zygote alone is gone.
    unsafe { libc::syscall(libc::SYS_close_range, 0u32, u32::MAX, 0u32) };
    let code = wait_for(child);
    // SAFETY: ends this process at once.
    unsafe { libc::_exit(code) }
}

fn make_mounts_private() -> Attempt<()> {
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the target is a C string, and the other pointers may be null for a change of propagation.
    let result = unsafe { libc::mount(std::ptr::null(), c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null()) };
    check(result).map(drop).attempt("making mounts private")
}
