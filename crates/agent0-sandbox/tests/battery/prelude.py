# Comes before every case. FULL and SECRET are defined before it.
import ctypes, errno, os, sys

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def refused(what, action):
    """The system must refuse; anything but its refusal is a finding."""
    try:
        result = action()
    except OSError:
        return
    print("POSSIBLE:", what, "->", repr(result)[:100])


def syscall(call, *arguments):
    """A raw system call, by its name or number; an OSError when it is refused."""
    number = NUMBERS[call][ARCHITECTURE] if isinstance(call, str) else call
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def exists(call):
    """Whether this architecture has a system call of this name."""
    return NUMBERS[call][ARCHITECTURE] is not None


ARCHITECTURE = ["x86_64", "aarch64"].index(os.uname().machine)
# Of system calls, on each of these; None where there is no such call.
NUMBERS = {
    "acct": (163, 89), "add_key": (248, 217), "adjtimex": (159, 171), "alarm": (37, None), "arch_prctl": (158, None), "bind": (49, 200),
    "bpf": (321, 280), "brk": (12, 214), "cachestat": (451, 451), "capget": (125, 90), "capset": (126, 91), "chroot": (161, 51),
    "clock_nanosleep": (230, 115), "clock_settime": (227, 112), "clone": (56, 220), "clone3": (435, 435), "close": (3, 57),
    "close_range": (436, 436), "connect": (42, 203), "copy_file_range": (326, 285), "creat": (85, None), "dup2": (33, None),
    "dup3": (292, 24), "epoll_pwait": (281, 22), "epoll_wait": (232, None), "execve": (59, 221), "execveat": (322, 281),
    "exit": (60, 93), "exit_group": (231, 94), "fadvise64": (221, 223), "fanotify_init": (300, 262), "finit_module": (313, 273),
    "flock": (73, 32), "fork": (57, None), "fsmount": (432, 432), "fsopen": (430, 430), "futex": (202, 98), "futex_waitv": (449, 449),
    "getsockopt": (55, 209), "init_module": (175, 105), "inotify_init1": (294, 26), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "io_uring_setup": (425, 425), "ioperm": (173, None), "iopl": (172, None), "ioprio_set": (251, 30),
    "kcmp": (312, 272), "kexec_load": (246, 104), "keyctl": (250, 219), "kill": (62, 129), "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446), "listen": (50, 201), "lookup_dcookie": (212, 18), "lsm_list_modules": (461, 461),
    "madvise": (28, 233), "map_shadow_stack": (453, None), "mbind": (237, 235), "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "migrate_pages": (256, 238), "mknod": (133, None), "mlock": (149, 228), "mlockall": (151, 230), "mmap": (9, 222),
    "modify_ldt": (154, None), "mount": (165, 40), "mount_setattr": (442, 442), "move_mount": (429, 429), "move_pages": (279, 239),
    "mprotect": (10, 226), "mq_open": (240, 180), "mremap": (25, 216), "msgget": (68, 186), "munmap": (11, 215),
    "name_to_handle_at": (303, 264), "nanosleep": (35, 101), "open_by_handle_at": (304, 265), "open_tree": (428, 428),
    "openat2": (437, 437), "pause": (34, None), "perf_event_open": (298, 241), "personality": (135, 92), "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pivot_root": (155, 41), "pkey_alloc": (330, 289), "poll": (7, None),
    "ppoll": (271, 73), "prctl": (157, 167), "prlimit64": (302, 261), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pselect6": (270, 72), "ptrace": (101, 117), "quotactl": (179, 60),
    "read": (0, 63), "reboot": (169, 142), "recvmsg": (47, 212), "remap_file_pages": (216, 234), "request_key": (249, 218),
    "restart_syscall": (219, 128), "rseq": (334, 293), "rt_sigaction": (13, 134), "rt_sigqueueinfo": (129, 138),
    "rt_sigreturn": (15, 139), "rt_sigsuspend": (130, 133), "rt_sigtimedwait": (128, 137), "rt_tgsigqueueinfo": (297, 240),
    "sched_setaffinity": (203, 122), "sched_setattr": (314, 274), "seccomp": (317, 277), "select": (23, None), "semget": (64, 190),
    "sendfile": (40, 71), "sendmsg": (46, 211), "set_robust_list": (273, 99), "set_tid_address": (218, 96), "setfsuid": (122, 151),
    "setgroups": (116, 159), "sethostname": (170, 161), "setitimer": (38, 103), "setns": (308, 268), "setpriority": (141, 140),
    "setresuid": (117, 147), "setsockopt": (54, 208), "settimeofday": (164, 170), "setuid": (105, 146), "shmat": (30, 196),
    "shmget": (29, 194), "signalfd4": (289, 74), "socket": (41, 198), "socketpair": (53, 199), "splice": (275, 76),
    "statmount": (457, 457), "swapon": (167, 224), "sysfs": (139, None), "syslog": (103, 116), "tee": (276, 77), "tgkill": (234, 131),
    "timer_create": (222, 107), "timerfd_create": (283, 85), "tkill": (200, 130), "umount2": (166, 39), "unshare": (272, 97),
    "uselib": (134, None), "userfaultfd": (323, 282), "ustat": (136, None), "vfork": (58, None), "vhangup": (153, 58),
    "vmsplice": (278, 75), "wait4": (61, 260),
}
