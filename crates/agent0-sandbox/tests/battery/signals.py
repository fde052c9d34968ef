#: signals to others = silent
import signal

parent = os.getppid()
for process in [0, -1, parent, 2, 1000] + ([] if FULL else [1, os.getpid()]):
    for number in [0, signal.SIGCONT, signal.SIGKILL] if process not in (0, -1) else [0, signal.SIGCONT]:
        refused("kill %d" % process, lambda: os.kill(process, number))
refused("killpg", lambda: os.killpg(0, signal.SIGCONT))
refused("pidfd_open", lambda: os.pidfd_open(os.getpid()))
#: kills everything it can name = ends
for process in [0, -1] + list(range(2, 3000)) + [1]:
    try:
        os.kill(process, 9)
    except OSError:
        pass
#: its group and session are its own = silent
assert os.getsid(0) == os.getpgrp() == os.getpid(), (os.getsid(0), os.getpgrp(), os.getpid())
if FULL:
    assert (os.getpid(), os.getppid()) == (1, 0), (os.getpid(), os.getppid())
refused("setsid", lambda: os.setsid())
refused("setpgid", lambda: os.setpgid(0, 0))
#: raw ways to signal = silent
info = (ctypes.c_int * 32)(0, 0, -1)
for process in [os.getppid() or 2, 1000]:
    refused("tkill", lambda: syscall("tkill", process, 0))
    refused("tgkill", lambda: syscall("tgkill", process, process, 0))
    refused("sigqueue", lambda: syscall("rt_sigqueueinfo", process, 18, info))
    refused("tgsigqueue", lambda: syscall("rt_tgsigqueueinfo", process, process, 18, info))
refused("pidfd_send_signal", lambda: syscall("pidfd_send_signal", 0, 0, 0, 0))
# An argument in the upper half of a register must not fool a filter that looks at the lower half.
refused("kill with a long number", lambda: syscall("kill", (1 << 32) | 2, 0))
#: signals by way of files and terminals = silent
import fcntl

read, write = os.pipe()
refused("signals by files", lambda: fcntl.fcntl(read, fcntl.F_SETOWN, os.getppid() or 1))
refused("which signal", lambda: fcntl.fcntl(read, 10, 9))
refused("a larger pipe", lambda: fcntl.fcntl(write, 1031, 1 << 20))
for request in [0x5412, 0x540E, 0x5410, 0x5422]:  # TIOCSTI, TIOCSCTTY, TIOCSPGRP, TIOCNOTTY
    for fd in (0, 1, 2):
        refused("ioctl %x" % request, lambda: fcntl.ioctl(fd, request, b"x"))
refused("asynchronous input", lambda: fcntl.ioctl(1, 0x5452, b"\1\0\0\0"))
#: process controls = silent
for option in [1, 3, 4, 8, 15 + 7, 24, 28, 36, 38, 53, 0x59616D61]:  # all but naming threads and memory
    refused("prctl %d" % option, lambda: syscall("prctl", option, 0, 0, 0, 0))
#: its own handlers and timers work = silent
import signal

heard = []
signal.signal(signal.SIGALRM, lambda *_: heard.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)  # again and again: the first may come before the pause
signal.pause()
assert heard
#: stops itself = ends
import signal

os.kill(os.getpid(), signal.SIGSTOP)
signal.raise_signal(signal.SIGTSTP)
os.kill(os.getpid(), signal.SIGKILL)
#: aborts = signal
os.abort()
#: reads where nothing is = signal
ctypes.string_at(0)
#: a handler that makes every fault again = cpu or signal
import faulthandler, signal

faulthandler.enable()
for number in set(signal.Signals) - {9, 19}:
    signal.signal(number, lambda *_: None)
ctypes.string_at(0)
#: ignores every signal = cpu
import signal

for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
while True:
    pass
#: a storm of its own timers = cpu
import signal

signal.signal(signal.SIGALRM, lambda *_: None)
signal.signal(signal.SIGPROF, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 1e-5, 1e-5)
signal.setitimer(signal.ITIMER_PROF, 1e-5, 1e-5)
while True:
    pass
