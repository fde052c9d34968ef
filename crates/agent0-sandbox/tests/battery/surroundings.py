#: the environment of the user = silent
ALLOWED = {"PATH", "LANG", "HOME", "PYTHONHASHSEED", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "LC_CTYPE"}
if set(os.environ) - ALLOWED:
    print("POSSIBLE: see", set(os.environ) - ALLOWED)
# Also what the process was started with, on its stack.
environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, "environ")
index = 0
while environ[index]:
    if environ[index].split(b"=")[0].decode() not in ALLOWED:
        print("POSSIBLE: see", environ[index])
    index += 1
#: inherited descriptors = silent
def is_open(fd):
    try:
        os.fstat(fd)
        return True
    except OSError:
        return False


found = [fd for fd in range(1 << 16) if is_open(fd)]
if found != [0, 1, 2]:
    print("POSSIBLE: use", found)
assert os.read(0, 1) == b""
#: changes its own code and input = silent
refused("write to stdin", lambda: os.write(0, b"x"))
refused("truncate stdin", lambda: os.ftruncate(0, 100))
#: reads its own output back = silent
for fd in (1, 2):
    refused("read", lambda: os.read(fd, 1))
    refused("seek", lambda: os.lseek(fd, 0, 0))
#: raises its limits = silent
import resource

for name in dir(resource):
    if name.startswith("RLIMIT_"):
        kind = getattr(resource, name)
        soft, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            try:
                resource.setrlimit(kind, (hard + 1, hard + 1))
                print("POSSIBLE: raise", name)
            except (ValueError, OSError):
                pass
refused("limits of the parent", lambda: resource.prlimit(os.getppid() or 2, resource.RLIMIT_CPU))
refused("prlimit with a long number", lambda: syscall("prlimit64", 2, 0, 0, 0))
#: scheduling = silent
refused("nice", lambda: os.nice(-10))
refused("scheduling", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
refused("affinity", lambda: os.sched_setaffinity(0, {0}))
#: the host's name [full] = silent
assert os.uname().nodename == "sandbox", os.uname()
#: the zygote's objects, through the stack = silent
frame = sys._getframe()
while frame.f_back:
    frame = frame.f_back
world = frame.f_globals
assert "CONFIG" in world and "CALL_FILTERS" in world
refused("the zygote's channel", lambda: os.write(3, b"{}"))
refused("its namespaces", lambda: world["must"](world["libc"].setns(3, 0), "") if world["libc"].unshare(0x20000000) == 0 else syscall(-1))
#: the zygote's objects, through the collector = silent
import gc, socket

for thing in gc.get_objects():
    if isinstance(thing, socket.socket):
        refused("a socket of the zygote", lambda: thing.send(b"{}"))
#: calls the zygote's functions = error
frame = sys._getframe()
while frame.f_back:
    frame = frame.f_back
frame.f_globals["Zygote"](None).start({"id": 1, "seed": 1, "limits": {}}, [0, 1, 1, 2])
#: the code of calls before, in memory = silent
import gc

MARK = "mark of " + "another call"
if [thing for thing in gc.get_objects() if isinstance(thing, dict) and thing is not globals() and MARK in list(thing.values())]:
    print("POSSIBLE: find another call")
#: shared memory and queues = silent
import mmap

for name in ["shmget", "semget", "msgget", "mq_open"]:
    refused(name, lambda: syscall(name, 1234, 4096, 0o1777, 0))
libc.shm_open.restype = ctypes.c_int
refused("shm_open", lambda: libc.shm_open(b"/agent0", 0o102, 0o777) if libc.shm_open(b"/agent0", 0o102, 0o777) >= 0 else syscall(-1))
#: multiprocessing's shared memory = silent
from multiprocessing import shared_memory

refused("shared memory", lambda: shared_memory.SharedMemory("agent0", create=True, size=4096))
#: looks for neighbours = silent
import time

end = time.monotonic() + 0.3
while time.monotonic() < end:
    for process in range(2, 200):
        for what in ["environ", "mem", "fd/1", "root/etc/passwd"]:
            refused("read", lambda: open("/proc/%d/%s" % (process, what), "rb").read(1))
        refused("kill", lambda: os.kill(process, 0))
    for place in ["/tmp", "/dev/shm", "/var/tmp", "/run"]:
        refused("list", lambda: os.listdir(place))
#: pretends that it was not locked in = exit 125
os._exit(125)
#: closes everything and goes on = ends
os.closerange(0, 1000)
os._exit(0)
#: tampers with what later calls use = silent
import builtins, json, math

math.sqrt = builtins.len = lambda *a: 42
builtins.hidden = "mark of another call"
sys.path.clear()
sys.modules["json"] = None
os.environ["X"] = "1"
sys.setrecursionlimit(10**9)
sys.settrace(None)
#: finds nothing that an earlier call left = silent
import builtins, json, math

assert math.sqrt(4) == 2 and len("abc") == 3 and "X" not in os.environ and not hasattr(builtins, "hidden") and sys.getrecursionlimit() < 10**9
