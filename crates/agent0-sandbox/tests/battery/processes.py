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
if X86_64:
    SIGCHLD, CLONE, FORK, VFORK, EXECVEAT = 17, 56, 57, 58, 322
    THREAD = 0x100 | 0x10000  # CLONE_VM | CLONE_THREAD
    child = lambda result: result or os._exit(0)
    refused("clone", lambda: child(syscall(CLONE, SIGCHLD, 0, 0, 0, 0)))
    refused("clone a parent's child", lambda: child(syscall(CLONE, SIGCHLD | 0x8000, 0, 0, 0, 0)))
    refused("clone with shared memory", lambda: child(syscall(CLONE, SIGCHLD | 0x100, 0, 0, 0, 0)))
    for name, flag in [("user", 0x10000000), ("process", 0x20000000), ("network", 0x40000000), ("mount", 0x20000), ("cgroup", 0x2000000)]:
        refused("clone into a new %s namespace" % name, lambda: child(syscall(CLONE, SIGCHLD | flag, 0, 0, 0, 0)))
        refused("a thread in a new %s namespace" % name, lambda: child(syscall(CLONE, THREAD | flag, 0, 0, 0, 0)))
    refused("raw fork", lambda: child(syscall(FORK)))
    refused("vfork", lambda: child(syscall(VFORK)))
    refused("execveat", lambda: syscall(EXECVEAT, -100, b"/bin/true", 0, 0, 0))
#: clone3, whose flags no filter sees = silent
if X86_64:
    arguments = (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17)
    try:
        print("POSSIBLE: clone3", syscall(435, arguments, ctypes.sizeof(arguments)) or os._exit(0))
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

threading.stack_size(65536)
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
if X86_64:
    CALLS = {"ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "pidfd_open": 434, "pidfd_getfd": 438}
    for name, number in CALLS.items():
        for process in [1, os.getppid(), os.getpid()]:
            refused("%s %d" % (name, process), lambda: syscall(number, process, 0, 0, 0, 0, 0))
    refused("ptrace as a tracee", lambda: syscall(101, 0, 0, 0, 0))
#: zombies = silent
for _ in range(100):
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
        print("POSSIBLE: has children")
    except ChildProcessError:
        pass
