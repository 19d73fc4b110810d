"""What every task stands on: ``@task``, the executor it is given, its units of work, its result.

A task is a function whose signature and docstring say everything: the Python call, the recipe and the command
line are checked and explained from them::

    Mode = Literal["manual", "clip"]

    @task
    def flag(vis: str, mode: Mode = "manual", *, ntime: float = 0.0,
             executor: ExecutorLike = None, **selection: Unpack[SelectionParameters]) -> FlagSummary:
        '''Flag bad data. (docstring with a NumPy "Parameters" section)'''
        units = _plan(MeasurementSet(vis), Selection(**selection), mode)
        with using(executor) as ex:
            partials = run_units(ex, _work, units, parameters, label=mode)
        return _merge(partials)
"""

from __future__ import annotations

import concurrent.futures
import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast, overload

from parallactic.errors import InvalidSpec
from parallactic.spec import near_match
from parallactic.tasks.result import TaskResult
from parallactic.tasks.signature import SELECTION, SelectionParameters, TaskSignature
from parallactic.tasks.units import StepFailed, run_units

if TYPE_CHECKING:
    from parallactic.executor import Executor

__all__ = [
    "SELECTION",
    "TASKS",
    "ExecutorLike",
    "SelectionParameters",
    "StepFailed",
    "Task",
    "TaskResult",
    "run_units",
    "signature_of",
    "task",
    "using",
]

ExecutorLike = concurrent.futures.Executor | str | None
"""An executor, the name of a backend, or None: the backend of the configuration."""

P = ParamSpec("P")
R = TypeVar("R")
_log = logging.getLogger("parallactic.tasks")


class Task(Protocol):
    """A function that ``@task`` has registered."""

    __name__: str
    signature: TaskSignature
    check: Callable[..., Any] | None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Check the call and run the task."""


class _Registry(Mapping[str, Task]):
    """Every task by name. A task of the library is imported when it is first looked up."""

    def __init__(self) -> None:
        self.homes: dict[str, str] = {}
        self._loaded: dict[str, Task] = {}

    def __getitem__(self, name: str) -> Task:
        if name not in self._loaded and name in self.homes:
            try:
                import_module(self.homes[name])
            except ModuleNotFoundError as error:
                if (error.name or "").startswith("parallactic"):
                    raise
                raise InvalidSpec(
                    f"the task {name!r} needs {error.name}, which is not installed: "
                    "pip install 'parallactic[tasks]'."
                ) from error
        if name not in self._loaded:
            raise KeyError(name)
        return self._loaded[name]

    def find(self, name: str) -> Task:
        """Return the task of that name, or raise InvalidSpec with the nearest name there is."""
        try:
            return self[name]
        except KeyError:
            known = ", ".join(self)
            raise InvalidSpec(
                f"there is no task {name!r}{near_match(name, self)} There are {known}."
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter([*self.homes, *sorted(self._loaded.keys() - self.homes.keys())])

    def __len__(self) -> int:
        return len(self.homes.keys() | self._loaded.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.homes or name in self._loaded

    def add(self, name: str, function: Task) -> None:
        """Register a task; the same function may be registered again (its module was reloaded)."""
        other = self._loaded.get(name)
        if other is not None and other.__module__ != function.__module__:
            raise TypeError(
                f"two tasks are called {name!r}: in {other.__module__} and in {function.__module__}."
            )
        self._loaded[name] = function

    def remove(self, name: str) -> None:
        """Forget a task that was registered by hand."""
        del self._loaded[name]


TASKS = _Registry()
"""Every task by name."""


@overload
def task(function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def task(*, check: Callable[..., Any] | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def task(function: Any = None, /, *, check: Callable[..., Any] | None = None) -> Any:
    """Make a function a task: registered in ``TASKS``, its calls checked, timed and logged.

    Every parameter is checked against its annotation before the function runs. A function that returns a
    :class:`TaskResult` gets the task's name and the seconds filled in.

    Parameters
    ----------
    function
        The task. Its annotations must exist at run time.
    check
        Called with the complete parameters (defaults included, `executor` left out) before the task runs, and
        by a recipe before its first step: raises InvalidSpec where parameters contradict each other, without
        looking at any data.

    Raises
    ------
    InvalidSpec
        By the calls: for an unknown, missing or wrong parameter.
    """
    if function is None:
        return lambda function: _make(function, check)
    return _make(function, check)


def _make(function: Callable[P, R], check: Callable[..., Any] | None) -> Callable[P, R]:
    signature = TaskSignature(function)
    name = signature.name

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(args, kwargs)
        if check is not None:
            check(**_complete(signature, given))
        shown = ", ".join(f"{key}={value!r}" for key, value in given.items() if key != "executor")
        _log.info("%s(%s) starts", name, shown)
        start = time.perf_counter()
        try:
            result = cast("Callable[..., R]", function)(**given)
        except BaseException as error:
            _log.info("%s stopped after %.2f s: %s", name, time.perf_counter() - start, type(error).__name__)
            raise
        seconds = time.perf_counter() - start
        if isinstance(result, TaskResult):
            result.task = result.task or name
            result.seconds = seconds
        _log.info("%s ended after %.2f s", name, seconds)
        return result

    registered = cast("Any", call)
    registered.signature = signature
    registered.check = check
    registered.__signature__ = signature.signature
    TASKS.add(name, registered)
    return call


def _complete(signature: TaskSignature, given: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {item.name: item.default for item in signature.parameters.values() if not item.required}
    complete = defaults | dict(given)
    complete.pop("executor", None)
    return complete


def signature_of(function: Callable[..., Any]) -> TaskSignature:
    """Return the signature of a task, for those who explain or check it.

    Raises
    ------
    InvalidSpec
        If the function is no task.
    """
    signature = getattr(function, "signature", None)
    if not isinstance(signature, TaskSignature):
        raise InvalidSpec(
            f"{getattr(function, '__name__', function)!r} is not a task; decorate it with @task."
        )
    return signature


@contextmanager
def using(executor: ExecutorLike) -> Iterator[Executor]:
    """Give the executor that a task was called with; one that is made here is shut down at the end.

    Parameters
    ----------
    executor
        An executor: used and left open. A text: the backend of that name. None: the configured backend.
    """
    if isinstance(executor, concurrent.futures.Executor):
        yield cast("Executor", executor)
        return
    from parallactic.executor import Executor

    with Executor(backend=executor) as own:
        yield own
