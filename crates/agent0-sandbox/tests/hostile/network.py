import socket

for family in [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_PACKET, socket.AF_NETLINK, socket.AF_VSOCK, 38]:
    for kind in [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET]:
        refused("socket %s %s" % (family, kind), lambda: socket.socket(family, kind))
refused("socketpair", lambda: socket.socketpair())
refused("resolve a name", lambda: socket.getaddrinfo("example.com", 80))
refused("connect", lambda: socket.create_connection(("127.0.0.1", 22), 1))
