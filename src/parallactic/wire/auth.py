"""Mutual authentication of the two ends of a connection, before anything is unpickled.

Both ends hold the run's key. Each sends a fresh nonce and proves the key by an HMAC over both nonces and its
role (the challenge-response of RFC 2104 keys), so neither a stranger who connects nor one who listens in our
place gets a byte of a task.
"""

from __future__ import annotations

import hmac
import os
import socket
from pathlib import Path

__all__ = ["AuthenticationError", "accept", "connect", "new_key", "read_key"]

_NONCE = 32
_DIGEST = 32


class AuthenticationError(ConnectionError):
    """The other end does not hold this run's key."""


def new_key() -> bytes:
    """Return a random key for one run."""
    return os.urandom(32)


def read_key(path: str) -> bytes:
    """Read the key of a run; an empty path means a run without authentication."""
    return Path(path).read_bytes() if path else b""


def accept(sock: socket.socket, key: bytes) -> None:
    """Prove the key to a peer that connected, and ask the same of it.

    Raises
    ------
    AuthenticationError
        If the peer does not hold the key, or hangs up.
    """
    _prove(sock, key, b"listener", b"caller")


def connect(sock: socket.socket, key: bytes) -> None:
    """Prove the key to a peer that this end called, and ask the same of it.

    Raises
    ------
    AuthenticationError
        If the peer does not hold the key, or hangs up.
    """
    _prove(sock, key, b"caller", b"listener")


def _prove(sock: socket.socket, key: bytes, role: bytes, other: bytes) -> None:
    if not key:
        return
    mine = os.urandom(_NONCE)
    sock.sendall(mine)
    theirs = _read(sock, _NONCE)
    if role == b"listener":
        # The one who calls answers first: a stranger learns nothing from this end.
        _check(sock, key, other, theirs, mine)
        sock.sendall(_digest(key, role, mine, theirs))
    else:
        sock.sendall(_digest(key, role, mine, theirs))
        _check(sock, key, other, theirs, mine)


def _check(sock: socket.socket, key: bytes, role: bytes, own: bytes, peers: bytes) -> None:
    if not hmac.compare_digest(_read(sock, _DIGEST), _digest(key, role, own, peers)):
        raise AuthenticationError("the other end does not hold the key of this run; it was refused.")


def _digest(key: bytes, role: bytes, own: bytes, peers: bytes) -> bytes:
    return hmac.digest(key, role + own + peers, "sha256")


def _read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise AuthenticationError("the other end hung up before it was authenticated.")
        data += part
    return data
