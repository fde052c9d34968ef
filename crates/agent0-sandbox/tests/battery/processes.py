#: forks and runs programs = silent
import multiprocessing, subprocess

refused("fork", lambda: os.fork() or os._exit(0))
refused("exec", lambda: os.execv(sys.executable, [sys.executable, "-c", "print('escaped')"]))
refused("posix_spawn", lambda: os.posix_spawn("/bin/true", ["true"], {}))
refused("subprocess", lambda: subprocess.run(["/bin/true"]))
refused("popen", lambda: os.popen("true").read())
refused("forkpty", lambda: os.forkpty()[0] or os._exit(0))
if os.system("true") == 0:
    print("POSSIBLE: system")
process = multiprocessing.get_context("fork").Process(target=print)
refused("multiprocessing", process.start)
#: a fork bomb = silent
for _ in range(1000):
    refused("fork", lambda: os.fork() or os._exit(0))
#: a program from memory = silent
refused("memfd", lambda: os.memfd_create("x"))
refused("fexecve", lambda: os.execve(os.open(ctypes.__file__, os.O_RDONLY), ["x"], {}))
#: raw clones = silent
SIGCHLD, THREAD = 17, 0x100 | 0x10000  # CLONE_VM | CLONE_THREAD
child = lambda result: result or os._exit(0)
clone = lambda flags: child(syscall("clone", flags, 0, 0, 0, 0))
refused("clone", lambda: clone(SIGCHLD))
refused("clone a parent's child", lambda: clone(SIGCHLD | 0x8000))
refused("clone with shared memory", lambda: clone(SIGCHLD | 0x100))
for name, flag in [("user", 0x10000000), ("process", 0x20000000), ("network", 0x40000000), ("mount", 0x20000), ("cgroup", 0x2000000)]:
    refused("clone into a new %s namespace" % name, lambda: clone(SIGCHLD | flag))
    refused("a thread in a new %s namespace" % name, lambda: clone(THREAD | flag))
for name in filter(exists, ["fork", "vfork"]):
    refused("raw " + name, lambda: child(syscall(name)))
refused("execveat", lambda: syscall("execveat", -100, b"/bin/true", 0, 0, 0))
#: clone3, whose flags no filter sees = silent
arguments = (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17)
try:
    print("POSSIBLE: clone3", syscall("clone3", arguments, ctypes.sizeof(arguments)) or os._exit(0))
except OSError as error:
    assert error.errno == errno.ENOSYS, error  # so that the C library goes on with clone
#: threads work, but for real root without namespaces, whose threads the kernel does not count = silent
import threading

try:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
except RuntimeError:
    assert not FULL
#: a thread storm = silent
import threading, time

threading.stack_size(1 << 17)
count = 0
try:
    while count < 5000:
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        count += 1
except (RuntimeError, MemoryError):
    pass
if count >= 1000:
    print("POSSIBLE:", count, "threads")
sys.stdout.flush()
os._exit(0)
#: a storm of threads that compute = cpu
import threading, hashlib


def spin():
    while True:
        try:
            hashlib.sha256(bytes(1 << 20)).digest()  # without the interpreter's lock
        except MemoryError:
            pass  # so many stacks may leave no room


try:
    for _ in range(64):
        threading.Thread(target=spin, daemon=True).start()
except (RuntimeError, MemoryError):
    pass
spin()
#: a thread that goes on after the main one = cpu
import threading


def spin():
    while True:
        pass


try:
    threading.Thread(target=spin).start()
except RuntimeError:
    spin()
#: looks into other processes = silent
for name in ["ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_open", "pidfd_getfd"]:
    for process in [1, os.getppid(), os.getpid()]:
        refused("%s %d" % (name, process), lambda: syscall(name, process, 0, 0, 0, 0, 0))
refused("ptrace as a tracee", lambda: syscall("ptrace", 0, 0, 0, 0))
#: zombies = silent
for _ in range(100):
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
        print("POSSIBLE: has children")
    except ChildProcessError:
        pass
