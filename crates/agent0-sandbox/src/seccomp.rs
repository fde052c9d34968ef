//! The system calls that untrusted code may make: a list of harmless ones; everything else fails with "operation not permitted".

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
    apply_filter,
};

use crate::attempt::{Attempt, Failure, in_helper};
use crate::isolation::Isolation;

/// Calls that are allowed whatever their arguments.
const ALLOWED: &[i64] = &[
    // reading and writing what is open
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    // a pair of sockets, made under a condition below; there is no way to connect one
    libc::SYS_recvfrom,
    libc::SYS_getsockname,
    libc::SYS_shutdown,
    // looking at files
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_umask,
    // waiting
    libc::SYS_pselect6,
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_futex,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_restart_syscall,
    // memory
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_msync,
    libc::SYS_brk,
    libc::SYS_membarrier,
    // its own signals and timers
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigsuspend,
    libc::SYS_sigaltstack,
    libc::SYS_getitimer,
    libc::SYS_setitimer,
    // time and chance
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_times,
    libc::SYS_getrandom,
    // who and where it is
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_getpriority,
    libc::SYS_getrusage,
    libc::SYS_getcpu,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    // threads and ending
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // another filter answers this one
    libc::SYS_clone3,
];

/// Older names for the same things, where the architecture has them.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[i64] = &[
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_pipe,
    libc::SYS_dup2,
    libc::SYS_select,
    libc::SYS_poll,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_alarm,
    libc::SYS_pause,
    libc::SYS_time,
    libc::SYS_getpgrp,
    libc::SYS_getrlimit,
    libc::SYS_setrlimit,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[i64] = &[libc::SYS_getrlimit, libc::SYS_setrlimit];

/// The ioctls of terminals and pipes: attributes, window size, bytes waiting, blocking, close-on-exec.
const IOCTLS: &[u64] = &[libc::TCGETS, libc::TIOCGWINSZ, libc::FIONREAD, libc::FIONBIO, libc::FIOCLEX, libc::FIONCLEX];

/// Duplicating, flags, a pipe's size; not its owner, its signal, notification or the setting of a pipe's size, nor locks, which calls that
/// run at the same time could feel.
const FCNTLS: &[i32] = &[
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_GETPIPE_SZ,
    libc::F_GET_SEALS,
];

/// What a call with a scratch folder may do besides; elsewhere the read-only root forbids it.
const ALLOWED_IN_SCRATCH: &[i64] = &[
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_utimensat,
    libc::SYS_truncate,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sendfile,
    libc::SYS_copy_file_range,
];
#[cfg(target_arch = "x86_64")]
const ALLOWED_IN_SCRATCH_HERE: &[i64] =
    &[libc::SYS_mkdir, libc::SYS_rmdir, libc::SYS_unlink, libc::SYS_rename, libc::SYS_symlink, libc::SYS_link, libc::SYS_chmod];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_IN_SCRATCH_HERE: &[i64] = &[libc::SYS_renameat];

/// Names of threads and of memory areas.
const PRCTLS: &[i32] = &[libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA];

/// What the zygote may do beside, to serve and to lock a call in. `clone`, `prctl` and `kill` are among them, which untrusted code has
/// under conditions.
const ALLOWED_TO_ZYGOTE: &[i64] = &[
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_clone,
    libc::SYS_pidfd_open,
    libc::SYS_kill,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_setsid,
    libc::SYS_mount,
    libc::SYS_capset,
    libc::SYS_prctl,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
];

/// The filters, with or without the right of untrusted code to make threads and to write to a scratch folder. The kernel takes the
/// strictest answer of all of them.
///
/// The long list belongs to the zygote, and its children inherit it compiled; what is put on in each call only takes back what the zygote
/// needs for itself, because compiling the list is a tenth of what a call costs.
pub struct Filters {
    /// Put on by the zygote, once.
    pub zygote: Vec<BpfProgram>,
    /// Put on by each call besides.
    pub call: BpfProgram,
}

impl Filters {
    pub fn build(isolation: Isolation, threads: bool, scratch: bool) -> Attempt<Self> {
        let build = || {
            let zygote = [without_clone3()?, allow_list(isolation, scratch)?].into();
            Ok(Self { zygote, call: take_back(isolation, threads)? })
        };
        build().map_err(|e: BackendError| io::Error::other(e)).attempt("building the system-call filters")
    }
}

/// Finds out, in a helper process, whether the filters really forbid.
pub fn try_out() -> Attempt<()> {
    in_helper(|| {
        for filter in Filters::build(Isolation::Landlock, true, false)?.zygote {
            apply_filter(&filter).map_err(io::Error::other).attempt("putting on a filter")?;
        }
        match std::net::UdpSocket::bind("127.0.0.1:0") {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
            _ => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)).attempt("checking that it forbids sockets"),
        }
    })
}

