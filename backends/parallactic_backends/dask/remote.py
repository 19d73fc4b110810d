"""A Dask worker on another host, which ends when the connection to the client does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import time
from typing import Any
from urllib.parse import urlsplit

__all__ = ["main"]

_PART_SECONDS = 2.0


def main() -> int:
    """Serve until standard input ends; its first line has the orders, with the certificates."""
    orders = json.loads(_first_line())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_serve(orders["options"], orders["security"]))
    return 0


def _first_line() -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        part = os.read(0, 1 << 16)
        if not part:
            raise EOFError("no orders came")
        line += part
    return bytes(line)


async def _serve(options: dict[str, Any], security: dict[str, Any]) -> None:
    from distributed import Worker
    from distributed.security import Security
    from distributed.utils import get_ip

    if "interface" not in options:
        # On the network by which it reaches the scheduler, and on no other.
        options |= {"host": get_ip(urlsplit(options["scheduler_ip"]).hostname, 80)}
    async with Worker(security=Security(**security) if security else None, **options) as worker:
        threading.Thread(target=_end_with_input, args=(worker,), daemon=True).start()
        sys.stdout.write(json.dumps({"address": worker.address}) + "\n")
        sys.stdout.flush()
        await worker.finished()


def _end_with_input(worker: Any) -> None:
    """End when the input ends: the connection to the client is gone, or was closed."""
    while os.read(0, 1024):
        pass
    worker.loop.add_callback(worker.close)
    time.sleep(_PART_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Threads of Dask's that wait for something must not keep the process.
    os._exit(code)
