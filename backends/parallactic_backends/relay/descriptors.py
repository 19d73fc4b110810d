"""Shared memory on its way through a link: by name between processes of one host, else as bytes."""

from __future__ import annotations

import mmap
import os

from parallactic.wire.payload import Buffer
from parallactic_backends.relay.link import LinkLost

__all__ = ["contents", "memory_of", "open_of"]


def contents(fd: int) -> Buffer:
    """Return the bytes behind a descriptor, without copying them."""
    size = os.fstat(fd).st_size
    return memoryview(mmap.mmap(fd, size, access=mmap.ACCESS_READ)) if size else b""


def memory_of(body: Buffer) -> int:
    """Return a descriptor of new anonymous memory that holds `body`."""
    fd = os.memfd_create("parallactic", os.MFD_CLOEXEC)
    view = memoryview(body).cast("B")
    while view:
        view = view[os.write(fd, view) :]
    return fd


def open_of(pid: int, fd: int) -> int:
    """Open what another process of this host and user has under the descriptor `fd`.

    Raises
    ------
    LinkLost
        If that process has died.
    """
    try:
        return os.open(f"/proc/{pid}/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise LinkLost(f"process {pid} died before its shared memory was taken over.") from error
