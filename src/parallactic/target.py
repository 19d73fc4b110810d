"""One worker, or several, addressed by number: strict order, and a namespace that lasts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from parallactic.dispatch.task import Role
from parallactic.errors import InvalidSpec
from parallactic.future import Future
from parallactic.spec import DEFAULT, TaskSpec
from parallactic.worker import namespace

if TYPE_CHECKING:
    from parallactic.executor import Executor

__all__ = ["Target", "make_target"]


class Target:
    """A worker, or several, to which tasks are addressed.

    Tasks run in the order they were submitted, from whichever thread, one at a time on each worker; one that
    fails does not stop those behind it. A target belongs to the worker as it was when the target was made: if
    that worker is replaced, later tasks of this target end with `StateLost`, unless a `setup` rebuilds the
    state.

    One worker gives one value; several give a list, in the order of the workers, which fails with the first
    error after all have ended.
    """

    def __init__(
        self, executor: Executor, workers: Sequence[int], *, several: bool, spec: TaskSpec = DEFAULT
    ) -> None:
        self._executor = executor
        self._workers = tuple(workers)
        self._several = several
        self._spec = spec
        self._epochs = {worker: executor.epoch(worker) for worker in self._workers}

    @property
    def workers(self) -> tuple[int, ...]:
        """Numbers of the workers."""
        return self._workers

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Run ``fn(*args, **kwargs)`` on the worker, or once on each.

        Returns
        -------
        Future
            Of the value, or of the list of values.
        """
        return self._submit(fn, args, kwargs)

    def push(self, **variables: Any) -> Future:
        """Set variables in the worker's namespace."""
        return self._submit(namespace.push, (variables,), {}, name="push")

    def pull(self, *names: str) -> Future:
        """Return the value of a variable of the worker's namespace, or a tuple of several.

        The future's exception is a NameError if a variable does not exist.
        """
        if not names or not all(isinstance(name, str) for name in names):
            raise InvalidSpec(f"pull{names!r} needs names of variables, for example pull('x').")
        return self._submit(namespace.pull, (names,), {}, name="pull")

    def run(self, code: str) -> Future:
        """Evaluate an expression, or execute statements, in the worker's namespace.

        Returns
        -------
        Future
            Of the expression's value; of None for statements.

        Raises
        ------
        InvalidSpec
            If `code` is not a string or not Python.
        """
        if not isinstance(code, str):
            raise InvalidSpec(f"run({code!r}) needs a string of Python; use submit to run a function.")
        try:
            compile(code, "<parallactic>", "exec")
        except (SyntaxError, ValueError) as error:
            raise InvalidSpec(f"run({code!r}) is not Python: {error}.") from error
        name = code if len(code) <= 40 else code[:37] + "..."
        return self._submit(namespace.run_code, (code,), {}, name=f"run {name!r}")

    def setup(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Run a function now, and again whenever the worker is replaced, before anything else runs there."""
        return self._submit(fn, args, kwargs, role=Role.SETUP)

    def setup_everywhere(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Future:
        """Do what `Executor.setup` promises: also on workers that join later."""
        return self._submit(fn, args, kwargs, role=Role.SETUP_EVERYWHERE)

    def _submit(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        name: str | None = None,
        role: Role = Role.CALL,
    ) -> Future:
        spec = self._spec.updated(name=name) if name and not self._spec.name else self._spec
        lanes = [(worker, self._epochs[worker]) for worker in self._workers]
        futures = self._executor.dispatch(fn, args, kwargs, spec, lanes, role)
        return self._executor.together(futures) if self._several else futures[0]

    def __repr__(self) -> str:
        return f"<Target {', '.join(map(str, self._workers))} of {self._executor!r}>"

    def __reduce__(self) -> NoReturn:
        raise InvalidSpec(f"{self!r} does not travel: a task cannot use the executor that runs it.")


def make_target(executor: Executor, workers: int | Sequence[int] | Literal["all"], spec: TaskSpec) -> Target:
    """Address one worker, several, or all of an executor.

    Raises
    ------
    InvalidSpec
        If there is no such worker, or the backend has none that last.
    """
    count = executor.max_workers
    if not executor.capabilities.targets:
        raise InvalidSpec(f"backend {executor.backend!r} has no lasting workers to address in this mode.")
    if workers == "all":
        workers = range(count)
    if not isinstance(workers, int | list | tuple | range):
        raise InvalidSpec(f"target({workers!r}) must be the number of a worker, a list of numbers, or 'all'.")
    several = not isinstance(workers, int)
    numbers = [workers] if isinstance(workers, int) else list(workers)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < count:
            raise InvalidSpec(f"there is no worker {number!r}; this executor has workers 0 to {count - 1}.")
    if not numbers or len(set(numbers)) < len(numbers):
        raise InvalidSpec(f"target({workers!r}) must name at least one worker, and each only once.")
    for number in numbers:
        executor.engine.refuse(spec, number)
    return Target(executor, numbers, several=several, spec=spec)
