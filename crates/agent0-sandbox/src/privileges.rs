//! Giving up privileges for good: capabilities, the root user, and gaining any of them by running a program.
#![allow(unsafe_code)]

use crate::attempt::{Attempt, Failure};
use crate::sys::check;

const CAP_SYS_ADMIN: u32 = 21;
/// Higher than any capability there is; the kernel refuses numbers that it does not know.
const CAP_END: u32 = 64;
const SECBIT_NOROOT: i32 = 1;
const SECBIT_NOROOT_LOCKED: i32 = 1 << 1;
const SECBIT_KEEP_CAPS: i32 = 1 << 4;

/// `struct __user_cap_header_struct` of capset(2).
#[repr(C)]
struct CapHeader {
    version: u32,
    process: i32,
}

/// `struct __user_cap_data_struct` of capset(2): 32 of the capabilities.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAP_HEADER: CapHeader = CapHeader { version: 0x2008_0522, process: 0 };

/// What may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// Administration of the private user namespace, for the zygote: each call gets a process namespace. Its children drop it.
    NamespaceAdmin,
}

/// Becomes `user` (if any), keeps only `keep`, and makes sure that no program run later gains anything.
pub fn give_up(user: Option<u32>, keep: Keep) -> Attempt<()> {
    if has_capabilities()? {
        drop_bounding_set(keep)?;
        // The root user is no longer special: a program that it runs gets no capabilities.
        set_securebits(SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_KEEP_CAPS)?;
        if let Some(user) = user {
            become_user(user)?;
        }
        keep_only(keep)?;
    }
    // SAFETY: no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map(drop).attempt("setting no_new_privs")
}

/// Becomes `user`, alone in the group of the same number.
pub fn become_user(user: u32) -> Attempt<()> {
    // SAFETY: an empty list of groups needs no pointer.
    unsafe {
        check(libc::setgroups(0, std::ptr::null())).attempt("leaving all groups")?;
        check(libc::setresgid(user, user, user)).attempt("changing the group")?;
        check(libc::setresuid(user, user, user)).attempt("changing the user")?;
    }
    Ok(())
}

fn has_capabilities() -> Attempt<bool> {
    let mut data = [CapData::default(); 2];
    // SAFETY: the header asks for the version that fills two data structures.
    check(unsafe { libc::syscall(libc::SYS_capget, &CAP_HEADER, data.as_mut_ptr()) }).attempt("reading capabilities")?;
    Ok(data.iter().any(|d| d.permitted != 0))
}

fn drop_bounding_set(keep: Keep) -> Attempt<()> {
    for capability in 0..CAP_END {
        if keep == Keep::NamespaceAdmin && capability == CAP_SYS_ADMIN {
            continue;
        }
        // SAFETY: no pointers.
        match check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }) {
            Err(error) if error.raw_os_error() != Some(libc::EINVAL) => return Err(error).attempt("dropping a capability"),
            _ => {}
        }
    }
    Ok(())
}

fn set_securebits(bits: i32) -> Attempt<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, bits, 0, 0, 0) }).map(drop).attempt("making root an ordinary user")
}

fn keep_only(keep: Keep) -> Attempt<()> {
    let kept = match keep {
        Keep::Nothing => 0,
        Keep::NamespaceAdmin => 1 << CAP_SYS_ADMIN,
    };
    let data = [CapData { effective: kept, permitted: kept, inheritable: kept }, CapData::default()];
    // SAFETY: the header announces the version that has two data structures; the prctl has no pointers.
    unsafe {
        check(libc::syscall(libc::SYS_capset, &CAP_HEADER, data.as_ptr())).attempt("dropping capabilities")?;
        if keep == Keep::NamespaceAdmin {
            let result = libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0);
            check(result).attempt("keeping the namespace's administration")?;
        }
    }
    Ok(())
}
