"""The processes of a local cluster: a nursery, and what it forks.

Dask's own local cluster starts its workers so that a script needs a main guard, and keeps its scheduler in
the client, where a long call into C stops it. Here one process imports all that they need, then forks each of
them: that costs one import for all, and a worker that replaces another is there at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import select
import signal
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

__all__ = ["main"]

_DASHBOARD_SECONDS = 2.0


def main() -> int:
    """Do what the client says on standard input, until it is gone; all that was forked ends then as well."""
    # Ctrl-C at a terminal is the client's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import distributed  # noqa: F401

    import parallactic_backends.dask.pilot
    import parallactic_backends.dask.watcher  # noqa: F401

    # What is there now stays shared with those who are forked.
    gc.freeze()
    children: dict[int, tuple[str, int]] = {}
    common: dict[str, Any] = {}
    poll = select.poll()
    poll.register(0, select.POLLIN)
    rest = b""
    while True:
        for fd, _ in poll.poll():
            if fd:
                _reap(children, poll, fd)
                continue
            heard = os.read(0, 1 << 16)
            if not heard:
                return 0
            *lines, rest = (rest + heard).split(b"\n")
            for order in map(json.loads, lines):
                if "label" in order:
                    _obey(common | order, children, poll)
                else:
                    common = order


def _obey(order: dict[str, Any], children: dict[int, tuple[str, int]], poll: select.poll) -> None:
    label = order["label"]
    if "signal" in order:
        for fd, (known, _) in children.items():
            if known == label:
                signal.pidfd_send_signal(fd, order["signal"])
        return
    nursery = os.getpid()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = _be(order, nursery)
        finally:
            # Threads of Dask's that wait for something must not keep the process.
            os._exit(code)
    fd = os.pidfd_open(pid)
    children[fd] = label, pid
    poll.register(fd, select.POLLIN)


def _reap(children: dict[int, tuple[str, int]], poll: select.poll, fd: int) -> None:
    label, pid = children.pop(fd)
    poll.unregister(fd)
    os.close(fd)
    _, status = os.waitpid(pid, 0)
    _tell(1, {"label": label, "ended": os.waitstatus_to_exitcode(status)})


def _tell(fd: int, report: dict[str, Any]) -> None:
    # Short enough to arrive in one piece, whoever else writes.
    os.write(fd, json.dumps(report).encode() + b"\n")


def _be(order: dict[str, Any], nursery: int) -> int:
    """Become a scheduler or a worker, and serve until told to close, or until the nursery is gone."""
    from parallactic.worker.loop import die_with_parent

    die_with_parent(nursery)
    client = os.dup(1)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    import dask

    dask.config.set(order["config"])
    try:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(_serve(order, client))
    except BaseException:  # noqa: BLE001  (the end of a process: what happened goes to its log)
        import traceback

        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
    return 0


async def _serve(order: dict[str, Any], client: int) -> None:
    from distributed import Scheduler, Worker
    from distributed.security import Security

    secured = Security(**order["security"]) if order["security"] else None
    kind = Scheduler if order["role"] == "scheduler" else Worker
    options = order["options"]
    later = options["dashboard"] and find_spec("bokeh") is not None
    async with kind(
        security=secured, **options | {"dashboard": options["dashboard"] and not later}
    ) as server:
        _tell(client, {"label": order["label"], "address": server.address})
        os.close(client)
        if later:
            adding = asyncio.create_task(_add_dashboard(server))
        await server.finished()
        if later:
            adding.cancel()


async def _add_dashboard(scheduler: Any) -> None:
    """Add the dashboard: to import it takes as long as all else, and nobody looks at it at once."""
    await asyncio.sleep(_DASHBOARD_SECONDS)
    pages = await asyncio.to_thread(import_module, "distributed.dashboard.scheduler")
    pages.connect(scheduler.http_application, scheduler.http_server, scheduler)


if __name__ == "__main__":
    sys.exit(main())