/// Denies `clone3` as unknown, so that the C library goes on with `clone`, whose flags a filter can see.
fn without_clone3() -> Result<BpfProgram, BackendError> {
    let rules = BTreeMap::from([(libc::SYS_clone3, vec![])]);
    compile(rules, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))
}

fn allow_list(isolation: Isolation, scratch: bool) -> Result<BpfProgram, BackendError> {
    let listed = ALLOWED.iter().chain(ALLOWED_HERE).chain(ALLOWED_TO_ZYGOTE);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = listed.map(|&call| (call, vec![])).collect();
    if scratch {
        rules.extend(ALLOWED_IN_SCRATCH.iter().chain(ALLOWED_IN_SCRATCH_HERE).map(|&call| (call, vec![])));
    }
    rules.insert(libc::SYS_socketpair, vec![connected_pair()?]);
    rules.insert(libc::SYS_sendto, vec![without_address()?]);
    rules.insert(libc::SYS_ioctl, one_of(1, IOCTLS.iter().copied())?);
    rules.insert(libc::SYS_fcntl, one_of(1, FCNTLS.iter().map(|&c| c as u64))?);
    rules.insert(libc::SYS_prlimit64, one_of(0, [0])?);
    rules.insert(libc::SYS_openat, opening(isolation, 2)?);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, opening(isolation, 1)?);
    if isolation == Isolation::Full {
        // In its own process namespace, process 1 is the code itself.
        rules.insert(libc::SYS_tgkill, one_of(0, [1])?);
    }
    compile(rules, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)
}

/// Denies to untrusted code what only the zygote may do.
fn take_back(isolation: Isolation, threads: bool) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED_TO_ZYGOTE.iter().map(|&call| (call, vec![])).collect();
    if threads {
        rules.insert(libc::SYS_clone, other_than_threads()?);
    }
    rules.insert(libc::SYS_prctl, none_of(0, PRCTLS.iter().map(|&c| c as u64))?);
    if isolation == Isolation::Full {
        rules.insert(libc::SYS_kill, none_of(0, [1])?);
    }
    compile(rules, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32))
}

/// Opening files, with the flags in argument `flags`; no condition is no rule.
fn opening(isolation: Isolation, flags: u8) -> Result<Vec<SeccompRule>, BackendError> {
    if isolation == Isolation::Full {
        return Ok(vec![]);
    }
    // Opening for reading can truncate, which Landlock does not see before its third version. Opening for writing it does.
    let masked = |mask: i32, value: i32| {
        let op = SeccompCmpOp::MaskedEq(mask as u64);
        SeccompRule::new(vec![SeccompCondition::new(flags, SeccompCmpArgLen::Dword, op, value as u64)?])
    };
    Ok(vec![masked(libc::O_TRUNC, 0)?, masked(libc::O_ACCMODE, libc::O_WRONLY)?, masked(libc::O_ACCMODE, libc::O_RDWR)?])
}

fn compile(rules: BTreeMap<i64, Vec<SeccompRule>>, otherwise: SeccompAction, listed: SeccompAction) -> Result<BpfProgram, BackendError> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, otherwise, listed, arch)?.try_into()
}

/// `clone` for anything but a thread of this process in the same namespaces.
fn other_than_threads() -> Result<Vec<SeccompRule>, BackendError> {
    const NEEDED: [i32; 2] = [libc::CLONE_VM, libc::CLONE_THREAD];
    const NAMESPACES: [i32; 7] = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ];
    let flag = |flag: i32, value: i32| {
        let op = SeccompCmpOp::MaskedEq(flag as u64);
        SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Dword, op, value as u64)?])
    };
    NEEDED.into_iter().map(|needed| flag(needed, 0)).chain(NAMESPACES.into_iter().map(|namespace| flag(namespace, namespace))).collect()
}

/// `socketpair` may make two sockets that are connected to each other for good, as asyncio does to wake itself.
fn connected_pair() -> Result<SeccompRule, BackendError> {
    const KIND: u64 = !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as u32 as u64;
    SeccompRule::new(vec![
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::AF_UNIX as u64)?,
        SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(KIND), libc::SOCK_STREAM as u64)?,
    ])
}

/// `sendto` may send to the other end, and to nowhere else.
fn without_address() -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(4, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?])
}

fn one_of(argument: u8, values: impl IntoIterator<Item = u64>) -> Result<Vec<SeccompRule>, BackendError> {
    let rule = |value| SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?]);
    values.into_iter().map(rule).collect()
}

fn none_of(argument: u8, values: impl IntoIterator<Item = u64>) -> Result<Vec<SeccompRule>, BackendError> {
    let differs = |value| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value);
    Ok(vec![SeccompRule::new(values.into_iter().map(differs).collect::<Result<_, _>>()?)?])
}
