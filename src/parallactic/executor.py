"""The Executor: submit, gather, target, status, on any backend."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

from parallactic.backend import Backend, Capabilities
from parallactic.config import DEFAULT_BACKEND, read_configuration, same_workers, validate_settings
from parallactic.dispatch.dispatcher import Dispatcher
from parallactic.dispatch.foreign import own_future
from parallactic.dispatch.initializer import initializing
from parallactic.dispatch.journal import Journal
from parallactic.dispatch.relay import Relay
from parallactic.dispatch.task import Role, Task
from parallactic.errors import InvalidSpec
from parallactic.future import Broadcast, Future
from parallactic.logs import choose_log
from parallactic.mapping import map_items
from parallactic.registry import load
from parallactic.run_folder import RunFolder, at_interpreter_exit
from parallactic.spec import DEFAULT, TaskSpec
from parallactic.status import Status
from parallactic.submitter import Submitter
from parallactic.target import Target, make_target
from parallactic.wire.codec import Function, encode, encode_arguments, encode_function
from parallactic.wire.payload import Input, Payload
from parallactic.wire.ref import Ref, next_key

__all__ = ["Executor"]

_STOP_SECONDS = 5.0
_runs = itertools.count(1)


class Executor(concurrent.futures.Executor):
    """Runs functions on workers: of this process, this host, an MPI job, a Dask cluster or a SLURM queue.

    It is a ``concurrent.futures.Executor``, and whatever takes one can take it. Every promise holds on every
    backend; where an engine cannot keep one, `capabilities` says so and the call is refused.

    Parameters
    ----------
    backend
        Name of the backend. None: ``PARALLACTIC_BACKEND``, else the configuration file, else
        ``multiprocessing``.
    workers
        Number of workers.
    name
        Name of the run, in status, logs and journal.
    run_dir
        Folder for the journal and the workers' logs, kept afterwards. None: a temporary one.
    initializer, initargs
        Function called on every worker before anything else, also on one that replaces another. If it fails,
        the executor is broken.
    max_pending
        Number of unfinished tasks at which `submit` waits. None: no limit.
    log
        Where workers' log records go: "client", this process's logging, as without it; a path, one file for
        all, or with ``{worker}`` in it one for each; "one-file" and "per-worker", the same in `run_dir`;
        "none".
    log_level
        Level from which they do. None: the levels of this process's loggers; for a file, INFO.
    log_output
        True: what tasks and their C libraries print becomes log records as well.
    insecure
        True: run without a key and without authentication.
    config
        Configuration file to read in place of the usual ones.
    max_workers
        Another name of `workers`, as in ``concurrent.futures``.
    **settings
        Settings of the backend.

    Raises
    ------
    InvalidSpec
        If a setting is unknown or wrong.
    BackendUnavailable
        If the backend cannot be had here.
    """

    def __init__(
        self,
        backend: str | None = None,
        *,
        workers: int | None = None,
        name: str | None = None,
        run_dir: str | os.PathLike[str] | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_pending: int | None = None,
        log: str | os.PathLike[str] | None = None,
        log_level: int | str | None = None,
        log_output: bool | None = None,
        insecure: bool = False,
        config: str | os.PathLike[str] | None = None,
        max_workers: int | None = None,
        **settings: Any,
    ) -> None:
        configuration = read_configuration(config)
        chosen = backend or configuration.backend or DEFAULT_BACKEND
        kind = load(chosen)
        values, origin = configuration.settings_for(chosen)
        given = settings | {"workers": same_workers(workers, max_workers)}
        given = {key: value for key, value in given.items() if value is not None}
        values |= given
        checked = validate_settings(
            chosen, kind.Settings, values, {k: v for k, v in origin.items() if k not in given}
        )
        if initializer is not None and not callable(initializer):
            raise InvalidSpec(f"initializer={initializer!r} is not a function.")
        if max_pending is not None and max_pending < 1:
            raise InvalidSpec(f"max_pending={max_pending} must be at least 1, or None for no limit.")
        self._name = name or f"run-{next(_runs)}"
        can = kind.capabilities
        choice = choose_log(log, log_level, log_output, configuration.log, run_dir, can, chosen)
        folder = RunFolder(run_dir)
        context = folder.context(self._name, insecure=insecure, log=choice.rules)
        self._run_dir = folder.path
        with contextlib.ExitStack() as undo:
            undo.callback(folder.close, context.key_file)
            relay = Relay(choice, self._name, in_process=not can.isolation)
            undo.callback(relay.close)
            self._backend: Backend = kind(checked, context)
            undo.pop_all()
        journal = Journal(self._run_dir / "journal.jsonl")
        self._dispatcher = Dispatcher(
            self._backend, journal, self._name, relay, lambda: folder.close(context.key_file)
        )
        if max_pending is not None:
            self._dispatcher.limit_pending(max_pending)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._shut = False
        if initializer is not None:
            self._dispatcher.fleet.initializer = initializing(self._dispatcher, initializer, tuple(initargs))
        self._dispatcher.begin()
        # An executor that nobody holds any more ends after its last task.
        finalizer = weakref.finalize(
            self, self._dispatcher.close, cancel=False, kill=False, grace=_STOP_SECONDS
        )
        finalizer.atexit = False
        at_interpreter_exit(self)

    # Running functions

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Run ``fn(*args, **kwargs)`` on a worker.

        Futures among the arguments, also inside lists, tuples and dicts, are waited for, and the function
        receives their results; so does a `Ref`. No keyword is reserved.

        Raises
        ------
        InvalidSpec
            If the function or an argument cannot be pickled.
        SubmitError
            If the queue is full and this thread runs an asyncio loop, which must not be blocked.
        RuntimeError
            After `shutdown`.
        """
        return self.dispatch(fn, args, kwargs, DEFAULT)[0]

    def map(
        self,
        fn: Callable[..., Any],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | Literal["auto"] = "auto",
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Apply `fn` to every item; return an iterator over the results, in order.

        Parameters
        ----------
        fn
            Function of as many arguments as there are iterables.
        *iterables
            Read at once, unless `buffersize` is given.
        timeout
            Seconds, from this call, after which waiting for a result raises TimeoutError.
        chunksize
            Items of one task. "auto" runs one or two items first and aims at 10 ms a task. Every item has its
            own outcome, whatever the chunk.
        buffersize
            Number of items that are submitted but not yet taken from the iterator; the iterables are then
            read as it is consumed, and memory is constant.
        """
        return map_items(self, DEFAULT, fn, iterables, timeout, chunksize, buffersize)

    def gather(
        self,
        futures: Iterable[concurrent.futures.Future[Any]],
        *,
        errors: Literal["raise", "return"] = "raise",
        timeout: float | None = None,
    ) -> list[Any]:
        """Return the results of futures, in order.

        Parameters
        ----------
        futures
            Of this executor or of any other.
        errors
            "raise": raise the first error, in order. "return": put exceptions in the place of results.
        timeout
            Seconds to wait in all; then TimeoutError, and the tasks go on.
        """
        if errors not in ("raise", "return"):
            raise InvalidSpec(f"errors={errors!r} must be 'raise' or 'return'.")
        end = None if timeout is None else time.monotonic() + timeout
        results = []
        for future in list(futures):
            left = None if end is None else max(0.0, end - time.monotonic())
            if errors == "raise":
                results.append(future.result(left))
                continue
            try:
                error = future.exception(left)
            except concurrent.futures.CancelledError as cancelled:
                error = cancelled
            results.append(future.result() if error is None else error)
        return results

    def options(self, **options: Any) -> Submitter:
        """Return a view of this executor whose tasks have these resources and rules.

        Parameters
        ----------
        **options
            ``cores, memory, walltime, gpus, nodes, ranks, timeout, retries, name``: see `TaskSpec`.

        Raises
        ------
        InvalidSpec
            If an option is unknown or wrong, or the backend can never give what is asked for.
        """
        return Submitter(self, DEFAULT).options(**options)

    # Workers

    @property
    def max_workers(self) -> int:
        """Number of workers; other libraries look for it."""
        return self._dispatcher.fleet.count

    _max_workers = max_workers

    @property
    def backend(self) -> str:
        """Name of the backend."""
        return self._backend.name

    @property
    def run_dir(self) -> Path:
        """Folder of the journal and the logs."""
        return self._run_dir

    @property
    def capabilities(self) -> Capabilities:
        """What the backend's engine can do."""
        return self._backend.capabilities

    def target(self, workers: int | Sequence[int] | Literal["all"]) -> Target:
        """Address one worker, several, or all.

        Raises
        ------
        InvalidSpec
            If there is no such worker.
        """
        return self.address(workers, DEFAULT)

    def address(self, workers: int | Sequence[int] | Literal["all"], spec: TaskSpec) -> Target:
        """Return a target whose tasks have the options `spec`."""
        return make_target(self, workers, spec)

    def resize(self, workers: int) -> None:
        """Change the number of workers, to at least 1. It takes effect at once and waits for nothing.

        Those added run the setups of `setup` first. Those that leave are the last by number; they end what
        they have begun, and untargeted tasks go to others. What is addressed to them and has not begun, or
        comes by an old target, ends with `StateLost`.

        Raises
        ------
        InvalidSpec
            If the number is wrong, or the backend cannot do it (``capabilities.elastic``).
        RuntimeError
            After `shutdown`.
        """
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            raise InvalidSpec(f"resize({workers!r}) needs a number of workers, at least 1.")
        self._refuse_inside_task("resize")
        with self._lock:
            if self._shut:
                raise RuntimeError("cannot change the number of workers after shutdown")
            self._dispatcher.resize(workers)

    def setup(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Run a function on every worker, now and whenever one is replaced or joins."""
        return self.target("all").setup_everywhere(fn, args, kwargs)

    def put(self, value: Any) -> Ref:
        """Store an object where workers can reach it; return a reference to give to tasks in its place."""
        self._refuse_inside_task("put")
        try:
            payload = encode(value, self._backend.plane)
        except Exception as error:
            raise InvalidSpec(f"a {type(value).__name__} cannot be pickled: {error}") from error
        entry = Input(payload, next_key(), self._dispatcher.release)
        return Ref(entry, type(value).__name__, self._dispatcher.decode)

    def status(self) -> Status:
        """Return a snapshot of workers, tasks and counts; it prints as a table."""
        return self._dispatcher.status()

    # The end

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, kill: bool = False) -> None:
        """Take no more tasks, and free everything when the last has ended. May be called again.

        Parameters
        ----------
        wait
            Return when all is done. Workers get a few seconds to go, then they are killed.
        cancel_futures
            Cancel what has not begun.
        kill
            Cancel everything, also what runs.
        """
        with self._lock:
            self._shut = True
        self._dispatcher.close(cancel=cancel_futures, kill=kill, grace=0.5 if kill else _STOP_SECONDS)
        if wait and not self._dispatcher.callbacks.is_current():
            self._dispatcher.stopped.wait()
            self._dispatcher.thread.join()
            self._dispatcher.callbacks.close()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> Literal[False]:
        # Ctrl-C means stop, not finish.
        interrupted = kind is not None and not issubclass(kind, Exception)
        self.shutdown(kill=interrupted)
        return False

    def __repr__(self) -> str:
        return f"<Executor {self._name}: {self.backend}, {self.max_workers} workers>"

    def __reduce__(self) -> NoReturn:
        raise InvalidSpec(f"{self!r} does not travel: a task cannot use the executor that runs it.")

    # For Target, Submitter and the mapping

    @property
    def engine(self) -> Backend:
        """The backend that carries out."""
        return self._backend

    def epoch(self, worker: int) -> int:
        """Return how often a worker has been replaced."""
        return self._dispatcher.fleet.worker(worker).present_epoch

    def dispatch(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        spec: TaskSpec,
        lanes: Sequence[tuple[int | None, int]] = ((None, 0),),
        role: Role = Role.CALL,
    ) -> list[Future]:
        """Submit one task for each lane, all at one point of the order; return their futures."""
        if not callable(fn):
            raise InvalidSpec(f"submit({fn!r}) needs a function.")
        self._refuse_inside_task("submit")
        dispatcher = self._dispatcher
        function = encode_function(fn)
        arguments, sources = encode_arguments(args, kwargs, self._backend.plane)
        if sources:
            sources = [
                source if type(source) is Input else own_future(source, dispatcher) for source in sources
            ]
        name = spec.name or function.qualname.rpartition(".")[2]
        slots = dispatcher.slots
        if slots is not None:
            slots.take(len(lanes))
        try:
            tasks = self._enqueue(name, function, arguments, sources, spec, lanes, role)
        except BaseException:
            if slots is not None:
                slots.give_back(len(lanes))
            raise
        if self._backend.capabilities.inline:
            dispatcher.run_here(tasks)
        return [task.future for task in tasks]

    def _enqueue(
        self,
        name: str,
        function: Function,
        arguments: Payload,
        sources: list[Any],
        spec: TaskSpec,
        lanes: Sequence[tuple[int | None, int]],
        role: Role,
    ) -> list[Task]:
        dispatcher = self._dispatcher
        with self._lock:
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if dispatcher.broken is not None:
                raise dispatcher.broken
            tasks = []
            for target, epoch in lanes:
                number = next(self._numbers)
                future = Future(dispatcher, name, number)
                tasks.append(
                    Task(number, name, function, arguments, sources, spec, future, target, epoch, role)
                )
            # Inside the lock: the order of numbers is the order of the inbox.
            dispatcher.submit(tasks)
        return tasks

    def together(self, futures: Sequence[Future]) -> Future:
        """Return a future of the list of results, which fails with the first error after all have ended."""
        whole = Broadcast(self._dispatcher, futures)
        whole.follow()
        return whole

    def any_worker_up(self) -> bool:
        """Tell whether a worker has reported."""
        return any(worker.up for worker in self._dispatcher.fleet.workers)

    def _refuse_inside_task(self, what: str) -> None:
        if self._dispatcher.runs_task_here():
            raise InvalidSpec(
                f"{what} was called inside a task of this executor; return the work to the client."
            )
