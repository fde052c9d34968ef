#: sockets of every kind = silent
import socket

for family in [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_PACKET, socket.AF_NETLINK, socket.AF_VSOCK, 38]:
    for kind in [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET]:
        refused("socket %s %s" % (family, kind), lambda: socket.socket(family, kind))
#: names and connections = silent
import socket

refused("resolve a name", lambda: socket.getaddrinfo("example.com", 80))
refused("connect", lambda: socket.create_connection(("127.0.0.1", 22), 1))
import urllib.request

refused("fetch a page", lambda: urllib.request.urlopen("http://127.0.0.1:80/", timeout=1))
#: datagrams to a service of the host, through a pair = silent
import socket

# A pair of datagram sockets could send to any path; one of streams is connected for good.
for kind in [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET, socket.SOCK_RAW]:
    refused("a pair of kind %d" % kind, lambda: socket.socketpair(socket.AF_UNIX, kind))
refused("a pair of another family", lambda: socket.socketpair(socket.AF_INET))
a, b = socket.socketpair()
for path in ["/run/systemd/journal/socket", "/dev/log", "\0abstract"]:
    refused("send to " + path, lambda: a.sendto(b"x", path))
    refused("connect to " + path, lambda: a.connect(path))
    refused("bind to " + path, lambda: a.bind(path))
refused("listen", lambda: a.listen())
#: descriptors sent through a pair = silent
import array, socket

a, b = socket.socketpair()
refused("send a descriptor", lambda: a.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))]))
refused("receive one", lambda: b.recvmsg(1, 100))
refused("options", lambda: a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30))
refused("who is there", lambda: a.getsockopt(socket.SOL_SOCKET, 17, 12))
#: asyncio works = prints [0, 1, 4]
import asyncio


async def square(n):
    await asyncio.sleep(0.001)
    return n * n


async def all_of_them():
    return await asyncio.gather(*(square(n) for n in range(3)))


print(asyncio.run(all_of_them()))
