"""Runs the model's programs in forked children of a process that has numpy and sympy loaded, and tells what they print.

Limits time, memory and output and nothing else: THERE IS NO SANDBOX HERE. Only for a machine that may be lost.
"""

import io
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback

SECONDS, MEMORY, OUTPUT = 5, 3 << 30, 1 << 16


class Tool:
    """Asks a server of its own, from any number of threads."""

    def __init__(self, address: str):
        self.address, self.local = address, threading.local()
        self.server = subprocess.Popen([sys.executable, __file__, address])
        while not os.path.exists(address):
            if self.server.poll() is not None:
                raise SystemExit("the tool's server ended before it began; what it printed says why")
            time.sleep(0.1)

    def __call__(self, program: str) -> str:
        try:
            if not hasattr(self.local, "connection"):
                self.local.connection = socket.socket(socket.AF_UNIX)
                self.local.connection.connect(self.address)
            send(self.local.connection, program)
            return receive(self.local.connection)
        except (OSError, EOFError) as cause:
            del self.local.connection
            return f"[not run: {cause}]"

    def close(self) -> None:
        self.server.kill()


def send(connection: socket.socket, text: str) -> None:
    data = text.encode("utf-8", "replace")
    connection.sendall(struct.pack("<I", len(data)) + data)


def receive(connection: socket.socket) -> str:
    def exactly(n: int) -> bytes:
        data = b""
        while len(data) < n:
            part = connection.recv(n - len(data))
            if not part:
                raise EOFError("the server closed the connection")
            data += part
        return data

    return exactly(struct.unpack("<I", exactly(4))[0]).decode("utf-8", "replace")


def serve(address: str) -> None:
    import numpy  # noqa: F401 (the children have it)
    import sympy  # noqa: F401

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(128)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listener.accept()
        # One process a connection, so that forks are made by one thread.
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                while True:
                    send(connection, run(receive(connection)))
            except EOFError:
                os._exit(0)
        connection.close()


def run(program: str) -> str:
    """What the program printed, then the last line of its error, or why it was stopped."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        execute(program, writing)
    os.close(writing)
    output, end = b"", time.monotonic() + SECONDS + 3
    while len(output) < OUTPUT and (left := end - time.monotonic()) > 0:
        if select.select([reading], [], [], left)[0]:
            part = os.read(reading, OUTPUT)
            if not part:
                break
            output += part
    os.close(reading)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    late = time.monotonic() >= end or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU)
    lines = [output.decode("utf-8", "replace").rstrip("\n")] + [f"killed: CPU limit {SECONDS} s"] * late
    return "\n".join(filter(None, lines)) or "[no output]"


def execute(program: str, output: int) -> None:
    """In the child: never returns."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    nothing = os.open(os.devnull, os.O_RDWR)
    for target, source in ((0, nothing), (1, output), (2, nothing)):
        os.dup2(source, target)
    os.chdir("/tmp")
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb"), write_through=True)
    try:
        exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
    except SystemExit:
        pass
    except BaseException as error:
        print("".join(traceback.format_exception_only(error)).strip().splitlines()[-1])
    finally:
        sys.stdout.flush()
        os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1])
