#: raw system calls = silent
CALLS = """
    ptrace process_vm_readv process_vm_writev kcmp pidfd_open pidfd_getfd mount umount2 pivot_root chroot unshare setns open_tree
    move_mount fsopen fsmount mount_setattr bpf io_uring_setup io_uring_enter io_uring_register userfaultfd perf_event_open keyctl
    add_key request_key memfd_create memfd_secret shmget shmat msgget semget mq_open open_by_handle_at name_to_handle_at openat2 splice
    tee vmsplice seccomp landlock_create_ruleset landlock_restrict_self capset setuid setresuid setgroups setfsuid personality reboot
    swapon init_module finit_module kexec_load acct quotactl syslog iopl ioperm modify_ldt sethostname settimeofday clock_settime
    adjtimex fanotify_init inotify_init1 timer_create timerfd_create signalfd4 sched_setaffinity sched_setattr setpriority ioprio_set
    mlock mlockall mbind migrate_pages move_pages process_madvise process_mrelease socket socketpair execve vhangup remap_file_pages
    flock fadvise64 sendmsg recvmsg connect bind listen setsockopt getsockopt futex_waitv map_shadow_stack pkey_alloc lookup_dcookie
    creat mknod uselib ustat sysfs cachestat statmount lsm_list_modules
"""
for name in filter(exists, CALLS.split()):
    try:
        print("POSSIBLE:", name, syscall(name, 0, 0, 0, 0, 0, 0))
    except OSError as error:
        if error.errno != errno.EPERM:
            print("POSSIBLE:", name, "reaches the kernel:", error)
#: copies between files inside the kernel [read-only] = silent
for name in ["sendfile", "copy_file_range"]:
    refused(name, lambda: syscall(name, 0, 0, 0, 0, 0, 0))
#: the same by their numbers for 32-bit pointers [x86-64] = silent
for number in [0, 1, 39, 41, 57, 59, 512 + 8, 520, 521]:
    refused("x32 %d" % number, lambda: syscall(0x40000000 | number, 0, 0, 0))
#: every number there is = ends
ENDS_OR_WAITS = """
    read poll rt_sigreturn select pause nanosleep exit wait4 rt_sigtimedwait rt_sigsuspend futex restart_syscall clock_nanosleep
    exit_group epoll_wait pselect6 ppoll epoll_pwait close mmap mprotect munmap brk mremap dup2 dup3 close_range madvise arch_prctl
    set_tid_address rt_sigaction alarm setitimer set_robust_list rseq
"""
left_out = [NUMBERS[name][ARCHITECTURE] for name in ENDS_OR_WAITS.split()]
for number in range(600):
    if number not in left_out:
        libc.syscall(ctypes.c_long(number), 0, 0, 0, 0, 0, 0)
print("went through")
#: system calls of 32-bit programs [x86-64] = sigsys
import mmap

code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20 (getpid); int 0x80; ret
function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
print("POSSIBLE: 32-bit system calls", function())
#: mounts = silent
refused("mount", lambda: libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None) == 0 or syscall("mount", 0, 0, 0, 0, 0))
refused("unshare", lambda: syscall("unshare", 0x10020000))
refused("remount", lambda: syscall("mount", 0, b"/", 0, 32 | 0x1000, 0))
refused("umount", lambda: syscall("umount2", b"/", 2))
refused("setns", lambda: syscall("setns", 0, 0))
#: a filter or rules of its own = silent
refused("seccomp", lambda: syscall("seccomp", 1, 0, 0))
refused("seccomp by prctl", lambda: syscall("prctl", 22, 2, 0, 0, 0))
refused("capset", lambda: syscall("capset", (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)))
#: capabilities = silent
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
refused("capget", lambda: syscall("capget", header, data) if any(data) else syscall(-1))
refused("setuid program", lambda: os.execv("/usr/bin/su", ["su"]))
for what in ["setuid", "setgid", "seteuid", "setegid"]:
    refused(what, lambda: getattr(os, what)(0))
refused("setgroups", lambda: os.setgroups([0]))
