"""A scheduler or a worker of a local cluster, as a process that ends with the client.

Dask's own local cluster starts its workers so that a script needs a main guard, and keeps its scheduler in
the client, where a long call into C stops it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

__all__ = ["main"]


async def _serve(role: str, options: dict[str, Any], security: dict[str, Any]) -> None:
    from distributed import Scheduler, Worker
    from distributed.security import Security

    secured = Security(**security) if security else None
    kind = Scheduler if role == "scheduler" else Worker
    async with kind(security=secured, **options) as server:
        sys.stdout.write(json.dumps({"address": server.address}) + "\n")
        sys.stdout.flush()
        await server.finished()


def main() -> int:
    """Serve until told to close, or until the process that began this one has died."""
    from parallactic.worker.loop import die_with_parent

    die_with_parent(int(sys.argv[1]))
    # Ctrl-C at a terminal is the client's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import dask

    orders = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    dask.config.set(orders["config"])
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_serve(orders["role"], orders["options"], orders["security"]))
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Threads of Dask's that wait for something must not keep the process.
    os._exit(code)
