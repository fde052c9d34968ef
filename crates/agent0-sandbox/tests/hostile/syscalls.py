X86_64 = {
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "pidfd_open": 434, "pidfd_getfd": 438,
    "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "unshare": 272, "setns": 308, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsmount": 432, "mount_setattr": 442, "bpf": 321, "io_uring_setup": 425, "io_uring_enter": 426,
    "io_uring_register": 427, "userfaultfd": 323, "perf_event_open": 298, "keyctl": 250, "add_key": 248, "request_key": 249,
    "memfd_create": 319, "memfd_secret": 447, "shmget": 29, "shmat": 30, "msgget": 68, "semget": 64, "mq_open": 240,
    "open_by_handle_at": 304, "name_to_handle_at": 303, "openat2": 437, "splice": 275, "tee": 276, "vmsplice": 278, "sendfile": 40,
    "copy_file_range": 326, "seccomp": 317, "landlock_create_ruleset": 444, "landlock_restrict_self": 446, "capset": 126,
    "setuid": 105, "setresuid": 117, "setgroups": 116, "setfsuid": 122, "personality": 135, "reboot": 169, "swapon": 167,
    "init_module": 175, "finit_module": 313, "kexec_load": 246, "acct": 163, "quotactl": 179, "syslog": 103, "iopl": 172, "ioperm": 173,
    "modify_ldt": 154, "sethostname": 170, "settimeofday": 164, "clock_settime": 227, "adjtimex": 159, "fanotify_init": 300,
    "inotify_init1": 294, "timer_create": 222, "timerfd_create": 283, "signalfd4": 289, "sched_setaffinity": 203,
    "sched_setattr": 314, "setpriority": 141, "ioprio_set": 251, "mlock": 149, "mlockall": 151, "mbind": 237, "migrate_pages": 256,
    "move_pages": 279, "process_madvise": 440, "process_mrelease": 448, "socket": 41, "socketpair": 53, "execve": 59, "vhangup": 153,
    "remap_file_pages": 216, "pkey_alloc": 330, "lookup_dcookie": 212, "creat": 85, "mknod": 133, "uselib": 134, "ustat": 136,
    "sysfs": 139, "cachestat": 451, "statmount": 457, "lsm_list_modules": 461,
}
if os.uname().machine == "x86_64":
    for name, number in X86_64.items():
        try:
            print("POSSIBLE:", name, syscall(number, 0, 0, 0, 0, 0, 0))
        except OSError as error:
            if error.errno != errno.EPERM:
                print("POSSIBLE:", name, "reaches the kernel:", error)
    # The same calls by their numbers for 32-bit pointers.
    for number in [0, 1, 39, 41, 57, 512 + 8, 520]:
        refused("x32 %d" % number, lambda: syscall(0x40000000 | number, 0, 0, 0))
    # An argument in the upper half of a register must not fool a filter that looks at the lower half.
    refused("kill with a long number", lambda: syscall(62, (1 << 32) | 2, 0))
    refused("prlimit with a long number", lambda: syscall(302, 2, 0, 0, 0))
