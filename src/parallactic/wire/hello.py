"""What a process of a run says first, and how it calls the client; imports stay few, for supervisors."""

from __future__ import annotations

import os
import socket
import struct
from typing import NamedTuple

from parallactic.wire import auth
from parallactic.wire.framing import Channel

__all__ = ["ROLE_AGENT", "ROLE_LOOP", "ROLE_SUPERVISOR", "Hello", "call_client", "introduce", "receive_hello"]

ROLE_SUPERVISOR, ROLE_LOOP, ROLE_AGENT = 1, 2, 3
_FORMAT = struct.Struct("<BIII")
_SECONDS = 30.0


class Hello(NamedTuple):
    """Who calls."""

    role: int
    worker: int
    epoch: int
    pid: int


def call_client(address: str, key: bytes, role: int, worker: int, epoch: int) -> Channel:
    """Connect to the client's socket, authenticate, and say who calls."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(_SECONDS)
    sock.connect(address)
    return introduce(sock, key, role, worker, epoch)


def introduce(sock: socket.socket, key: bytes, role: int, worker: int, epoch: int) -> Channel:
    """Authenticate on a socket that is connected, and say who calls."""
    auth.connect(sock, key)
    sock.sendall(_FORMAT.pack(role, worker, epoch, os.getpid()))
    sock.settimeout(None)
    return Channel(sock)


def receive_hello(sock: socket.socket) -> Hello:
    """Read who calls, from a peer that is authenticated.

    Raises
    ------
    ConnectionError
        If the peer hangs up instead.
    """
    data = sock.recv(_FORMAT.size, socket.MSG_WAITALL)
    if len(data) < _FORMAT.size:
        raise ConnectionError("the other end hung up before it said who it is.")
    return Hello(*_FORMAT.unpack(data))
