# The zygote: it waits for calls and forks a locked-in child for each. It never reads the code of a call, so no child can find another's.
# `warm.py` comes before it in the same program. Only the standard library is used.
import ctypes, gc, json, resource, select, signal, socket, struct, threading
import atexit, io, linecache, site, traceback
import bisect, collections, copy, datetime, decimal, fractions, functools, heapq, itertools, math, operator, re, statistics, string, time, typing

CONFIG = json.loads(sys.argv[1])
FULL = CONFIG["isolation"] == "full"

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
SECCOMP_MODE_FILTER = 2
MADV_COLLAPSE, HUGE_PAGE_BITS = 25, 21
CLOSE_RANGE, LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 436, 444, 445, 446  # the same on every architecture

libc = ctypes.PyDLL(None, use_errno=True)  # PyDLL keeps the interpreter's lock: no other thread between two steps
libc.syscall.restype = ctypes.c_long


class FilterProgram(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def programs(filters):
    return [FilterProgram(len(f) // 16, bytes.fromhex(f)) for f in filters]


CALL_FILTERS = programs(CONFIG["call_filters"])
LIMITS = [getattr(resource, "RLIMIT_" + name) for name in "CPU AS DATA FSIZE NOFILE NPROC SIGPENDING CORE MEMLOCK MSGQUEUE".split()]
LIMITS_MOST = [most if most != resource.RLIM_INFINITY else sys.maxsize for _, most in map(resource.getrlimit, LIMITS)]
NO_CAPABILITIES = struct.pack("Ii", 0x20080522, 0), bytes(24)
SETUP_FAILED = 125
LINE_MAX = 500  # of a traceback: a message or a line of code may have millions


class SetupError(Exception):
    """A call could not be locked in."""


def must(result, what):
    if result < 0:
        raise SetupError("%s: %s" % (what, os.strerror(ctypes.get_errno())))
    return result


def syscall(number, *arguments):
    return libc.syscall(ctypes.c_long(number), *arguments)


def filter_system_calls(programs):
    for program in programs:
        must(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0), "filtering system calls")


# ---- in the child of one call ----


def mount_scratch(size, place):
    """A folder in memory that this process alone sees, which is gone with it."""
    must(libc.unshare(CLONE_NEWNS), "making a mount namespace")
    options = b"size=%d,nr_inodes=4096,mode=700" % size
    must(libc.mount(b"tmpfs", place.encode(), b"tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options), "mounting a scratch folder")
    os.chdir(place)


def restrict(handled, allowed):
    """Landlock: forbids what is handled but for what is allowed below some paths."""
    attributes = struct.pack("%dQ" % len(handled), *handled)
    ruleset = must(syscall(LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0), "making Landlock rules")
    for path, access in allowed:
        place = os.open(path, os.O_PATH)
        must(syscall(LANDLOCK_ADD_RULE, ruleset, 1, struct.pack("=Qi", access, place), 0), "allowing " + path)
        os.close(place)
    must(syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0), "restricting files and signals")
    os.close(ruleset)


def lock_in(limits, zygote):
    """Puts this process under all restrictions. The order matters: the filters come last, since they forbid the other steps."""
    must(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "following the zygote")
    if not FULL and os.getppid() != zygote:
        raise SetupError("the zygote is gone")
    if CONFIG["scratch"]:
        mount_scratch(*CONFIG["scratch"])
    if FULL:
        # So that its threads are counted apart from those of other calls. Where that cannot be, they share the limit.
        libc.unshare(CLONE_NEWUSER)
    # Soft and hard limits are equal: only the hard CPU limit sends SIGKILL, which no process can ignore.
    memory, threads = limits["memory_bytes"], limits["threads"] + CONFIG["other_tasks"]
    wanted = limits["cpu_s"], memory, memory, limits["file_bytes"], limits["open_files"], threads, 64, 0, 0, 0
    for kind, most, value in zip(LIMITS, LIMITS_MOST, wanted):
        value = min(value, most)
        resource.setrlimit(kind, (value, value))
    must(libc.capset(*NO_CAPABILITIES), "dropping capabilities")
    must(libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "hiding from other processes")
    must(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "setting no_new_privs")
    if CONFIG["landlock"]:
        restrict(**CONFIG["landlock"])
    filter_system_calls(CALL_FILTERS)


def child(request, files, status, zygote):
    """The whole life of the process of one call."""
    code, stdin, stdout, stderr = files
    try:
        os.setsid()  # out of the zygote's process group: a signal to group 0 stays here
        text = os.read(code, request["code_bytes"])
        for source, place in ((stdin, 0), (stdout, 1), (stderr, 2), (status, 3)):
            os.dup2(source, place, inheritable=False)
        must(syscall(CLOSE_RANGE, 4, ctypes.c_uint(0xFFFFFFFF), 0), "closing files")
        status = 3
        lock_in(request["limits"], zygote)
        os.write(status, b"+")
        os.close(status)
    except BaseException as error:
        os.write(status, ("-%s: %s" % (type(error).__name__, error)).encode()[:1000])
        os._exit(SETUP_FAILED)
    exit_code = 1
    try:
        exit_code = run(text)
    finally:
        os._exit(exit_code)


def run(text):
    """Runs the code as `python main.py` would; returns the exit code."""
    gc.enable()
    exit_code = 0
    try:
        linecache.cache["main.py"] = (lambda: text.decode("utf-8", "replace"),)  # split into lines only when a traceback asks
        exec(compile(text, "main.py", "exec"), MAIN.__dict__)
    except SystemExit as end:
        exit_code = exit_code_of(end.code)
    except BaseException as error:
        exit_code = 1
        report(error)
    for last in (threading._shutdown, atexit._run_exitfuncs, sys.stdout.flush, sys.stderr.flush):
        try:
            last()
        except BaseException:
            pass
    return exit_code


def exit_code_of(code):
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 255 if -(1 << 63) <= code < 1 << 63 else 255  # as in C, where one that is no long becomes -1
    try:
        print(code, file=sys.stderr)
    except BaseException:
        pass
    return 1


def shorten(line):
    return line if len(line) <= LINE_MAX else "%s [... %d characters left out ...]" % (line[:LINE_MAX], len(line) - LINE_MAX)


def report(error):
    """CPython's own traceback, without the frame of `run`."""
    try:
        trace = error.__traceback__.tb_next
        text = "".join(traceback.TracebackException(type(error), error, trace, compact=True).format())
        sys.stderr.write("\n".join(map(shorten, text.split("\n"))))
    except BaseException:  # memory or recursion may be used up
        os.write(2, type(error).__name__.encode() + b"\n")


# ---- in the zygote ----

MAIN = type(sys)("__main__")  # the module that code runs as
POOL_BYTES = 16 << 10
FILLERS, FILLERS_MAX = [], 1 << 15


def stream(fd, mode):
    raw = io.FileIO(fd, mode, closefd=False)
    if mode == "r":
        return io.TextIOWrapper(io.BufferedReader(raw), "utf-8")
    # By lines, so that what was printed is there when a limit ends the call.
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=True)


def prepare_main():
    """Makes the interpreter look like one that is about to run main.py, once for all calls: each would pay for it in copied pages."""
    MAIN.__dict__.update(__builtins__=__builtins__, __file__="main.py")
    for add in (site.setquit, site.sethelper, site.setcopyright):  # exit() and others, which `-S` leaves out
        add()
    sys.modules["__main__"] = MAIN
    sys.argv = ["main.py"]
    log, null, stdin, (reader, writer) = os.dup(1), os.dup(0), os.memfd_create("stdin"), os.pipe()
    # A stream finds out once what kind of file it has: stdin is a file in memory, stdout and stderr are pipes.
    for source, place in ((stdin, 0), (writer, 1), (writer, 2)):
        os.dup2(source, place)
    sys.stdin = sys.__stdin__ = stream(0, "r")
    sys.stdout = sys.__stdout__ = stream(1, "w")
    sys.stderr = sys.__stderr__ = stream(2, "w")
    for source, place in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, place)
    for fd in (log, null, stdin, reader, writer):
        os.close(fd)


def watch(process):
    """A pidfd of a child; a child that cannot be watched is ended."""
    try:
        return os.pidfd_open(process)
    except OSError:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        raise


class Zygote:
    def __init__(self, channel):
        self.channel = channel
        self.poll = select.poll()
        self.poll.register(channel, select.POLLIN)
        self.children = {}  # pidfd -> (process, call, when it began, read end of its status pipe)
        self.process = os.getpid()

    def serve(self):
        while True:
            for fd, _ in self.poll.poll():
                if fd == self.channel.fileno():
                    self.accept()
                else:
                    self.reap(fd)

    def send(self, event, fds=(), **fields):
        message = json.dumps(dict(event=event, **fields)).encode()
        socket.send_fds(self.channel, [message], fds)

    def accept(self):
        message, files, _, _ = socket.recv_fds(self.channel, 1 << 16, 4)
        if not message:
            os._exit(0)
        request = json.loads(message)
        try:
            self.start(request, files)
        except (OSError, SetupError) as error:
            self.send("exited", id=request["id"], status=0, cpu_s=0.0, wall_s=0.0, peak_rss_bytes=0, setup=str(error))
        finally:
            for fd in files:
                os.close(fd)

    def start(self, request, files):
        if FULL:
            must(libc.setns(CONFIG["process_namespace"], CLONE_NEWPID), "going back to the process namespace")
            must(libc.unshare(CLONE_NEWPID), "making a process namespace")
        seed_generators(request["seed"])  # before the fork, so that no call has to copy what this changes
        status_read, status_write = os.pipe()
        try:
            began = time.monotonic()
            # The C library's own, since Python's would reseed generators and look after threads and locks, of which there are none here.
            process = must(libc.fork(), "forking")
            if process == 0:
                child(request, files, status_write, self.process)
            handle = watch(process)
        except (OSError, SetupError):
            os.close(status_read)
            raise
        finally:
            os.close(status_write)
        self.children[handle] = (process, request["id"], began, status_read)
        self.poll.register(handle, select.POLLIN)
        self.send("started", [handle], id=request["id"])

    def reap(self, handle):
        process, call, began, status_read = self.children.pop(handle)
        self.poll.unregister(handle)
        os.close(handle)
        _, status, used = os.wait4(process, 0)
        setup = os.read(status_read, 1000)
        os.close(status_read)
        self.send(
            "exited",
            id=call,
            status=status,
            cpu_s=used.ru_utime + used.ru_stime,
            wall_s=time.monotonic() - began,
            peak_rss_bytes=used.ru_maxrss * 1024,
            setup=None if setup == b"+" else setup[1:].decode("utf-8", "replace") or "it was killed before it was locked in",
        )


def fill_gaps():
    """Takes the room that freed objects left between those that stay: a pool of CPython's, for each size from that of the shortest string
    on. What is made from now on lies together, so the zygote and its calls change, and have to copy, fewer of the pages that they share."""
    for size in range(48, 513, 16):
        last = in_a_row = 0
        while in_a_row < POOL_BYTES // size and len(FILLERS) < FILLERS_MAX:
            FILLERS.append(bytes(size - sys.getsizeof(b"")))
            in_a_row = in_a_row + 1 if 0 < id(FILLERS[-1]) - last < 2 * size + 64 else 1
            last = id(FILLERS[-1])


def use_huge_pages():
    """Puts the objects on huge pages: forking and ending a call handles far fewer of them. Where that cannot be, small ones do."""
    for block in sorted({id(thing) >> HUGE_PAGE_BITS for thing in gc.get_objects()}):
        libc.madvise(ctypes.c_void_p(block << HUGE_PAGE_BITS), ctypes.c_size_t(1 << HUGE_PAGE_BITS), MADV_COLLAPSE)


def settle():
    """What is done once, after the last import, so that calls need not do it."""
    prepare_main()
    gc.collect()
    fill_gaps()
    use_huge_pages()
    gc.freeze()  # the collector must not touch, and so copy, the shared pages
    gc.disable()
    filter_system_calls(programs(CONFIG["zygote_filters"]))


def main():
    channel = socket.socket(fileno=os.dup(0))
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    zygote = Zygote(channel)
    step = "preloading " + ", ".join(CONFIG["preload"])
    try:
        sys.path += CONFIG["places"]
        preload(CONFIG["preload"])
        step = "preparing for calls"
        settle()
    except BaseException as error:
        zygote.send("failed", detail="%s: %s: %s" % (step, type(error).__name__, error))
        os._exit(1)
    zygote.send("ready", isolation=CONFIG["isolation"])
    zygote.serve()


main()
