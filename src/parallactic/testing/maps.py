"""`map`: results in order, every item with an outcome of its own, lazily where asked for."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import TimeoutError as FuturesTimeoutError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parallactic.errors import InvalidSpec, TaskTimeout, WorkerLost
from parallactic.executor import Executor
from parallactic.testing import arrays, tasks
from parallactic.testing.base import Contract, Start
from parallactic.testing.engine import Engine
from parallactic.testing.mishaps import Bolt, raise_by_name
from parallactic.testing.waiting import lines, undisturbed, until

__all__ = ["MapContract"]

_WAYS: list[dict[str, Any]] = [
    {},
    {"chunksize": 1},
    {"chunksize": 7},
    {"chunksize": 1000},
    {"buffersize": 1},
    {"buffersize": 10},
    {"buffersize": 10, "chunksize": 4},
    {"buffersize": 5, "chunksize": 50},
]


def _fail_at_ten(number: int) -> int:
    if number == 10:
        raise LookupError("ten")
    return number


def _bolt_at_ten(number: int) -> object:
    return Bolt() if number == 10 else number


def _die_at_ten(number: int) -> int:
    if number == 10:
        tasks.kill_self()
    return number


class MapContract(Contract):
    """`Executor.map`."""

    @pytest.mark.parametrize("way", _WAYS, ids=str)
    def test_map_gives_results_in_order(self, ex: Executor, way: dict[str, Any]) -> None:
        """Whatever the chunks and the buffer, with one iterable and with several."""
        assert list(ex.map(tasks.identity, range(101), **way)) == list(range(101))
        assert list(ex.map(pow, range(30), itertools.repeat(2), **way)) == [n * n for n in range(30)]
        assert list(ex.map(tasks.identity, [], **way)) == []

    @pytest.mark.parametrize("way", _WAYS, ids=str)
    def test_map_runs_every_item_once(self, ex: Executor, tmp_path: Path, way: dict[str, Any]) -> None:
        """No item is left out, none is done twice."""
        list(ex.map(tasks.append, itertools.repeat(str(tmp_path / "log")), map(str, range(60)), **way))
        assert sorted(map(int, lines(tmp_path / "log"))) == list(range(60))

    @pytest.mark.parametrize("way", _WAYS, ids=str)
    def test_map_items_have_outcomes_of_their_own(self, ex: Executor, way: dict[str, Any]) -> None:
        """The results before a failed item come first, then its error with its type, whatever the chunk."""
        for function, kind in ((_fail_at_ten, LookupError), (_bolt_at_ten, InvalidSpec)):
            results = ex.map(function, range(20), **way)
            assert [next(results) for _ in range(10)] == list(range(10))
            with pytest.raises(kind):
                next(results)

    def test_map_errors_have_their_remote_traceback(self, ex: Executor) -> None:
        """As those of `submit`."""
        with pytest.raises(LookupError, match="ten") as caught:
            list(ex.map(_fail_at_ten, range(20), chunksize=20))
        assert "_fail_at_ten" in str(caught.value.__cause__)
        with pytest.raises(Exception, match="StubbornError"):
            list(ex.map(raise_by_name, ["StubbornError"]))

    def test_map_takes_its_input_at_once(self, ex: Executor) -> None:
        """Without a buffer the input is read by the call, and work begins before a result is asked for."""
        taken = iter(range(10))
        results = ex.map(tasks.identity, taken)
        assert next(taken, None) is None
        assert list(results) == list(range(10))

    def test_map_works_without_being_consumed(self, ex: Executor, tmp_path: Path) -> None:
        """Tasks run whether or not anybody takes their results."""
        results = ex.map(tasks.append, itertools.repeat(str(tmp_path / "log")), map(str, range(20)))
        until(lambda: len(lines(tmp_path / "log")) == 20, self.patience, "all items have run")
        assert len(list(results)) == 20

    def test_map_timeout_ends_the_waiting(self, ex: Executor, tmp_path: Path) -> None:
        """TimeoutError when a result is not there in time, counted from the call."""
        if ex.capabilities.inline:
            # Everything has ended when the call returns, however late that is.
            assert list(ex.map(time.sleep, [0.05], timeout=0.01)) == [None]
            return
        release = tmp_path / "release"
        names = [str(tmp_path / str(number)) for number in range(3)]
        results = ex.map(tasks.write_and_wait, names, [str(release)] * 3, range(3), timeout=0.3, chunksize=1)
        with pytest.raises(FuturesTimeoutError):
            next(results)
        release.touch()
        until(lambda: not ex.status().tasks, self.patience, "the items have ended")

    def test_map_with_a_time_limit_is_item_by_item(self, start: Start) -> None:
        """A limit is meant for one item."""

        def attempt(_: int) -> bool:
            limited = start().options(timeout=0.25)
            try:
                return list(limited.map(time.sleep, [0.03] * 20, chunksize=20)) == [None] * 20
            except TaskTimeout:
                return False

        undisturbed(attempt, "twenty items that together take twice the limit of each were all in time")

    def test_map_with_retries_is_item_by_item(self, ex: Executor, tmp_path: Path) -> None:
        """A repetition is meant for one item."""
        logs = [str(tmp_path / str(number)) for number in range(4)]
        assert list(ex.options(retries=1).map(tasks.fail_until, logs, [1] * 4, chunksize=4)) == [2] * 4

    def test_map_item_over_its_time_is_the_only_one(self, start: Start) -> None:
        """The items before it are there."""

        def attempt(_: int) -> bool:
            results = start().options(timeout=0.4).map(time.sleep, [0.0, 0.0, 1.5])
            try:
                before = [next(results), next(results)]
            except TaskTimeout:
                return False
            with pytest.raises(TaskTimeout):
                next(results)
            return before == [None, None]

        undisturbed(attempt, "of three items only the last was over its time")

    def test_map_a_death_is_told(self, engine: Engine, start: Start) -> None:
        """An item that kills its worker is WorkerLost, and the executor goes on."""
        ex = start()
        if not engine.capabilities.isolation:
            return
        results = ex.map(_die_at_ten, range(20), chunksize=1)
        assert [next(results) for _ in range(10)] == list(range(10))
        with pytest.raises(WorkerLost):
            next(results)
        assert list(ex.map(tasks.identity, range(5))) == list(range(5))

    def test_map_of_arrays(self, ex: Executor) -> None:
        """Large items and results, and a Ref as an item."""
        ref = ex.put(np.ones(200_000))
        assert list(ex.map(arrays.total, [ref] * 5)) == [200_000.0] * 5
        out = list(ex.map(arrays.double, [np.full(200_000, float(n)) for n in range(5)]))
        assert [array[0] for array in out] == [0.0, 2.0, 4.0, 6.0, 8.0]

    def test_map_of_futures(self, ex: Executor) -> None:
        """Futures as items are resolved as those of `submit` are."""
        futures = [ex.submit(tasks.identity, n) for n in range(10)]
        assert list(ex.map(tasks.add, futures, itertools.repeat(1))) == list(range(1, 11))

    def test_map_chunks_cheap_items(self, ex: Executor) -> None:
        """The chunk size "auto" puts many cheap items into a task, and slow ones into tasks of their own."""

        def attempt(_: int) -> bool:
            before = _finished(ex)
            assert list(ex.map(tasks.identity, range(5000))) == list(range(5000))
            return _finished(ex) - before < 500

        undisturbed(attempt, "5000 items went in fewer than 500 tasks")
        before = _finished(ex)
        list(ex.map(time.sleep, [0.03] * 8))
        assert _finished(ex) - before == 8

    def test_map_chunks_cheap_items_within_its_buffer(self, ex: Executor) -> None:
        """The same with ``buffersize``."""

        def attempt(_: int) -> bool:
            before = _finished(ex)
            assert list(ex.map(tasks.identity, range(5000), buffersize=1000)) == list(range(5000))
            return _finished(ex) - before < 1500

        undisturbed(attempt, "5000 items went in fewer than 1500 tasks")

    @pytest.mark.parametrize(
        "wrong", [{"chunksize": 0}, {"chunksize": "big"}, {"buffersize": 0}, {"buffersize": 1.5}]
    )
    def test_map_checks_what_it_is_asked(self, ex: Executor, wrong: dict[str, Any]) -> None:
        """InvalidSpec names the parameter, at the call."""
        with pytest.raises(InvalidSpec, match=next(iter(wrong))):
            ex.map(tasks.identity, [1], **wrong)
        with pytest.raises(InvalidSpec):
            ex.map(tasks.identity)

    def test_map_closed_early_cancels_the_rest(self, start: Start, tmp_path: Path) -> None:
        """Who closes the iterator wants no more items."""
        ex = start()
        results = ex.map(tasks.sleep_and_append, [str(tmp_path / "log")] * 200, map(str, range(200)),
                         [0.01] * 200, buffersize=20)  # fmt: skip
        next(results)
        results.close()  # type: ignore[attr-defined]
        until(lambda: not ex.status().tasks, self.patience, "nothing is left to do")
        assert len(lines(tmp_path / "log")) <= 25


def _finished(ex: Executor) -> int:
    return ex.status().counts.get("finished", 0)
