"""Whether strangers can listen to what a client and its scheduler say, and speak in their place."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

__all__ = ["REMEDY", "is_encrypted", "is_open"]

REMEDY = (
    "start scheduler and workers with --tls-ca-file, --tls-cert and --tls-key, and name these files in the "
    "client's Dask configuration (distributed.comm.tls)."
)


def is_encrypted(address: str) -> bool:
    """Tell whether connections to an address are encrypted."""
    return urlsplit(address).scheme in ("tls", "wss")


def is_open(address: str) -> bool:
    """Tell whether other hosts can reach an address, and nothing is encrypted there."""
    host = urlsplit(address).hostname or ""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost" or urlsplit(address).scheme == "inproc"
    return not (local or is_encrypted(address))
