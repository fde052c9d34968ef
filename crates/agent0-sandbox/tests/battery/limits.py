#: an endless loop = cpu
while True:
    pass
#: a huge power = cpu
10 ** 10 ** 10
#: a catastrophic pattern = cpu
import re

re.match("(a*)*b", "a" * 40)
#: a number that is hard to factor = cpu
n, d = (2**61 - 1) * (2**89 - 1), 3
while n % d:
    d += 2
#: loops at exit = cpu
import atexit


@atexit.register
def loop():
    while True:
        pass


#: loops in a destructor = cpu
class Thing:
    def __del__(self):
        while True:
            pass


Thing()
#: catches what should end it = cpu
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
#: raises its CPU limit first = cpu
import resource

try:
    resource.setrlimit(resource.RLIMIT_CPU, (99, 99))
except ValueError:
    pass
while True:
    pass
#: sleeps = wall
import time

time.sleep(1000)
#: closes its output and sleeps = wall
import time

os.close(1)
os.close(2)
time.sleep(1000)
#: waits for what never comes = wall
import select

select.select([os.pipe()[0]], [], [])
#: a deadlock = wall
import threading

lock = threading.Lock()
lock.acquire()
lock.acquire()
#: eight gigabytes = error MemoryError
bytearray(8 << 30)
#: grows without end = error MemoryError or cpu
x = [0]
while True:
    x += x
#: maps without end = error Cannot allocate memory
import mmap

held = []
while True:
    held.append(mmap.mmap(-1, 64 << 20))
#: a zip bomb = cpu or error MemoryError
import io, zipfile

packed = io.BytesIO()
with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
    with archive.open("zeros", "w", force_zip64=True) as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
bomb = b""
while True:
    bomb += zipfile.ZipFile(packed).read("zeros")
#: a number with a billion digits = cpu or error MemoryError
str(10 ** (10**8))
#: endless output = output
while True:
    print("x" * 1000)
#: endless errors = output
while True:
    os.write(2, b"x" * 5000)
#: a hundred megabytes at once = output
sys.stdout.write("x" * 100_000_000)
#: half characters without end = output
while True:
    os.write(1, b"\xe2\x82" * 4096 + b"\xff")
#: as much output as may be, in half characters = ends
for _ in range(1000):
    os.write(1, b"\xf0\x9f\x98" * 1000)
#: bytes that are no text = ends
os.write(1, bytes(range(256)) * 10)
os.write(2, b"\0" * 1000 + b"\x1b[2J")
#: fills the pipe and never ends = output or wall
import fcntl

fcntl.fcntl(1, fcntl.F_SETFL, os.O_NONBLOCK)
while True:
    try:
        os.write(1, b"y" * 65536)
    except BlockingIOError:
        pass
#: as many files as may be = silent
held = []
try:
    while True:
        held.append(open("/dev/null"))
except OSError:
    assert len(held) < 100, len(held)
#: as many pipes, each full = silent
try:
    while True:
        read, write = os.pipe()
        os.set_blocking(write, False)
        try:
            while True:
                os.write(write, bytes(65536))
        except BlockingIOError:
            pass
except OSError:
    pass
#: recursion without end = error RecursionError
def f():
    return 1 + f()


f()
#: recursion in native code = ends
sys.setrecursionlimit(10**9)


def f():
    return 1 + f()


f()
#: deep nesting = ends
eval("(" * 100_000 + ")" * 100_000)
#: an object nested in itself a million times = ends
x = []
for _ in range(1_000_000):
    x = [x]
repr(x)
#: a slow hash = cpu or error MemoryError
class Same:
    def __hash__(self):
        return 1

    def __eq__(self, other):
        return False


set(Same() for _ in range(10**7))
#: code that makes code = cpu or error MemoryError
code = "x = 1\n"
while True:
    code += code
    compile(code, "made", "exec")
#: locked memory = silent
refused("mlock", lambda: syscall("mlock", ctypes.addressof(ctypes.create_string_buffer(1 << 20)), 1 << 20))
refused("huge mapping", lambda: syscall("mmap", 0, 4 << 30, 3, 0x22 | 0x40000, -1, 0))
#: dumps core = signal
import resource

assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
os.abort()
#: jumps into data = signal
buffer = ctypes.create_string_buffer(b"\x0f\x0b" * 100)
ctypes.CFUNCTYPE(None)(ctypes.addressof(buffer))()
#: breaks the interpreter's own memory = ends
ctypes.memset(id(sys), 255, 4096)
sys.path
