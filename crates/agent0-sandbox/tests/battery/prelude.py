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


def syscall(number, *arguments):
    """A raw system call; an OSError when it is refused."""
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


X86_64 = os.uname().machine == "x86_64"
