"""Run a program in a network of its own, from which one port of this host can be reached and nothing else.

Usage::

    python dask_behind_wall.py PORT COMMAND...

In that network ``127.0.0.1:PORT`` leads to the same address outside; all others there refuse. So is a cluster
seen of which only the scheduler is open to its users.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading

NEW_USER, NEW_NET = 0x10000000, 0x40000000
_SET_FLAGS, _UP = 0x8914, 1


def _enter(port: int) -> socket.socket:
    """Go into a new network with a loopback; return a socket that listens there."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NET | (NEW_USER if os.geteuid() else 0)) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh22x", b"lo", _UP))
    return socket.create_server(("127.0.0.1", port))


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, sink):
            end.close()


def _pass_on(door: socket.socket, port: int) -> None:
    while True:
        inner, _ = door.accept()
        outer = socket.create_connection(("127.0.0.1", port))
        for ends in ((inner, outer), (outer, inner)):
            threading.Thread(target=_pump, args=ends, daemon=True).start()


def main() -> int:
    """Run the command; return its exit code."""
    port, command = int(sys.argv[1]), sys.argv[2:]
    here, there = socket.socketpair()
    child = os.fork()
    if child == 0:
        door = _enter(port)
        socket.send_fds(there, [b"."], [door.fileno()])
        os._exit(subprocess.call(command))
    there.close()
    _, (fd,), _, _ = socket.recv_fds(here, 1, 1)
    threading.Thread(target=_pass_on, args=(socket.socket(fileno=fd), port), daemon=True).start()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
