"""Where pilots call: a port of one network interface of this host."""

from __future__ import annotations

import socket
from collections.abc import Callable

import psutil

from parallactic.errors import InvalidSpec
from parallactic.wire.hello import Hello
from parallactic.wire.listener import Listener

__all__ = ["Harbour", "own_address"]

_ELSEWHERE = ("192.0.2.1", 9)
"""An address of RFC 5737 that nobody has: asking for the way there sends nothing."""


def own_address(interface: str | None) -> str:
    """Return the address at which other hosts reach this one.

    Parameters
    ----------
    interface
        Name of a network interface, or an address of this host; None chooses that of the route to elsewhere.

    Raises
    ------
    InvalidSpec
        If there is no such interface.
    """
    known = {
        name: [entry.address for entry in entries if entry.family == socket.AF_INET]
        for name, entries in psutil.net_if_addrs().items()
    }
    if interface is None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(_ELSEWHERE)
            except OSError:
                return "127.0.0.1"  # a host without a network has its cluster on itself
            return str(probe.getsockname()[0])
    if any(interface in addresses for addresses in known.values()):
        return interface
    if not known.get(interface):
        names = ", ".join(f"{name} ({', '.join(found)})" for name, found in sorted(known.items()) if found)
        raise InvalidSpec(f"interface={interface!r} is none of this host's; there are {names}.")
    return known[interface][0]


class Harbour(Listener):
    """Accepts pilots.

    Parameters
    ----------
    key
        The run's key; empty if the run is insecure.
    host
        The address to listen at.
    welcome
        Called, on any thread, with each authenticated, non-blocking socket and who calls.
    """

    def __init__(self, key: bytes, host: str, welcome: Callable[[socket.socket, Hello], None]) -> None:
        self._host = host
        super().__init__(key, welcome)

    def open(self) -> socket.socket:
        """Make the socket, and bind it to a free port."""
        return socket.create_server((self._host, 0))

    def remove(self) -> None:
        """Nothing: a port is free when its socket is closed."""

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{self._host}:{self.port}"

    @property
    def port(self) -> int:
        """The port."""
        return int(self._socket.getsockname()[1])
