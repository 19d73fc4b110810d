"""Dask's collections (arrays, bags, xarray, delayed functions) on the workers of an Executor.

``dask.compute(x, scheduler=executor)`` works as it is, and every intermediate result then passes through the
client: dask's own loop for executors fetches each and sends it on. `dask_get` makes a scheduler out of an
executor that leaves them with the workers.
"""

from __future__ import annotations

import queue
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from dask._task_spec import Alias, DataNode, convert_legacy_graph
from dask.callbacks import local_callbacks, unpack_callbacks
from dask.core import flatten
from dask.local import nested_get
from dask.order import order
from dask.sizeof import sizeof
from dask.typing import Key
from dask.utils import key_split

from parallactic.errors import DependencyFailed, InvalidSpec
from parallactic.executor import Executor
from parallactic.future import Future
from parallactic.submitter import Submitter

__all__ = ["dask_get"]

_AHEAD = 2
"""Tasks handed over per worker: one that runs, and one that can begin when that has ended."""
_LARGE_BYTES = 100_000


def dask_get(executor: Executor, **options: Any) -> Callable[..., Any]:
    """Return a scheduler for ``dask.compute(x, scheduler=...)`` or ``dask.config.set(scheduler=...)``.

    Every dask task becomes a task of the executor, in dask's own order, and takes the results of others as
    futures: they stay in the executor's data plane, and only what was asked for is read by the client. The
    first error cancels what has not begun, and is raised with its type. Ctrl-C stops what runs as well.
    Callbacks of dask, such as ``dask.diagnostics.ProgressBar``, are told of every task, though not of its
    result.

    Parameters
    ----------
    executor
        Runs the tasks.
    **options
        Of each of them, as for ``executor.options``. They may also be given to compute:
        ``x.compute(scheduler=dask_get(ex), retries=2)``.

    Raises
    ------
    InvalidSpec
        If it is no Executor, or an option is unknown or wrong.
    """
    if not isinstance(executor, Executor):
        raise InvalidSpec(f"dask_get({executor!r}) needs an Executor.")
    executor.options(**options)

    def get(graph: Any, keys: Any, **more: Any) -> Any:
        plain = graph if isinstance(graph, Mapping) else graph.__dask_graph__()
        nodes = dict(convert_legacy_graph(plain))
        return _Computation(executor, executor.options(**(options | more)), nodes, keys).run()

    return get


def _run_node(node: Any, values: dict[Key, Any]) -> Any:
    return node(values)


class _Computation:
    """One graph on its way."""

    def __init__(self, executor: Executor, options: Submitter, nodes: dict[Key, Any], keys: Any) -> None:
        self._executor = executor
        self._options = options
        self._named: dict[str, Submitter] = {}
        self._nodes = nodes
        self._keys = keys
        self._wanted = set(flatten(keys)) if isinstance(keys, list) else {keys}
        self._priority = order(nodes)
        self._ended: queue.SimpleQueue[Key] = queue.SimpleQueue()
        self._running: dict[Key, Future] = {}
        self._results: dict[Key, Any] = {}
        """What stands for the result of a node in the arguments of others."""
        self._needs = {key: set(node.dependencies) for key, node in nodes.items()}
        self._users: defaultdict[Key, set[Key]] = defaultdict(set)
        for key, needed in self._needs.items():
            for other in needed:
                self._users[other].add(key)
        # The names are those that the callbacks of dask know.
        self._state: dict[str, Any] = {
            "waiting": {key: set(needed) for key, needed in self._needs.items() if needed},
            "ready": [],
            "running": set(),
            "finished": set(),
            "released": set(),
            "cache": {},
            "dependencies": self._needs,
            "dependents": self._users,
        }

    def run(self) -> Any:
        """Compute; return the results in the form of the keys."""
        with local_callbacks(None) as active:
            start, start_state, pretask, posttask, finish = unpack_callbacks(active)
            failed = True
            try:
                _tell(start, self._nodes)
                self._make_ready([key for key, needed in self._needs.items() if not needed])
                _tell(start_state, self._nodes, self._state)
                self._compute(pretask, posttask)
                found = {key: self._result(key) for key in self._wanted}
                failed = False
            except Exception:
                self._cancel(force=False)
                raise
            except BaseException:
                self._cancel(force=True)
                raise
            finally:
                _tell(finish, self._nodes, self._state, failed)
        return nested_get(self._keys, found)

    def _compute(self, pretask: list[Callable[..., Any]], posttask: list[Callable[..., Any]]) -> None:
        limit = _AHEAD * self._executor.max_workers
        ready = self._state["ready"]

        def finished(key: Key) -> None:
            self._finish(key)
            _tell(posttask, key, None, self._nodes, self._state, 0)

        while ready or self._running:
            while ready and len(self._running) < limit:
                key = ready.pop()
                self._state["running"].add(key)
                _tell(pretask, key, self._nodes, self._state)
                if not self._begin(key):
                    finished(key)
            if self._running:
                key = self._ended.get()
                error = self._running.pop(key).failure()
                if error is not None:
                    raise _root(error)
                finished(key)

    def _begin(self, key: Key) -> bool:
        """Hand a node over; return False if there is nothing to run."""
        node = self._nodes[key]
        if isinstance(node, DataNode):
            # Sent to each worker once, however many need it.
            value = node.value
            self._results[key] = self._executor.put(value) if sizeof(value) > _LARGE_BYTES else value
            return False
        arguments = {other: self._results[other] for other in self._needs[key]}
        if isinstance(node, Alias):
            self._results[key] = arguments[node.target]
        else:
            future = self._submitter(key).submit(_run_node, node, arguments)
            self._results[key] = self._running[key] = future
            future.add_done_callback(lambda _: self._ended.put(key))
        for other in self._needs[key]:
            self._users[other].discard(key)
            if not self._users[other] and other not in self._wanted:
                # All who need it have it, and nothing else keeps it alive.
                del self._results[other]
        return key in self._running

    def _submitter(self, key: Key) -> Submitter:
        name = str(key_split(key))
        if name not in self._named:
            self._named[name] = self._options.options(name=name)
        return self._named[name]

    def _finish(self, key: Key) -> None:
        state = self._state
        state["running"].discard(key)
        state["finished"].add(key)
        waiting = state["waiting"]
        freed = []
        for user in self._users[key]:
            waiting[user].discard(key)
            if not waiting[user]:
                del waiting[user]
                freed.append(user)
        self._make_ready(freed)

    def _make_ready(self, keys: list[Key]) -> None:
        # The last is taken first: dask's order goes deep before it goes wide, which keeps few results alive.
        self._state["ready"].extend(sorted(keys, key=self._priority.__getitem__, reverse=True))

    def _result(self, key: Key) -> Any:
        node = self._nodes[key]
        while isinstance(node, Alias):
            node = self._nodes[node.target]
        if isinstance(node, DataNode):
            return node.value
        return self._results[key].result()

    def _cancel(self, *, force: bool) -> None:
        for future in list(self._running.values()):
            future.cancel(force=force)


def _tell(callbacks: list[Callable[..., Any]], *args: Any) -> None:
    for callback in callbacks:
        callback(*args)


def _root(error: BaseException) -> BaseException:
    """Return the error of the task that failed first, where another failed for want of its result."""
    while isinstance(error, DependencyFailed) and error.__cause__ is not None:
        error = error.__cause__
    return error
