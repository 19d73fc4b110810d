"""Where the processes of a run connect to: a Unix socket in a private folder, or a port of this host."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from parallactic.errors import BackendUnavailable
from parallactic.threads import start_in_background
from parallactic.wire import auth
from parallactic.wire.hello import Hello, receive_hello

__all__ = ["Listener"]

_HANDSHAKE_SECONDS = 10.0
_LONGEST_PATH = 107
_log = logging.getLogger(__name__)


class Listener:
    """Accepts connections, authenticates each on a thread of its own, and hands them over.

    A subclass may listen elsewhere than at a Unix socket.

    Parameters
    ----------
    key
        The run's key; empty if the run is insecure.
    welcome
        Called, on any thread, with each authenticated, non-blocking socket and who calls. It must take the
        socket with `taken`, or it is closed at the end.

    Raises
    ------
    BackendUnavailable
        If the name of the temporary folder is too long for a socket.
    """

    def __init__(self, key: bytes, welcome: Callable[[socket.socket, Hello], None]) -> None:
        self._key = key
        self._welcome = welcome
        self._socket = self.open()
        self._lock = threading.Lock()
        self._guests: set[socket.socket] = set()
        self._closed = False
        self._thread = threading.Thread(target=self._accept, name="parallactic-accept", daemon=True)

    def open(self) -> socket.socket:
        """Make the socket, and bind it."""
        # A socket's path has at most 108 bytes, which a run folder may exceed.
        self._folder = Path(tempfile.mkdtemp(prefix="parallactic-"))
        if len(os.fsencode(self.address)) > _LONGEST_PATH:
            self._folder.rmdir()
            raise BackendUnavailable(
                f"the name of the temporary folder {tempfile.gettempdir()} is too long for a socket in it; "
                "set TMPDIR to a folder with a shorter name, on a disk of this host."
            )
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(self.address)
        return sock

    def remove(self) -> None:
        """Remove what `open` made, besides the socket."""
        shutil.rmtree(self._folder)

    @property
    def address(self) -> str:
        """Path of the socket."""
        return str(self._folder / "socket")

    def start(self) -> None:
        """Begin to listen."""
        self._socket.listen(128)
        start_in_background(self._thread)

    def taken(self, sock: socket.socket) -> None:
        """Leave a socket to the caller."""
        with self._lock:
            self._guests.discard(sock)

    def close(self) -> None:
        """Stop listening, and hang up on everybody who was not taken."""
        with self._lock:
            self._closed = True
            guests, self._guests = self._guests, set()
        for sock in guests:
            with contextlib.suppress(OSError):  # it may have hung up by itself
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        if self._thread.is_alive():
            self._socket.shutdown(socket.SHUT_RDWR)
            self._thread.join(timeout=1)
        self._socket.close()
        self.remove()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return  # the listener was closed: the end of the run
            with self._lock:
                if self._closed:
                    sock.close()
                    return
                self._guests.add(sock)
            # A stranger who says nothing must not keep workers waiting.
            start_in_background(
                threading.Thread(
                    target=self._shake_hands, args=(sock,), name="parallactic-welcome", daemon=True
                )
            )

    def _shake_hands(self, sock: socket.socket) -> None:
        try:
            sock.settimeout(_HANDSHAKE_SECONDS)
            auth.accept(sock, self._key)
            hello = receive_hello(sock)
            sock.setblocking(False)
        except OSError as error:
            with self._lock:
                self._guests.discard(sock)
                if not self._closed:
                    _log.warning("a connection was refused: %s", error)
            sock.close()
            return
        self._welcome(sock, hello)
