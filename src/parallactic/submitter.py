"""An executor seen with options: the same run, other resources and rules."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from parallactic.dispatch.admission import check_spec
from parallactic.errors import InvalidSpec
from parallactic.future import Future
from parallactic.mapping import map_items
from parallactic.spec import TaskSpec

if TYPE_CHECKING:
    from parallactic.executor import Executor
    from parallactic.target import Target

__all__ = ["Submitter"]


class Submitter(concurrent.futures.Executor):
    """What ``Executor.options`` returns. It shares the workers and the end of its executor."""

    def __init__(self, executor: Executor, spec: TaskSpec) -> None:
        self._executor = executor
        self._spec = spec

    def options(self, **options: Any) -> Submitter:
        """Return a view with more options; those named again are replaced.

        Raises
        ------
        InvalidSpec
            If an option is unknown or wrong, or the backend can never give what is asked for.
        """
        spec = self._spec.updated(**options)
        check_spec(spec, self._executor.engine)
        return Submitter(self._executor, spec)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Run a function with these options; see ``Executor.submit``."""
        return self._executor.dispatch(fn, args, kwargs, self._spec)[0]

    def map(
        self,
        fn: Callable[..., Any],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | Literal["auto"] = "auto",
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Apply a function to every item with these options; see ``Executor.map``.

        With a time limit or retries every item is a task of its own.
        """
        return map_items(self._executor, self._spec, fn, iterables, timeout, chunksize, buffersize)

    def target(self, workers: int | Sequence[int] | Literal["all"]) -> Target:
        """Address workers with these options; see ``Executor.target``."""
        return self._executor.address(workers, self._spec)

    @property
    def max_workers(self) -> int:
        """Number of workers."""
        return self._executor.max_workers

    _max_workers = max_workers

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> NoReturn:
        """Refuse: the run belongs to the executor.

        Raises
        ------
        InvalidSpec
            Always.
        """
        raise InvalidSpec("a view made by options() does not end the run; shut the executor itself down.")

    def __exit__(self, *_: object) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return f"{self._executor!r} with {self._spec}"

    def __reduce__(self) -> NoReturn:
        raise InvalidSpec(f"{self!r} does not travel: a task cannot use the executor that runs it.")
