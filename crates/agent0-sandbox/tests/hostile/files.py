import tempfile

SYSTEM = ["/etc/passwd", "/etc/shadow", "/etc/hostname", "/proc/self/environ", "/proc/self/maps", "/proc/self/mem", "/proc/self/status"]
SYSTEM += ["/proc/1/environ", "/proc/cpuinfo", "/sys/kernel/notes", "/dev/mem", "/dev/tty", "/dev/ptmx", "/bin/sh"]
SYSTEM += ["/proc/%d/environ" % os.getppid(), "/proc/self/root/etc/passwd", SECRET]
for path in SYSTEM:
    refused("open " + path, lambda: open(path, "rb").read(1))
for path in ["/", "/home", "/root", "/etc", "/proc", "/sys", "/dev", "/tmp", "/var", "/dev/shm"]:
    refused("list " + path, lambda: os.listdir(path))
refused("climb out", lambda: open("../" * 20 + "etc/passwd").read(1))

if FULL:
    # A process without namespaces can still see whether a path exists; one with them cannot. /proc in particular is not there.
    for path in [SECRET, "/etc/passwd", "/proc/self", "/sys/kernel", "/bin/sh", "/var", "/dev/tty"]:
        if os.path.lexists(path):
            print("POSSIBLE: see", path)

library = ctypes.__file__  # readable, and not to be changed
for path in ["x", "/x", "/tmp/x", "/dev/shm/x", "/var/tmp/x", SECRET + "-new"]:
    refused("create " + path, lambda: open(path, "w"))
    refused("mkdir " + path, lambda: os.mkdir(path))
    refused("symlink " + path, lambda: os.symlink("/etc/passwd", path))
    refused("mkfifo " + path, lambda: os.mkfifo(path))
for path in [library, SECRET]:
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
refused("a temporary file", lambda: tempfile.TemporaryFile())
refused("chroot", lambda: os.chroot("/"))
refused("mknod", lambda: os.mknod("/tmp/x", 0o666))

# What must work.
open("/dev/null", "w").write("x")
assert open("/dev/zero", "rb").read(1) == b"\0" and len(os.urandom(8)) == 8 and len(open("/dev/urandom", "rb").read(1)) == 1
assert "class" in open(library).read()
