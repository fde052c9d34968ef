//! Thin safe wrappers over the system calls that both sides of the sandbox need and `std` does not offer.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// The value of a system call, or the error that it left in `errno`.
pub fn check<T: Into<i64> + Copy>(result: T) -> io::Result<i64> {
    match result.into() {
        failed if failed < 0 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

/// A file in memory that no path names.
pub fn memory_file() -> io::Result<File> {
    // SAFETY: the name is a C string; a returned descriptor is new and belongs to nobody else.
    unsafe {
        let fd = check(libc::memfd_create(c"agent0".as_ptr(), libc::MFD_CLOEXEC))?;
        Ok(File::from_raw_fd(fd as i32))
    }
}

/// A file in memory with this content, which nobody who gets it can change.
pub fn sealed_file(content: &[u8]) -> io::Result<File> {
    const SEALS: i32 = libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;
    // SAFETY: the name is a C string; a returned descriptor is new and belongs to nobody else.
    let mut file = unsafe {
        let fd = check(libc::memfd_create(c"agent0".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING))?;
        File::from_raw_fd(fd as i32)
    };
    file.write_all(content)?;
    file.rewind()?;
    // SAFETY: a plain change of flags.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, SEALS) })?;
    Ok(file)
}

/// A pair of connected sockets that keep message boundaries.
pub fn message_sockets() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut pair = [0i32; 2];
    // SAFETY: `pair` has room for the two descriptors, which are new and belong to nobody else.
    unsafe {
        check(libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0, pair.as_mut_ptr()))?;
        Ok((OwnedFd::from_raw_fd(pair[0]), OwnedFd::from_raw_fd(pair[1])))
    }
}

/// Makes reads of `fd` return at once.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: plain flag changes on a descriptor that the borrow keeps open.
    unsafe {
        let flags = check(libc::fcntl(fd.as_raw_fd(), libc::F_GETFL))?;
        check(libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags as i32 | libc::O_NONBLOCK))?;
    }
    Ok(())
}

/// Waits until one of `fds` can be read or is closed at its other end, or `timeout` is over.
pub fn wait_readable(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<()> {
    let mut polled: Vec<libc::pollfd> =
        fds.iter().map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 }).collect();
    // Rounded up, so that a wait never ends just before the moment it waits for.
    let milliseconds = timeout.map_or(-1, |t| i32::try_from(t.as_millis() + 1).unwrap_or(i32::MAX));
    // SAFETY: the pointer and the length describe `polled`.
    let result = check(unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, milliseconds) });
    match result {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

/// Kills the process behind a pidfd. That it is gone already is no error.
pub fn kill_process(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no pointers but a null one, which the call allows.
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), libc::SIGKILL, std::ptr::null::<libc::c_void>(), 0) };
    match check(result) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
        _ => Ok(()),
    }
}

/// The CPU time, of all its threads together, that the process behind a pidfd has used; an error when it is gone.
pub fn process_cpu_time(pidfd: BorrowedFd<'_>) -> io::Result<Duration> {
    let pid = pid_of(pidfd)?;
    // The kernel's number of the clock that counts what a process uses (`clock_getcpuclockid` computes the same).
    const SCHEDULED: i32 = 2;
    let clock = (!pid << 3) | SCHEDULED;
    let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `used` is a valid place for the result.
    check(unsafe { libc::clock_gettime(clock, &mut used) })?;
    Ok(Duration::new(used.tv_sec.unsigned_abs(), used.tv_nsec.unsigned_abs() as u32))
}

/// How long the process behind a pidfd could have computed but waited for a CPU: its most delayed thread. Zero where the kernel does not
/// say.
pub fn starved(pidfd: BorrowedFd<'_>) -> Duration {
    let waits = |pid: i32| {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        // Three numbers: nanoseconds on a CPU, nanoseconds ready and waiting for one, and how often.
        let waited = |thread: io::Result<fs::DirEntry>| {
            let numbers = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            numbers.split_whitespace().nth(1)?.parse().ok()
        };
        threads.filter_map(waited).max()
    };
    Duration::from_nanos(pid_of(pidfd).ok().and_then(waits).unwrap_or(0))
}

/// The number of the process behind a pidfd; an error when it is gone.
fn pid_of(pidfd: BorrowedFd<'_>) -> io::Result<i32> {
    let facts = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let pid = facts.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse::<i32>().ok());
    pid.filter(|pid| *pid > 0).ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))
}

/// The version of Landlock's interface that the kernel offers; 0 is none.
pub fn landlock_abi() -> u32 {
    const VERSION: u32 = 1;
    // SAFETY: a null pointer with size 0 is how this call is asked for the version.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0usize, VERSION) };
    u32::try_from(version).unwrap_or(0)
}
