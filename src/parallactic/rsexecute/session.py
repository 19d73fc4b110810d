"""RASCIL's rsexecute: build a graph by calling functions, then compute it on any backend."""

from __future__ import annotations

import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, NoReturn, Self

from parallactic.errors import InvalidSpec
from parallactic.executor import Executor
from parallactic.future import Future
from parallactic.rsexecute import clients
from parallactic.rsexecute.dask_report import DaskReport
from parallactic.rsexecute.graph import exchange, run_here, submit, value_of
from parallactic.rsexecute.node import Call, Deferred, Node
from parallactic.rsexecute.statistics import Recorder, Statistics, of_executor
from parallactic.rsexecute.values import values
from parallactic.spec import DEFAULT, near_match
from parallactic.wire.ref import Ref
from parallactic.worker.namespace import find_worker

__all__ = ["RSExecute", "rsexecute"]

_log = logging.getLogger(__name__)


class RSExecute:
    """Functions of a graph, called later on any backend, or at once.

    `execute` wraps a function; calling it makes a node. `compute` runs what the nodes it is given need. With
    ``set_client(use_dask=False)`` wrapped functions are called at once, in this process.

    One session is there from the beginning, `rsexecute`, as in RASCIL. Others can be made for several
    backends at a time. A session that was not told what to use opens the default of `set_client` when it is
    first asked to compute; inside a task it computes in that task.
    """

    def __init__(self) -> None:
        self._executor: Executor | None = None
        self._client: Any = None
        self._own = False
        self._immediate = False
        self._verbose = False
        self._optimize = True
        self._since = time.time()
        self._recorder = Recorder()
        self._report: DaskReport | None = None
        self._lock = threading.RLock()
        self._submitting = threading.RLock()

    # What computes

    def set_client(
        self,
        client: Any = None,
        use_dask: bool = True,
        use_dlg: bool = False,
        verbose: bool = False,
        optim: bool = True,
        *,
        backend: str | None = None,
        **settings: Any,
    ) -> None:
        """Choose what computes. What this session has opened before is closed.

        Parameters
        ----------
        client
            An `Executor` or a ``distributed.Client`` that exists. It stays open when this session is closed,
            except a client of `get_dask_client`.
        use_dask
            False: functions are called at once, in this process; `settings` have no meaning then.
        use_dlg
            DALiuGE is not supported: True is refused.
        verbose
            Log how long each `compute` took, at level INFO instead of DEBUG.
        optim
            Make equal calls that are `pure` once, and send a large array that several nodes need once.
        backend
            Name of a backend. None: that of ``PARALLACTIC_BACKEND`` or of the configuration file, else
            ``"dask"``, where ``RASCIL_DASK_SCHEDULER`` names the scheduler; without one it is a cluster on
            this host.
        **settings
            Of the executor and the backend: see `Executor`. The number of workers may be called ``workers``
            or ``n_workers``.

        Raises
        ------
        InvalidSpec
            If a setting is unknown or wrong, or `client` is neither of the two.
        BackendUnavailable
            If the backend cannot be had here, or the scheduler that was named does not answer.
        """
        clients.refuse_contradictions(client, use_dask, use_dlg, backend, settings)
        with self._lock:
            self._end(keep=client)
            self._verbose, self._optimize = verbose, optim
            self._immediate = not use_dask
            if not use_dask:
                if settings:
                    _log.info("use_dask=False: %s have no meaning", ", ".join(settings))
            elif client is None:
                self._executor, self._own = clients.open_executor(backend, settings), True
            elif isinstance(client, Executor):
                self._executor = self._client = client
            elif clients.is_dask_client(client):
                self._executor, self._own = Executor("dask", client=client), True
                self._client = client
            else:
                raise InvalidSpec(
                    f"client={client!r} is a {type(client).__name__}; give an Executor or a Dask Client."
                )
            self.init_statistics()

    @property
    def executor(self) -> Executor | None:
        """What computes; None if functions are called at once, or nothing was opened yet."""
        return self._executor

    @property
    def client(self) -> Any:
        """What `set_client` was given; else the client of the engine, if it has one; else the executor."""
        if self._client is not None or self._executor is None:
            return self._client
        return getattr(self._executor.engine, "client", None) or self._executor

    def type(self) -> str:
        """Return the name of the backend, ``"function"`` if functions are called at once."""
        if self._immediate:
            return "function"
        return self._executor.backend if self._executor is not None else "dask"

    @property
    def using_dask(self) -> bool:
        """Whether graphs are computed by Dask: `client` is a Dask client then."""
        return self.type() == "dask"

    @property
    def deferred(self) -> bool:
        """Whether calls are made later, on whichever backend."""
        return not self._immediate

    @property
    def optimizing(self) -> bool:
        """Whether `compute` makes equal calls once: the `optim` of `set_client`."""
        return self._optimize

    def close(self) -> None:
        """Close what this session has opened; called again, it does nothing.

        The session can be used again: it opens its default when it is next asked to compute.
        """
        with self._lock:
            self._end()

    def _end(self, keep: Any = None) -> None:
        executor, client, own = self._executor, self._client, self._own
        self._executor, self._client, self._own, self._report = None, None, False, None
        if executor is not None and own:
            executor.shutdown()
        if client is not None and client is not keep:
            clients.close_client(client)

    def _open(self) -> Executor | None:
        """Return what computes; None if this thread does."""
        with self._lock:
            if self._immediate:
                return None
            if find_worker() is not None and (self._executor is None or self._executor.capabilities.inline):
                # Inside a task: it cannot wait for others, but it can do their work.
                return None
            if self._executor is None:
                self._executor, self._own = clients.open_executor(None, {}), True
            return self._executor

    # Graphs

    def execute(
        self,
        func: Any,
        name: str | None = None,
        pure: bool | None = None,
        nout: int | None = None,
        traverse: bool = True,
        **options: Any,
    ) -> Any:
        """Wrap a function for a graph.

        Parameters
        ----------
        func
            The function. Anything that cannot be called gives a node of its value.
        name
            Its name in status, statistics and errors.
        pure
            True: equal calls (the same function and objects, equal numbers and strings) may be made once.
        nout
            Length of the tuple or list that it returns, so that a node can be taken apart:
            ``image, weight = rsexecute.execute(invert, nout=2)(vis)``.
        traverse
            Whether to look for nodes inside lists, tuples and dicts of arguments.
        **options
            Resources and rules of ``Executor.options``: cores, memory, timeout, retries, … Functions that are
            called at once have none.

        Returns
        -------
        callable
            Called with the arguments, it returns a `Node`; with ``use_dask=False`` the function's value.

        Raises
        ------
        InvalidSpec
            If an option is unknown or wrong.
        """
        if options:
            DEFAULT.updated(**options)
        if nout is not None and (not isinstance(nout, int) or nout < 0):
            raise InvalidSpec(f"nout={nout!r} must be the length of what the function returns.")
        if self._immediate:
            return self._at_once(func, name) if callable(func) else func
        if not callable(func) or isinstance(func, Node):
            return Node(self, Call(_itself, (func,), {}, nout, name or "", traverse=traverse))
        return Deferred(self, Call(func, (), {}, nout, name or "", bool(pure), traverse, options))

    def _at_once(self, func: Callable[..., Any], name: str | None) -> Callable[..., Any]:
        """Return the function so that it is timed, and takes what another mode of this session has made."""
        timed = self._recorder.timed(func, name)

        @wraps(func, updated=())
        def call(*args: Any, **kwargs: Any) -> Any:
            return timed(*exchange(args, value_of), **exchange(kwargs, value_of))

        return call

    def compute(self, value: Any, sync: bool = False) -> Any:
        """Compute a graph.

        Each node that is needed runs once, also if several others need it. Nodes that were persisted, or
        whose future somebody holds, are not run again.

        Parameters
        ----------
        value
            A node, or lists, tuples and dicts of nodes, futures and anything else.
        sync
            True: wait, and return values. False: return at once, with futures in the place of nodes; pass
            them on to other nodes, or to `gather`.

        Returns
        -------
        object
            In the shape of `value`. With ``use_dask=False`` values, also if `sync` is False.

        Raises
        ------
        Exception
            With `sync`: what the first node that failed has raised. What had not begun is cancelled.
        """
        start = time.monotonic()
        executor = self._open()
        if executor is None:
            return run_here(value)
        with self._submitting:
            # Two threads that share nodes must see each other's futures.
            futures, fresh = submit(executor, value, optimize=self._optimize)
        result = values(futures, fresh) if sync else futures
        level = logging.INFO if self._verbose else logging.DEBUG
        done = "computed" if sync else "submitted"
        _log.log(level, "%s %d nodes on %s in %.3f s", done, len(fresh), executor, time.monotonic() - start)
        return result

    def persist(self, graph: Any) -> Any:
        """Begin to compute a graph, and keep its values where they are made.

        Returns
        -------
        object
            In the shape of `graph`, with nodes that hold their value. Whatever needs them later does not run
            them again. With ``use_dask=False`` the values.
        """
        executor = self._open()
        if executor is None:
            return run_here(graph)
        with self._submitting:
            return submit(executor, graph, optimize=self._optimize, wrap=self._holding)[0]

    def _holding(self, leaf: Any, future: Future) -> Node:
        """Return a node that holds the future of a node."""
        call = leaf._call if isinstance(leaf, Node) else None
        # Without its arguments, which nobody needs any more.
        bare = None if call is None else Call(call.function, nout=call.nout, name=call.name)
        return Node(self, bare, future)

    def scatter(
        self,
        graph: Any,
        workers: None = None,
        broadcast: bool = False,
        direct: bool | None = None,
        hash: bool = True,  # Dask's name
    ) -> Any:
        """Store data where workers reach them, once, however many nodes use them.

        Parameters
        ----------
        graph
            One object, or lists, tuples and dicts of objects. Nodes, futures and references stay as they are.
        workers
            Refused: which worker runs a node is the backend's to decide.
        broadcast, direct, hash
            Taken as RASCIL's callers give them: each worker gets an object when it first needs it, and never
            twice.

        Returns
        -------
        object
            References in the shape of `graph`. With ``use_dask=False`` `graph` itself.
        """
        if workers is not None:
            raise InvalidSpec(f"scatter(workers={workers!r}): which worker runs a node is not chosen here.")
        executor = self._open()
        if executor is None:
            return graph

        def put(leaf: Any) -> Any:
            if isinstance(leaf, Node | Deferred | Ref | concurrent.futures.Future):
                return leaf
            return executor.put(leaf)

        return exchange(graph, put)

    def gather(self, graph: Any) -> Any:
        """Return the values of futures, references and nodes: ``compute(graph, sync=True)``."""
        return self.compute(graph, sync=True)

    def optimize(self, *args: Any, **kwargs: Any) -> Any:
        """Return the first argument as it is, for RASCIL's callers.

        There is nothing to do ahead of time: `compute` leaves out what is not needed, and with ``optim=True``
        makes equal calls once.
        """
        if not args:
            raise InvalidSpec("optimize() needs a graph.")
        known = ("optimizations", "optimize_graph", "traverse")
        for name in kwargs:
            if name not in known:
                raise InvalidSpec(f"optimize has no parameter {name!r}{near_match(name, known)}")
        return args[0]

    # Workers

    def run(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[int, Any]:
        """Call a function on every worker, once each, and wait for it.

        It is recorded (``Executor.setup``): a worker that joins or is replaced later begins with it as well,
        so that for example its logging is set up. With ``use_dask=False`` it is called once, here.

        Returns
        -------
        dict
            What it returned, by the number of the worker.

        Raises
        ------
        Exception
            What it raised on the first worker, in their order, on which it failed.
        """
        executor = self._open()
        if executor is None:
            return {0: func(*args, **kwargs)}
        return dict(enumerate(executor.setup(func, *args, **kwargs).result()))

    # Statistics

    def init_statistics(self) -> None:
        """Let `save_statistics` begin to count now."""
        self._since = time.time()
        self._recorder.clear()
        client = self.client
        self._report = DaskReport(client) if clients.is_dask_client(client) else None

    def save_statistics(self, name: str = "dask") -> Statistics:
        """Log how long each function took since `init_statistics`, and write a page with the timeline.

        On Dask its own performance report is written as well, ``<name>_profile.html``.

        Parameters
        ----------
        name
            Beginning of the name of the file, ``<name>_task_stream.html``. It may contain a folder.

        Returns
        -------
        Statistics
            A dict: for each function its ``time`` (s, all calls together), ``fraction`` (per cent of all),
            ``number_calls`` and ``cpu`` (s); and ``summary`` with ``total`` (processor time, the sum of all
            times, s), ``duration`` (wall time, s) and ``speedup``, their ratio.
        """
        if self._executor is None:
            statistics = self._recorder.statistics(self._since)
        else:
            statistics = of_executor(self._executor, self._since)
        statistics.write(name)
        if self._report is not None and self._report.can_be_drawn():
            self._report.write(name)
        elif self._report is not None:
            _log.warning("Dask's own report is not written: it needs bokeh (pip install bokeh)")
        _log.info("%s", statistics)
        return statistics

    # The end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> Literal[False]:
        self.close()
        return False

    def __repr__(self) -> str:
        return f"<RSExecute: {self.type()}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        if self is rsexecute:
            # A function that names it finds that of its worker.
            return _the_session, ()
        return self._refuse()

    def _refuse(self) -> NoReturn:
        raise InvalidSpec(f"{self!r} does not travel: a task cannot use the session that runs it.")


def _the_session() -> RSExecute:
    return rsexecute


def _itself(value: Any) -> Any:
    return value


rsexecute = RSExecute()
"""The session that is there from the beginning."""
