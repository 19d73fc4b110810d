"""Joblib, and what is built on it, on the workers of an Executor.

Importing this module registers the backend::

    import parallactic.integrations.joblib

    with joblib.parallel_config(backend="parallactic", executor=ex):
        joblib.Parallel()(joblib.delayed(f)(x) for x in xs)
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import joblib
from joblib.parallel import AutoBatchingMixin, BatchedCalls, ParallelBackendBase, ThreadingBackend

from parallactic.errors import InvalidSpec
from parallactic.executor import Executor
from parallactic.future import Future
from parallactic.submitter import Submitter
from parallactic.worker.namespace import find_worker

__all__ = ["ParallacticBackend"]

_Callback = Callable[[concurrent.futures.Future[Any]], None]


class ParallacticBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]  # joblib has no types
    """The joblib backend "parallactic".

    Parameters
    ----------
    executor
        Runs the calls, and is left open. None, or the name of a backend: one is made for each call of
        `Parallel`, or for each ``with Parallel()`` block, and closed at its end.
    nesting_level, inner_max_num_threads
        As joblib gives them. The latter becomes the option ``cores`` of every task.
    **settings
        Of the executor that is made: ``workers=4``.

    Raises
    ------
    InvalidSpec
        If `executor` is something else, or is an Executor and there are settings besides.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    default_n_jobs = -1

    def __init__(
        self,
        executor: Executor | str | None = None,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        if executor is not None and not isinstance(executor, Executor | str):
            raise InvalidSpec(f"executor={executor!r} must be an Executor, or the name of a backend.")
        if isinstance(executor, Executor) and settings:
            raise InvalidSpec(f"{', '.join(settings)} cannot be set for an Executor that is already there.")
        self._given = executor if isinstance(executor, Executor) else None
        self._backend = executor if isinstance(executor, str) else None
        self._settings = settings
        self._own: Executor | None = None
        self._lock = threading.Lock()
        self._running: set[Future] = set()
        self._waiting: deque[tuple[Any, _Callback]] = deque()
        self._n_jobs = 1

    @property
    def executor(self) -> Executor:
        """The executor that runs the calls; made now if there is none."""
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own = Executor(self._backend, **self._settings)
        return self._own

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many calls run at a time: -1 for all workers, -2 for all but one, and so on."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        workers = self.executor.max_workers
        if n_jobs is None:
            return workers
        return min(n_jobs, workers) if n_jobs > 0 else max(workers + 1 + n_jobs, 1)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_: Any) -> int:
        """Get ready for calls of `parallel`; return how many run at a time."""
        self.parallel = parallel
        self._n_jobs = self.effective_n_jobs(n_jobs)
        return self._n_jobs

    def submit(self, func: Any, callback: _Callback) -> None:
        """Run a batch of calls on a worker, when fewer than ``n_jobs`` run."""
        with self._lock:
            if len(self._running) >= self._n_jobs < self.executor.max_workers:
                self._waiting.append((func, callback))
                return
            future = self._start(func)
            self._running.add(future)
        future.add_done_callback(lambda ended: self._ended(ended, callback))

    def _start(self, func: Any) -> Future:
        place: Executor | Submitter = self.executor
        if self.inner_max_num_threads is not None:
            place = place.options(cores=self.inner_max_num_threads)
        if isinstance(func, BatchedCalls):
            # Its parts, so that references and futures among their arguments are found.
            return place.submit(_run_batch, func.items, self.get_nested_backend())
        return place.submit(func)

    def _ended(self, future: Any, callback: _Callback) -> None:
        with self._lock:
            self._running.discard(future)
            waiting = self._waiting.popleft() if self._waiting else None
        if waiting is not None:
            self.submit(*waiting)
        callback(future)

    def retrieve_result_callback(self, out: Future) -> Any:
        """Return the results of a batch, or raise what one of its calls has raised."""
        return out.result()

    def get_nested_backend(self) -> tuple[Any, int | None]:
        """Return what `Parallel` uses inside a call: threads, no more than the task has cores."""
        return _ThreadsOfTask(nesting_level=(self.nesting_level or 0) + 1), None

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Stop all calls, those that run by force; their workers are replaced."""
        with self._lock:
            self._waiting.clear()
            running = list(self._running)
        for future in running:
            future.cancel(force=True)
        if not ensure_ready:
            self.terminate()

    def terminate(self) -> None:
        """Close the executor, if it was made here."""
        if self._own is not None:
            self._own.shutdown()
            self._own = None


class _ThreadsOfTask(ThreadingBackend):  # type: ignore[misc]  # joblib has no types
    """Threads inside one task."""

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        info = find_worker()
        wanted = int(super().effective_n_jobs(n_jobs))
        return min(wanted, info.cores) if info is not None else wanted


def _run_batch(items: list[Any], nested: tuple[Any, int | None]) -> Any:
    return BatchedCalls(items, nested)()


joblib.register_parallel_backend("parallactic", ParallacticBackend)
