import fcntl, signal

# A session and process group of its own: a signal to "the group" means nobody else.
assert os.getsid(0) == os.getpgrp() == os.getpid(), (os.getsid(0), os.getpgrp(), os.getpid())
if FULL:
    assert (os.getpid(), os.getppid()) == (1, 0), (os.getpid(), os.getppid())

parent = os.getppid()
others = [0, -1, parent, 2, 1000] + ([] if FULL else [1, os.getpid()])
for process in others:
    for number in [0, signal.SIGCONT]:
        refused("kill %d" % process, lambda: os.kill(process, number))
refused("killpg", lambda: os.killpg(0, signal.SIGCONT))
refused("pidfd_open", lambda: os.pidfd_open(os.getpid()))
refused("setsid", lambda: os.setsid())
refused("setpgid", lambda: os.setpgid(0, 0))
read, write = os.pipe()
refused("signals by files", lambda: fcntl.fcntl(read, fcntl.F_SETOWN, parent or 1))
refused("a larger pipe", lambda: fcntl.fcntl(write, 1031, 1 << 20))
refused("typing into a terminal", lambda: fcntl.ioctl(0, 0x5412, b"x"))
refused("prctl", lambda: libc.prctl(1, 0, 0, 0, 0) == 0 or syscall(157 if os.uname().machine == "x86_64" else 167, 1, 0, 0, 0, 0))

if os.uname().machine == "x86_64":
    TKILL, TGKILL, SIGQUEUE, TGSIGQUEUE, PIDFD_SEND = 200, 234, 129, 297, 424
    info = (ctypes.c_int * 32)(0, 0, -1)
    for process in [parent or 2, 1000]:
        refused("tkill", lambda: syscall(TKILL, process, 0))
        refused("tgkill", lambda: syscall(TGKILL, process, process, 0))
        refused("sigqueue", lambda: syscall(SIGQUEUE, process, signal.SIGCONT, info))
        refused("tgsigqueue", lambda: syscall(TGSIGQUEUE, process, process, signal.SIGCONT, info))
    refused("pidfd_send_signal", lambda: syscall(PIDFD_SEND, 0, 0, 0, 0))

# Its own handlers and timers work.
heard = []
signal.signal(signal.SIGALRM, lambda *_: heard.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.01)
signal.pause()
assert heard
