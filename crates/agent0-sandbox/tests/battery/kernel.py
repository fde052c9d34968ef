#: raw system calls = silent
CALLS = {
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "pidfd_open": 434, "pidfd_getfd": 438,
    "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "unshare": 272, "setns": 308, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsmount": 432, "mount_setattr": 442, "bpf": 321, "io_uring_setup": 425, "io_uring_enter": 426,
    "io_uring_register": 427, "userfaultfd": 323, "perf_event_open": 298, "keyctl": 250, "add_key": 248, "request_key": 249,
    "memfd_create": 319, "memfd_secret": 447, "shmget": 29, "shmat": 30, "msgget": 68, "semget": 64, "mq_open": 240,
    "open_by_handle_at": 304, "name_to_handle_at": 303, "openat2": 437, "splice": 275, "tee": 276, "vmsplice": 278, "seccomp": 317, "landlock_create_ruleset": 444, "landlock_restrict_self": 446, "capset": 126,
    "setuid": 105, "setresuid": 117, "setgroups": 116, "setfsuid": 122, "personality": 135, "reboot": 169, "swapon": 167,
    "init_module": 175, "finit_module": 313, "kexec_load": 246, "acct": 163, "quotactl": 179, "syslog": 103, "iopl": 172, "ioperm": 173,
    "modify_ldt": 154, "sethostname": 170, "settimeofday": 164, "clock_settime": 227, "adjtimex": 159, "fanotify_init": 300,
    "inotify_init1": 294, "timer_create": 222, "timerfd_create": 283, "signalfd4": 289, "sched_setaffinity": 203,
    "sched_setattr": 314, "setpriority": 141, "ioprio_set": 251, "mlock": 149, "mlockall": 151, "mbind": 237, "migrate_pages": 256,
    "move_pages": 279, "process_madvise": 440, "process_mrelease": 448, "socket": 41, "socketpair": 53, "execve": 59, "vhangup": 153,
    "remap_file_pages": 216, "flock": 73, "fadvise64": 221, "sendmsg": 46, "recvmsg": 47, "connect": 42, "bind": 49, "listen": 50,
    "setsockopt": 54, "getsockopt": 55, "futex_waitv": 449, "map_shadow_stack": 453, "pkey_alloc": 330, "lookup_dcookie": 212, "creat": 85, "mknod": 133, "uselib": 134, "ustat": 136,
    "sysfs": 139, "cachestat": 451, "statmount": 457, "lsm_list_modules": 461,
}
if X86_64:
    for name, number in CALLS.items():
        try:
            print("POSSIBLE:", name, syscall(number, 0, 0, 0, 0, 0, 0))
        except OSError as error:
            if error.errno != errno.EPERM:
                print("POSSIBLE:", name, "reaches the kernel:", error)
#: copies between files inside the kernel [read-only] = silent
if X86_64:
    for number in [40, 326]:
        refused("copy %d" % number, lambda: syscall(number, 0, 0, 0, 0, 0, 0))
#: the same by their numbers for 32-bit pointers = silent
if X86_64:
    for number in [0, 1, 39, 41, 57, 59, 512 + 8, 520, 521]:
        refused("x32 %d" % number, lambda: syscall(0x40000000 | number, 0, 0, 0))
#: every number there is = ends
if X86_64:
    ENDS_OR_WAITS = {0, 7, 15, 23, 34, 35, 60, 61, 128, 130, 202, 219, 230, 231, 232, 270, 271, 281,
                     3, 9, 10, 11, 12, 25, 33, 292, 436, 28, 158, 218, 13, 37, 38, 273, 334}
    for number in range(600):
        if number not in ENDS_OR_WAITS:
            libc.syscall(ctypes.c_long(number), 0, 0, 0, 0, 0, 0)
print("went through")
#: system calls of 32-bit programs = sigsys
import mmap

if not X86_64:
    os.kill(os.getpid(), 31)
code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20 (getpid); int 0x80; ret
function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
print("POSSIBLE: 32-bit system calls", function())
#: mounts = silent
refused("mount", lambda: libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None) == 0 or syscall(165, 0, 0, 0, 0, 0))
if X86_64:
    refused("unshare", lambda: syscall(272, 0x10020000))
    refused("remount", lambda: syscall(165, 0, b"/", 0, 32 | 0x1000, 0))
    refused("umount", lambda: syscall(166, b"/", 2))
    refused("setns", lambda: syscall(308, 0, 0))
#: a filter or rules of its own = silent
if X86_64:
    refused("seccomp", lambda: syscall(317, 1, 0, 0))
    refused("seccomp by prctl", lambda: syscall(157, 22, 2, 0, 0, 0))
    refused("capset", lambda: syscall(126, (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)))
#: capabilities = silent
if X86_64:
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    refused("capget", lambda: syscall(125, header, data) if any(data) else syscall(-1))
    refused("setuid program", lambda: os.execv("/usr/bin/su", ["su"]))
for what in ["setuid", "setgid", "seteuid", "setegid"]:
    refused(what, lambda: getattr(os, what)(0))
refused("setgroups", lambda: os.setgroups([0]))
