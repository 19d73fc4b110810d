"""Units of work: submitted together, watched, and either all done or named in one error."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future, wait
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Literal, overload

from parallactic.errors import ParallacticError
from parallactic.tasks.progress import Progress

__all__ = ["Step", "StepFailed", "as_step", "run_units", "watch_units"]

_log = logging.getLogger(__name__)

_BAR_EVERY = 0.25
"""Seconds between two looks at a bar while nothing ends."""

_SHOWN = 3
"""How many failed units an error spells out; all of them are in ``StepFailed.failures``."""


class StepFailed(ParallacticError):
    """Some units of a step failed. The first error is the cause of this one.

    Parameters
    ----------
    message
        The sentence for a person.
    label
        What the step was doing.
    failures
        The error of every failed unit, by the unit's name.
    total
        How many units there were.
    """

    def __init__(
        self,
        message: str,
        *,
        label: str = "",
        failures: Mapping[str, BaseException] | None = None,
        total: int = 0,
    ) -> None:
        super().__init__(message)
        self.label = label
        self.failures = dict(failures or {})
        self.total = total


@dataclass
class Step:
    """What the recipe knows of the step that is running, for whoever submits its units.

    Parameters
    ----------
    name
        The step's name, the beginning of the names of its tasks.
    options
        Resources for ``Executor.options``: cores, memory, walltime and so on.
    units
        How many units were submitted so far. Counted here.
    """

    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    units: int = 0


_step: ContextVar[Step | None] = ContextVar("parallactic_step", default=None)


@contextmanager
def as_step(step: Step) -> Iterator[Step]:
    """Let every unit that is submitted inside belong to `step`: its resources, its name, its count."""
    token = _step.set(step)
    try:
        yield step
    finally:
        _step.reset(token)


@overload
def run_units(
    ex: Executor,
    work: Callable[..., Any],
    units: Sequence[Any],
    *common: Any,
    label: str,
    writes: Callable[[Any], str] | None = None,
    futures: Literal[False] = False,
) -> list[Any]: ...


@overload
def run_units(
    ex: Executor,
    work: Callable[..., Any],
    units: Sequence[Any],
    *common: Any,
    label: str,
    writes: Callable[[Any], str] | None = None,
    futures: Literal[True],
) -> list[Future[Any]]: ...


def run_units(
    ex: Executor,
    work: Callable[..., Any],
    units: Sequence[Any],
    *common: Any,
    label: str,
    writes: Callable[[Any], str] | None = None,
    futures: bool = False,
) -> list[Any]:
    """Run ``work(unit, *common)`` for every unit, and return the partial results in the order of the units.

    Parameters
    ----------
    ex
        Any ``concurrent.futures`` executor.
    work
        A function of a module (not a closure), so that it travels by name.
    units
        Pieces of the work, cut from the logical data: never according to the number of workers. A unit is
        named by its ``name`` if it has one, by itself if it is a text or a number, else by its position.
    *common
        Further arguments, the same for all units; futures among them are resolved by the executor.
    label
        What is being done: stands beside the progress bar and in errors.
    writes
        Gives the path that a unit changes in place. Units that change the same path run one after another,
        in order, as one task; and Ctrl-C lets the units that are running finish, since a killed writer
        would leave half a table.
    futures
        Return the futures at once, without waiting, for another task to take as arguments: the results
        then never pass through the client. Not together with `writes`.

    Raises
    ------
    StepFailed
        If units failed, after all have ended: it names them, and its cause is the first error.
    """
    if futures and writes is not None:
        raise TypeError("run_units: futures=True is for computing; a step that writes is waited for.")
    names = [_name(unit, position) for position, unit in enumerate(units)]
    batches = _batches(units, writes)
    step = _step.get()
    if step is not None:
        step.units += len(units)
    submitted: list[Future[Any]] = []
    ended: SimpleQueue[Future[Any]] = SimpleQueue()
    with Progress(label, len(batches)) as bar:
        try:
            for batch in batches:
                submit = _submitter(ex, step, f"{label} {names[batch[0]]}")
                if len(batch) == 1:
                    submitted.append(submit(work, units[batch[0]], *common))
                else:
                    chosen = [units[position] for position in batch]
                    submitted.append(submit(_in_turn, work, chosen, common))
                _raise_interrupt(submitted[-1])
                submitted[-1].add_done_callback(ended.put)
                bar.show(ended.qsize())
            if futures:
                return submitted
            _wait(ended, len(submitted), bar)
        except BaseException:
            _stop(submitted, gently=writes is not None)
            raise
    outcomes: list[Any] = [None] * len(units)
    failures: dict[str, BaseException] = {}
    for batch, future in zip(batches, submitted, strict=True):
        error = CancelledError("it was cancelled") if future.cancelled() else future.exception()
        if error is not None:
            failures.update((names[position], error) for position in batch)
            continue
        result = future.result()
        for position, outcome in zip(batch, [result] if len(batch) == 1 else result, strict=True):
            outcomes[position] = outcome
    if failures:
        raise _failed(label, failures, len(units)) from next(iter(failures.values()))
    return outcomes


def watch_units(futures: Sequence[Future[Any]], label: str) -> None:
    """Wait for what ``run_units(futures=True)`` submitted, behind the same bar; an interrupt stops it.

    Parameters
    ----------
    futures
        Of one or several calls. Their errors are theirs to tell.
    label
        What stands beside the progress bar.
    """
    ended: SimpleQueue[Future[Any]] = SimpleQueue()
    with Progress(label, len(futures)) as bar:
        try:
            for future in futures:
                future.add_done_callback(ended.put)
            _wait(ended, len(futures), bar)
        except BaseException:
            _stop(futures, gently=False)
            raise


def _in_turn(work: Callable[..., Any], units: Sequence[Any], common: Sequence[Any]) -> list[Any]:
    return [work(unit, *common) for unit in units]


def _raise_interrupt(future: Future[Any]) -> None:
    """Let Ctrl-C through that came while an executor ran the unit on this very thread, at submit."""
    if future.done() and not future.cancelled():
        error = future.exception()
        if isinstance(error, KeyboardInterrupt):
            raise error


def _batches(units: Sequence[Any], writes: Callable[[Any], str] | None) -> list[list[int]]:
    if writes is None:
        return [[position] for position in range(len(units))]
    by_path: dict[str, list[int]] = {}
    for position, unit in enumerate(units):
        by_path.setdefault(str(writes(unit)), []).append(position)
    return list(by_path.values())


def _name(unit: Any, position: int) -> str:
    name = getattr(unit, "name", None)
    if isinstance(name, str) and name:
        return name
    return str(unit) if isinstance(unit, str | int) else f"unit {position}"


def _submitter(ex: Any, step: Step | None, title: str) -> Callable[..., Future[Any]]:
    if not hasattr(ex, "options"):
        submit: Callable[..., Future[Any]] = ex.submit
        return submit
    options = dict(step.options) if step else {}
    name = f"{step.name}: {title}" if step and step.name else title
    bound: Callable[..., Future[Any]] = ex.options(**options, name=name).submit
    return bound


def _wait(ended: SimpleQueue[Future[Any]], total: int, bar: Progress) -> None:
    """Wait until all have ended, in whatever order; Ctrl-C is heard."""
    for count in range(total):
        while True:
            bar.show(count + ended.qsize())
            try:
                ended.get(timeout=_BAR_EVERY)
                break
            except Empty:
                continue


def _stop(futures: Sequence[Future[Any]], *, gently: bool) -> None:
    """Cancel what is left; unless gently, stop what runs too, where the executor can."""
    for future in futures:
        if not gently and "force" in inspect.signature(future.cancel).parameters:
            future.cancel(force=True)  # type: ignore[call-arg]  # ours takes it, the standard library's does not
        else:
            future.cancel()
    if gently:
        running = [future for future in futures if not future.done()]
        if running:
            _log.warning(
                "letting %d writing task(s) finish; interrupt once more to stop at once", len(running)
            )
            wait(running)


def _failed(label: str, failures: dict[str, BaseException], total: int) -> StepFailed:
    shown = [f"{name}: {_said(error)}" for name, error in list(failures.items())[:_SHOWN]]
    if len(failures) > _SHOWN:
        shown.append(f"and {len(failures) - _SHOWN} more")
    units = "1 unit" if total == 1 else f"{total} units"
    message = f"{label}: {len(failures)} of {units} failed. " + "; ".join(shown)
    return StepFailed(message, label=label, failures=failures, total=total)


def _said(error: BaseException) -> str:
    """Return an error's sentence; its type too where that is not ours and so says something."""
    text = str(error)
    if isinstance(error, ParallacticError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
