"""From the futures of a graph to its values; and what to do when one of them fails."""

from __future__ import annotations

import concurrent.futures
import weakref
from typing import Any, NoReturn

from parallactic.errors import DependencyFailed
from parallactic.future import Future
from parallactic.rsexecute.graph import cancel, exchange, leaves, value_of

__all__ = ["values"]


def values(graph: Any, fresh: list[weakref.ref[Future]]) -> Any:
    """Return the values of a graph's futures and references, waiting for them.

    Parameters
    ----------
    graph
        Lists, tuples and dicts of futures and anything else.
    fresh
        Futures to cancel on a failure: nobody needs them then. An interrupt stops also what runs.

    Raises
    ------
    Exception
        What failed first, not that its dependents were not run.
    """
    waited = [leaf for leaf in leaves(graph) if isinstance(leaf, concurrent.futures.Future)]
    try:
        done, _ = concurrent.futures.wait(waited, return_when=concurrent.futures.FIRST_EXCEPTION)
        for future in waited:
            if future in done and (future.cancelled() or _failure(future) is not None):
                _raise(future)
        return exchange(graph, value_of)
    except BaseException as error:
        cancel(fresh, force=not isinstance(error, Exception))
        raise


def _failure(future: concurrent.futures.Future[Any]) -> BaseException | None:
    """Return the exception of a future that is done, without fetching its result."""
    return future.failure() if isinstance(future, Future) else future.exception()


def _raise(future: concurrent.futures.Future[Any]) -> NoReturn:
    error: BaseException | None = None if future.cancelled() else _failure(future)
    if error is None:
        raise concurrent.futures.CancelledError(f"{future!r} was cancelled.")
    while isinstance(error, DependencyFailed) and error.__cause__ is not None:
        error = error.__cause__
    raise error
