"""What runs inside the Dask scheduler: it keeps tasks from running twice, and tells of what is lost."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from distributed.comm import connect
from distributed.diagnostics.plugin import SchedulerPlugin

from parallactic_backends.dask.pilot import pilot_name

__all__ = ["Watcher", "key_mark"]


def key_mark(run: str) -> str:
    """Return what the keys of a run have in them."""
    return f"-{run}-"


class Watcher(SchedulerPlugin):  # type: ignore[misc]
    """Watches over one run.

    Dask runs a task again whose worker died in its midst, and one whose finished result was lost. Neither is
    wanted: a task may have had effects, and its error belongs to the client.

    Parameters
    ----------
    run
        What tells this run from others of the same cluster.
    """

    def __init__(self, run: str) -> None:
        self.name = pilot_name(run)
        self._mark = key_mark(run)

    async def start(self, scheduler: Any) -> None:
        """Begin to watch."""
        self._scheduler = scheduler
        self._paused: set[str] = set()
        self._silent: dict[str, str] = {}
        self._home: set[str] = set()
        self._kept_home: set[Any] = set()
        self._handlers = {
            self.name: self.pass_on,
            f"{self.name}-leave": self.leave,
        }
        scheduler.handlers.update(self._handlers)

    async def leave(self) -> None:
        """Leave the scheduler as it was: the client goes."""
        for address in list(self._silent):
            self._set_silent(address, silent=False)
        for address in list(self._paused):
            self._set_status(address, "running")
        for handler in self._handlers:
            self._scheduler.handlers.pop(handler, None)
        self._scheduler.remove_plugin(name=self.name)

    def update_graph(self, scheduler: Any, *, keys: set[Any], **_: Any) -> None:
        """Let the first death of a worker be the end of a task that it had."""
        for key in keys:
            if self._is_ours(key) and key in scheduler.tasks:
                scheduler.tasks[key].suspicious = scheduler.allowed_failures
                if self._home and self._home < scheduler.workers.keys():
                    self._keep_home(scheduler.tasks[key])

    def transition(self, key: Any, start: Any, finish: Any, *args: Any, **kwargs: Any) -> None:
        """Make a finished result plain data, which is not made again; tell of what went wrong."""
        if finish in ("memory", "erred", "forgotten"):
            self._kept_home.discard(key)
        if finish not in ("memory", "erred") or not self._is_ours(key):
            return
        task = self._scheduler.tasks.get(key)
        if task is None:
            return
        if finish == "memory":
            task.run_spec = None
        else:
            own = task.exception_blame is None or task.exception_blame.key == key
            text = task.exception_text if own else ""
            self._scheduler.log_event(self.name, {"erred": key, "text": text or ""})

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """Tell that a Dask worker has gone, whatever its connections look like."""
        scheduler.log_event(self.name, {"left": worker})
        self._set_home(worker, home=False)

    def log_event(self, topic: str, msg: Any) -> None:
        """Give no task to a Dask worker beside which no worker is free, until one is."""
        if topic == self.name and "joined" in msg:
            self._set_silent(msg["joined"], silent=False)
        elif topic == self.name and "silent" in msg:
            self._set_silent(msg["at"], silent=msg["silent"])
        elif topic == self.name and "status" in msg:
            self._set_status(msg["at"], msg["status"])
        elif topic == self.name and "waiting" in msg:
            self._move(msg["waiting"], msg["at"])
        elif topic == self.name and "home" in msg:
            self._set_home(msg["at"], home=msg["home"])
        elif topic == self.name and "astray" in msg and msg["astray"] in self._scheduler.tasks:
            self._keep_home(self._scheduler.tasks[msg["astray"]])

    def _set_home(self, address: str, *, home: bool) -> None:
        """Learn beside which Dask workers this run has workers, and tell the tasks that are kept there."""
        if home == (address in self._home):
            return
        self._home ^= {address}
        tasks = [self._scheduler.tasks[key] for key in self._kept_home & self._scheduler.tasks.keys()]
        self._kept_home = {task.key for task in tasks}
        for task in tasks:
            self._keep_home(task)
        waiting = {task.key: "processing" for task in tasks if task.state == "no-worker"}
        if waiting:
            self._scheduler.transitions(waiting, f"{self.name}-home-{time.time()}")

    def _keep_home(self, task: Any) -> None:
        """Keep a task to the Dask workers beside which this run has workers: the others may be of other runs.

        To pause those would keep the tasks of these runs from them.
        """
        self._kept_home.add(task.key)
        task.worker_restrictions = set(self._home) or None

    def _move(self, keys: list[Any], address: str) -> None:
        """Have idle Dask workers steal tasks that wait behind a long one.

        Dask by itself leaves a task where it is that it takes for a short one.
        """
        scheduler = self._scheduler
        victim, stealing = scheduler.workers.get(address), scheduler.extensions.get("stealing")
        if victim is None or stealing is None:
            return
        thieves = [
            worker
            for worker in scheduler.running
            if worker is not victim and not worker.processing and worker.address in self._home
        ]
        tasks = [scheduler.tasks[key] for key in keys if self._is_ours(key) and key in scheduler.tasks]
        for task, thief in zip(tasks, thieves, strict=False):
            if task.processing_on is victim and not task.resource_restrictions:
                stealing.move_task_request(task, victim, thief)

    def _set_silent(self, address: str, *, silent: bool) -> None:
        """Give no task to a Dask worker that the client does not hear, and tell which wait there already."""
        worker = self._scheduler.workers.get(address)
        if worker is None:
            self._silent.pop(address, None)
        elif silent:
            self._silent.setdefault(address, worker.status.name)
            self._change(address, "paused")
            stuck = [task.key for task in worker.processing if self._is_ours(task.key)]
            self._scheduler.log_event(self.name, {"stuck": stuck, "at": address})
        elif address in self._silent:
            before = self._silent.pop(address)
            self._change(address, "paused" if address in self._paused else before)

    def _set_status(self, address: str, status: str) -> None:
        if status == "paused":
            self._paused.add(address)
        else:
            self._paused.discard(address)
        if address in self._silent:
            self._silent[address] = status
        else:
            self._change(address, status)

    def _change(self, address: str, status: str) -> None:
        stimulus = f"{self.name}-{status}-{time.time()}"
        self._scheduler.handle_worker_status_change(status, address, stimulus)

    async def pass_on(self, comm: Any, worker: str, slot: int) -> str:
        """Pass messages between a client and a Dask worker that it cannot reach."""
        there = await connect(worker, deserialize=False, **self._scheduler.connection_args)
        await there.write({"op": self.name, "slot": slot, "reply": False})
        ways = [asyncio.create_task(_pump(comm, there)), asyncio.create_task(_pump(there, comm))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        there.abort()
        comm.abort()
        return "passed on"

    def _is_ours(self, key: Any) -> bool:
        return isinstance(key, str) and self._mark in key


async def _pump(source: Any, sink: Any) -> None:
    try:
        while True:
            await sink.write(await source.read())
    except OSError:
        return
