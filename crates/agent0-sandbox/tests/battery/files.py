#: reads files of the system = silent
SYSTEM = ["/etc/passwd", "/etc/shadow", "/etc/hostname", "/proc/cpuinfo", "/sys/kernel/notes", "/bin/sh", "/etc/resolv.conf", SECRET]
for path in SYSTEM:
    refused("open " + path, lambda: open(path, "rb").read(1))
#: reads /proc = silent
for path in ["self/environ", "self/maps", "self/mem", "self/status", "1/environ", "1/cmdline", "%d/environ" % os.getppid(),
             "self/root/etc/passwd", "self/cwd/etc/passwd", "thread-self/maps", "net/tcp", "sysrq-trigger", "kallsyms"]:
    refused("open /proc/" + path, lambda: open("/proc/" + path, "rb").read(1))
#: reads devices = silent
for path in ["/dev/mem", "/dev/tty", "/dev/ptmx", "/dev/vda", "/dev/sda", "/dev/kmsg", "/dev/fuse", "/dev/kvm", "/dev/shm", "/dev/pts/0"]:
    refused("open " + path, lambda: os.open(path, os.O_RDONLY))
#: lists folders of the host = silent
for path in ["/", "/home", "/root", "/etc", "/proc", "/sys", "/dev", "/tmp", "/var", "/dev/shm", "/run", "/mnt", os.path.dirname(SECRET)]:
    refused("list " + path, lambda: os.listdir(path))
#: sees that paths exist [full] = silent
for path in [SECRET, "/etc/passwd", "/proc/self", "/sys/kernel", "/bin/sh", "/var", "/dev/tty", "/usr/sbin", "/run", "/boot"]:
    if os.path.lexists(path):
        print("POSSIBLE: see", path)
    refused("stat " + path, lambda: os.stat(path))
    refused("readlink " + path, lambda: os.readlink(path))
#: climbs out = silent
refused("climb out", lambda: open("../" * 40 + "etc/passwd").read(1))
refused("climb out of a library", lambda: open(os.path.dirname(os.__file__) + "/" + "../" * 40 + "etc/passwd").read(1))
os.chdir(os.path.dirname(os.__file__))
refused("climb out from there", lambda: open("../" * 40 + "etc/passwd").read(1))
refused("chroot", lambda: os.chroot("/"))
#: climbs out through a descriptor of a folder = silent
here = os.open(os.path.dirname(os.__file__), os.O_RDONLY | os.O_DIRECTORY)
refused("openat upwards", lambda: os.open("../" * 40 + "etc/passwd", os.O_RDONLY, dir_fd=here))
os.fchdir(here)
refused("from the current folder", lambda: os.open("../" * 40 + SECRET.lstrip("/"), os.O_RDONLY))
path_only = os.open("/", os.O_PATH)
refused("through a path descriptor", lambda: os.open(SECRET.lstrip("/"), os.O_RDONLY, dir_fd=path_only))
#: creates files and folders [read-only] = silent
for path in ["x", "/x", "/tmp/x", "/dev/shm/x", "/var/tmp/x", "/scratch/x", SECRET + "-new", os.path.dirname(os.__file__) + "/x.py"]:
    refused("create " + path, lambda: open(path, "w"))
    refused("mkdir " + path, lambda: os.mkdir(path))
    refused("symlink " + path, lambda: os.symlink("/etc/passwd", path))
    refused("mkfifo " + path, lambda: os.mkfifo(path))
    refused("mknod " + path, lambda: os.mknod(path, 0o666))
    refused("unnamed file in " + path, lambda: os.open(os.path.dirname(path) or ".", os.O_TMPFILE | os.O_RDWR))
#: makes a temporary file [read-only] = silent
import tempfile

refused("a temporary file", lambda: tempfile.TemporaryFile())
refused("a temporary folder", lambda: tempfile.mkdtemp())
#: changes a library for the next call = silent
for path in [ctypes.__file__, SECRET, os.__file__]:
    refused("append to " + path, lambda: open(path, "a"))
    refused("truncate " + path, lambda: os.truncate(path, 0))
    refused("truncate by opening " + path, lambda: os.open(path, os.O_RDONLY | os.O_TRUNC))
    refused("truncate by opening, old way, " + path, lambda: os.open(path, os.O_RDONLY | os.O_TRUNC | os.O_CREAT))
    refused("chmod " + path, lambda: os.chmod(path, 0o777))
    refused("chown " + path, lambda: os.chown(path, os.getuid(), os.getgid()))
    refused("utime " + path, lambda: os.utime(path))
    refused("unlink " + path, lambda: os.unlink(path))
    refused("rename " + path, lambda: os.rename(path, path + "-moved"))
    refused("link " + path, lambda: os.link(path, path + "-linked"))
    refused("setxattr " + path, lambda: os.setxattr(path, "user.x", b"x"))
#: writes to a library through memory = silent
import mmap

with open(os.__file__, "rb") as file:
    refused("a shared writable mapping", lambda: mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_WRITE))
    shared = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    # Python refuses to write to it; make the kernel decide.
    libc.mmap.restype = ctypes.c_void_p
    address = libc.mmap(None, ctypes.c_size_t(4096), 1, 1, file.fileno(), ctypes.c_long(0))
    refused("make it writable", lambda: libc.mprotect(ctypes.c_void_p(address), 4096, 3) == 0 or syscall(-1))
#: locks files that others use = silent
import fcntl

file = open(os.__file__)
refused("flock", lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB))
refused("lockf", lambda: fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB))
refused("lease", lambda: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK))
refused("notification", lambda: fcntl.fcntl(os.open(os.path.dirname(os.__file__), os.O_RDONLY), fcntl.F_NOTIFY, 1))
#: plants a module where Python looks [read-only] = silent
for place in sys.path + [os.getcwd(), os.path.expanduser("~")]:
    refused("plant in " + place, lambda: open(os.path.join(place, "sitecustomize.py"), "w"))
#: what must work with files = silent
open("/dev/null", "w").write("x")
assert open("/dev/zero", "rb").read(1) == b"\0" and len(os.urandom(8)) == 8 and len(open("/dev/urandom", "rb").read(1)) == 1
assert "class" in open(ctypes.__file__).read()
