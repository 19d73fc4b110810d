"""To the letter: what the standard library, and libraries that take an executor, expect of one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from concurrent.futures import BrokenExecutor
from concurrent.futures import Future as AnyFuture
from concurrent.futures import TimeoutError as FuturesTimeoutError
from pathlib import Path

import pytest

from parallactic.errors import BackendUnavailable
from parallactic.executor import Executor
from parallactic.testing import tasks
from parallactic.testing.base import Contract, Start, needs_two_workers
from parallactic.testing.engine import Engine
from parallactic.testing.mishaps import divide
from parallactic.testing.waiting import go, pid_in

__all__ = ["FuturesContract"]


class FuturesContract(Contract):
    """`concurrent.futures`, asyncio, and futures as arguments."""

    def test_futures_are_those_of_the_standard_library(self, ex: Executor) -> None:
        """By inheritance, so that whatever takes an executor takes this one."""
        assert isinstance(ex, concurrent.futures.Executor)
        assert isinstance(ex.submit(tasks.identity, 1), concurrent.futures.Future)
        assert isinstance(ex.options(name="x"), concurrent.futures.Executor)
        assert ex.max_workers == self.workers == ex._max_workers

    def test_futures_wait_for_the_first_the_failed_or_all(self, ex: Executor, tmp_path: Path) -> None:
        """`wait` with each ``return_when``."""
        gates: list[AnyFuture[int]] = [AnyFuture() for _ in range(3)]
        futures = [ex.submit(tasks.identity, gate) for gate in gates]
        futures[1] = ex.submit(divide, gates[1])
        gates[0].set_result(0)
        done, pending = concurrent.futures.wait(futures, self.patience, concurrent.futures.FIRST_COMPLETED)
        assert (done, pending) == ({futures[0]}, {futures[1], futures[2]})
        gates[1].set_result(1)
        done, pending = concurrent.futures.wait(futures, self.patience, concurrent.futures.FIRST_EXCEPTION)
        assert futures[1] in done
        assert pending == {futures[2]}
        done, pending = concurrent.futures.wait(futures, 0.01, concurrent.futures.ALL_COMPLETED)
        assert pending == {futures[2]}
        gates[2].set_result(2)
        done, pending = concurrent.futures.wait(futures, self.patience, concurrent.futures.ALL_COMPLETED)
        assert (done, pending) == (set(futures), set())

    def test_futures_come_as_they_are_completed(self, ex: Executor) -> None:
        """`as_completed` yields in the order of the ends."""
        gates: list[AnyFuture[int]] = [AnyFuture() for _ in range(4)]
        futures = [ex.submit(tasks.identity, gate) for gate in gates]
        completed = concurrent.futures.as_completed(futures, timeout=self.patience)
        for number in (2, 0, 3, 1):
            gates[number].set_result(number)
            assert next(completed) is futures[number]
        gate: AnyFuture[int] = AnyFuture()
        with pytest.raises(FuturesTimeoutError):
            next(concurrent.futures.as_completed([ex.submit(tasks.identity, gate)], timeout=0.01))
        gate.set_result(0)

    def test_futures_have_exception_without_raising(self, ex: Executor) -> None:
        """`exception()` is None or the error."""
        assert ex.submit(tasks.identity, 1).exception(self.patience) is None
        assert isinstance(ex.submit(divide, 1).exception(self.patience), ZeroDivisionError)

    def test_futures_call_back_once_with_themselves(self, ex: Executor) -> None:
        """Callbacks added before the end and after it are called once each, in order."""
        gate: AnyFuture[int] = AnyFuture()
        future = ex.submit(tasks.identity, gate)
        called: list[tuple[int, AnyFuture[int]]] = []
        last = threading.Event()
        for number in range(5):
            future.add_done_callback(lambda f, number=number: called.append((number, f)))  # type: ignore[misc]
        future.add_done_callback(lambda _: last.set())
        assert not called
        gate.set_result(1)
        assert last.wait(self.patience)
        assert called == [(number, future) for number in range(5)]
        future.add_done_callback(lambda f: called.append((5, f)))
        assert called[5] == (5, future)

    def test_futures_of_a_task_that_is_done_stay_as_they_are(self, ex: Executor) -> None:
        """A result is not changed by a late cancel."""
        future = ex.submit(tasks.identity, 7)
        assert future.result(self.patience) == 7
        assert not future.cancel()
        assert not future.cancel(force=True)
        assert future.result() == 7
        assert not future.cancelled()

    def test_futures_work_in_asyncio(self, ex: Executor) -> None:
        """`run_in_executor`, `wrap_future`, `gather`, `as_completed`, and a cancelled await."""

        async def main() -> None:
            loop = asyncio.get_running_loop()
            assert await loop.run_in_executor(ex, tasks.identity, 1) == 1
            many = await asyncio.gather(*(loop.run_in_executor(ex, tasks.identity, n) for n in range(30)))
            assert many == list(range(30))
            with pytest.raises(ZeroDivisionError):
                await loop.run_in_executor(ex, divide, 1)
            assert await asyncio.wrap_future(ex.submit(tasks.identity, 2)) == 2
            wrapped = [asyncio.wrap_future(ex.submit(tasks.identity, n)) for n in range(5)]
            assert sorted([await future for future in asyncio.as_completed(wrapped)]) == list(range(5))
            gate: AnyFuture[int] = AnyFuture()
            inner = ex.submit(tasks.identity, gate)
            waiting = asyncio.wrap_future(inner)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            # asyncio hands the cancellation on.
            while not inner.cancelled():
                await asyncio.sleep(0.001)

        asyncio.run(asyncio.wait_for(main(), self.patience))

    def test_futures_as_arguments_are_resolved_at_any_depth(self, ex: Executor) -> None:
        """In lists, tuples, dicts, nested, and as keywords; the function receives plain values."""
        one, two = ex.submit(tasks.identity, 1), ex.submit(tasks.identity, [2])
        args, kwargs = ex.submit(
            tasks.echo, one, [one, (two, {"x": one})], key={"y": [(two,)]}, other=3
        ).result(self.patience)
        assert args == (1, [1, ([2], {"x": 1})])
        assert kwargs == {"key": {"y": [([2],)]}, "other": 3}

    def test_futures_form_chains_and_trees(self, ex: Executor) -> None:
        """A long chain, a wide fan-in, a diamond, all submitted before anything has ended."""
        gate: AnyFuture[int] = AnyFuture()
        link = ex.submit(tasks.identity, gate)
        for _ in range(50):
            link = ex.submit(tasks.add, link, 1)
        leaves = [ex.submit(tasks.add, gate, n) for n in range(100)]
        level = leaves
        while len(level) > 1:
            level = [ex.submit(tasks.add, *level[i : i + 4]) for i in range(0, len(level), 4)]
        left, right = ex.submit(tasks.add, gate, 1), ex.submit(tasks.add, gate, 2)
        diamond = ex.submit(tasks.add, left, right, [0][0])
        gate.set_result(1000)
        assert link.result(self.patience) == 1050
        assert level[0].result(self.patience) == 100 * 1000 + sum(range(100))
        assert diamond.result(self.patience) == 2003

    @needs_two_workers
    def test_futures_between_lanes_do_not_deadlock(self, ex: Executor) -> None:
        """Tasks on one worker that need results of another, back and forth."""
        value = ex.target(0).submit(tasks.identity, 0)
        for number in range(40):
            value = ex.target(number % 2).submit(tasks.add, value, 1)
        assert value.result(self.patience) == 40

    def test_futures_of_other_libraries_are_waited_for(self, ex: Executor) -> None:
        """Those of a ThreadPoolExecutor, done or not, and of another executor of ours."""
        event = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            ready = pool.submit(int, 1)
            later = pool.submit(lambda: event.wait(self.patience) and 2)
            total = ex.submit(tasks.add, ready, later, 10)
            assert not total.done()
            event.set()
            assert total.result(self.patience) == 13

    def test_futures_of_other_libraries_may_be_cancelled_while_waited_for(self, ex: Executor) -> None:
        """A task that waits for them can be cancelled, and what comes later does no harm."""
        gate: AnyFuture[int] = AnyFuture()
        future = ex.submit(tasks.identity, gate)
        assert future.cancel()
        gate.set_result(1)
        assert ex.submit(tasks.identity, gate).result(self.patience) == 1
        assert future.cancelled()

    def test_futures_given_twice_are_one(self, ex: Executor, tmp_path: Path) -> None:
        """The same future in several places, and in several tasks, runs once."""
        first = ex.submit(tasks.append, str(tmp_path / "log"), "once")
        outs = [ex.submit(tasks.echo, first, [first, first]) for _ in range(5)]
        for out in outs:
            assert out.result(self.patience)[0] == ("once", ["once", "once"])
        assert (tmp_path / "log").read_text() == "once\n"

    def test_futures_of_a_broadcast_can_be_arguments(self, ex: Executor) -> None:
        """The list of values is the input."""
        whole = ex.target("all").submit(tasks.identity, 3)
        assert ex.submit(sum, whole).result(self.patience) == 3 * self.workers

    def test_futures_gather_in_order(self, ex: Executor) -> None:
        """Results come in the order that was given, from any iterable, also an empty one."""
        futures = [ex.submit(tasks.identity, n) for n in range(20)]
        assert ex.gather(reversed(futures), timeout=self.patience) == list(range(19, -1, -1))
        assert ex.gather([]) == []
        assert ex.gather(iter(futures)) == list(range(20))

    def test_futures_run_on_all_workers(self, start: Start, tmp_path: Path) -> None:
        """Untargeted tasks use every worker, and one that is busy holds up nobody."""
        ex = start()
        if ex.capabilities.inline:
            assert ex.submit(tasks.where).result(self.patience)[2] == os.getpid()
            return
        release = tmp_path / "release"
        names = [str(tmp_path / f"started-{n}") for n in range(self.workers)]
        futures = [ex.submit(tasks.wait_somewhere, name, str(release)) for name in names]
        pids = [pid_in(Path(name), self.patience) for name in names]
        assert not any(future.done() for future in futures)
        release.touch()
        places = ex.gather(futures, timeout=self.patience)
        assert sorted(place[0] for place in places) == list(range(self.workers))
        assert [place[2] for place in places] == pids

    @needs_two_workers
    def test_futures_short_tasks_are_not_held_by_a_long_one(self, start: Start, tmp_path: Path) -> None:
        """With one worker busy, everything else goes to the other."""
        ex = start()
        release = tmp_path / "release"
        long = go(ex, tasks.write_and_wait, str(tmp_path / "started"), str(release), "long")
        pid_in(tmp_path / "started", self.patience)
        short = [go(ex, tasks.identity, n) for n in range(50)]
        if not ex.capabilities.inline:
            assert ex.gather(short, timeout=self.patience) == list(range(50))
            assert not long.done()
        release.touch()
        assert long.result(self.patience) == "long"
        assert ex.gather(short, timeout=self.patience) == list(range(50))

    def test_futures_of_a_broken_executor_say_why(self, engine: Engine) -> None:
        """An initializer that fails breaks the executor: BrokenExecutor now and later."""
        ex = engine.open(initializer=divide, initargs=(1,))
        try:
            with pytest.raises(BrokenExecutor, match="initializer"):
                ex.submit(tasks.identity, 1).result(self.patience)
            with pytest.raises(BackendUnavailable, match="ZeroDivisionError"):
                ex.submit(tasks.identity, 2).result(self.patience)
        finally:
            ex.shutdown()

    def test_futures_of_an_initializer_that_kills_say_why(self, engine: Engine) -> None:
        """An initializer that takes its worker down does not make new workers for ever."""
        if not engine.capabilities.isolation:
            return
        ex = engine.open(initializer=tasks.exit_now, initargs=(9, "cannot initialise"))
        try:
            with pytest.raises(BrokenExecutor):
                ex.submit(tasks.identity, 1).result(self.patience)
        finally:
            ex.shutdown()
