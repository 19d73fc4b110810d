"""Semantic 7, time: the timeout of a task is enforced; that of a waiter only ends the waiting."""

from __future__ import annotations

import time
from concurrent.futures import TimeoutError as FuturesTimeoutError
from pathlib import Path

import pytest

from parallactic.errors import InvalidSpec, TaskTimeout, WorkerLost
from parallactic.executor import Executor
from parallactic.testing import tasks
from parallactic.testing.base import Contract, Start, needs_two_workers
from parallactic.testing.engine import Engine
from parallactic.testing.waiting import all_up, go, lines, pid_in, undisturbed, until, worker_status

__all__ = ["TimeContract"]

_SHORT = 0.25
"""A timeout that no task here reaches on a host that lets it run, unless it is meant to."""

_PROMPT = 2.0
"""Seconds within which an enforced limit must have ended its task."""


class TimeContract(Contract):
    """Semantic 7: how long a task may run, and how long a person waits."""

    @needs_two_workers
    def test_time_is_up_stops_the_task(self, start: Start, tmp_path: Path) -> None:
        """TaskTimeout, not before the limit and soon after it; the worker is replaced."""

        def attempt(number: int) -> bool:
            ex = start()
            limited = ex.options(timeout=_SHORT, name="slow").target(0)
            begin = time.monotonic()
            future = go(limited, tasks.spin, str(tmp_path / f"started-{number}"))
            error = future.exception(self.patience)
            seconds = time.monotonic() - begin
            assert isinstance(error, TaskTimeout)
            assert isinstance(error, TimeoutError)
            assert "slow" in str(error)
            assert "0.25 s" in str(error)
            assert seconds >= _SHORT
            until(lambda: worker_status(ex, 0).epoch == 1, self.patience, "the worker is replaced")
            assert ex.target(0).submit(tasks.where).result(self.patience)[:2] == (0, 1)
            assert worker_status(ex, 1).epoch == 0
            return seconds < _SHORT + _PROMPT

        undisturbed(attempt, f"a task is stopped within {_PROMPT} s of its limit")

    def test_time_is_up_inside_a_call_into_c(self, engine: Engine, start: Start, tmp_path: Path) -> None:
        """The limit holds for a C call that keeps the interpreter lock; bystanders go on.

        Where an engine cannot stop native code, the limit takes effect when the call ends.
        """
        native = engine.capabilities.kills_native_code
        nap = 30.0 if native else 0.6

        def attempt(number: int) -> bool:
            ex = start()
            limited = ex.options(timeout=_SHORT).target(0)
            begin = time.monotonic()
            future = go(limited, tasks.nap_in_c, nap, str(tmp_path / f"started-{number}"))
            assert isinstance(future.exception(self.patience), TaskTimeout)
            seconds = time.monotonic() - begin
            all_up(ex, self.patience)
            if native:  # else the call may have ended by itself, and its worker lives on
                until(lambda: worker_status(ex, 0).epoch == 1, self.patience, "the worker is replaced")
                assert ex.target(0).submit(tasks.identity, 1).result(self.patience) == 1
            return seconds < (_SHORT if native else nap) + _PROMPT

        undisturbed(attempt, f"a call into C is stopped within {_PROMPT} s of its limit")

    def test_time_in_a_queue_does_not_count(self, start: Start, tmp_path: Path) -> None:
        """A task that waited for longer than its timeout is none the worse."""

        def attempt(number: int) -> bool:
            ex = start()
            started, release = tmp_path / f"started-{number}", tmp_path / f"release-{number}"
            head = go(ex.target(0), tasks.write_and_wait, str(started), str(release))
            limited = ex.options(timeout=_SHORT)
            behind = [go(limited.target(0), tasks.identity, number) for number in range(5)]
            pid_in(started, self.patience)
            time.sleep(2 * _SHORT)
            assert not any(future.done() for future in behind)
            release.touch()
            head.result(self.patience)
            outcomes = ex.gather(behind, errors="return", timeout=self.patience)
            return bool(outcomes == list(range(5)))

        undisturbed(attempt, "tasks that waited for twice their timeout ran")

    @needs_two_workers
    def test_time_of_one_task_is_not_that_of_the_next(self, start: Start) -> None:
        """Many tasks in a row, each within its timeout, together far beyond it."""

        def attempt(_: int) -> bool:
            ex = start()
            limited = ex.options(timeout=_SHORT).target(1)
            futures = [limited.submit(time.sleep, 0.04) for _ in range(12)]
            outcomes = ex.gather(futures, errors="return", timeout=self.patience)
            return outcomes == [None] * 12 and worker_status(ex, 1).epoch == 0

        undisturbed(attempt, "twelve tasks that together take twice the timeout of each were all in time")

    def test_time_is_up_again_for_each_attempt(self, start: Start, tmp_path: Path) -> None:
        """With retries every attempt has the whole timeout; then TaskTimeout."""

        def attempt(number: int) -> bool:
            ex = start()
            log, started = tmp_path / f"log-{number}", tmp_path / f"started-{number}"
            limited = ex.options(timeout=_SHORT, retries=1)
            error = go(limited, tasks.append_and_spin, str(log), str(started)).exception(self.patience)
            assert isinstance(error, TaskTimeout)
            assert "attempt 2" in "".join(error.__notes__)
            assert len(lines(log)) <= 2
            return len(lines(log)) == 2

        undisturbed(attempt, "both attempts had time to write a line")

    def test_time_is_up_once_and_then_enough(self, start: Start, tmp_path: Path) -> None:
        """A retry that is in time gives the result."""

        def attempt(number: int) -> bool:
            ex = start()
            log = tmp_path / f"log-{number}"
            future = go(ex.options(timeout=_SHORT, retries=2), tasks.spin_at_first, str(log))
            return future.exception(self.patience) is None and lines(log) == ["run", "run"]

        undisturbed(attempt, "the second of three possible attempts gave the result")

    def test_time_of_walltime_is_a_loss(self, start: Start, tmp_path: Path) -> None:
        """`walltime` is the scheduler's: WorkerLost with that cause."""
        ex = start()
        future = go(ex.options(walltime=_SHORT), tasks.spin, str(tmp_path / "started"))
        error = future.exception(self.patience)
        assert isinstance(error, WorkerLost)
        assert error.cause == "walltime"
        assert "walltime of 0.25 s" in str(error)

    def test_time_of_a_waiter_only_ends_the_waiting(self, ex: Executor, tmp_path: Path) -> None:
        """`result`, `exception` and `gather` give up; the task goes on and its result is there later."""
        started, release = tmp_path / "started", tmp_path / "release"
        future = go(ex, tasks.write_and_wait, str(started), str(release), "done")
        pid_in(started, self.patience)
        for give_up in (
            lambda: future.result(0.01),
            lambda: future.exception(0.01),
            lambda: ex.gather([future], timeout=0.01),
            lambda: ex.gather([future], errors="return", timeout=0.01),
        ):
            with pytest.raises(FuturesTimeoutError):
                give_up()
        assert not future.done()
        release.touch()
        assert future.result(self.patience) == "done"
        assert {worker.epoch for worker in ex.status().workers} == {0}

    def test_time_of_a_gather_is_for_all_together(self, ex: Executor, tmp_path: Path) -> None:
        """The timeout of `gather` is not one for each future."""
        release = tmp_path / "release"
        futures = [go(ex, tasks.write_and_wait, str(tmp_path / str(n)), str(release), n) for n in range(2)]

        def attempt(_: int) -> bool:
            begin = time.monotonic()
            with pytest.raises(FuturesTimeoutError):
                ex.gather(futures * 20, timeout=0.1)
            return time.monotonic() - begin < 1.0

        undisturbed(attempt, "gather of 40 futures gives up after 0.1 s, not after 4 s")
        release.touch()
        assert ex.gather(futures, timeout=self.patience) == [0, 1]

    def test_time_is_checked_when_asked_for(self, ex: Executor) -> None:
        """Strings with units are understood, nonsense is refused."""
        assert (
            ex.options(timeout="1min", walltime="0:01:00").submit(tasks.identity, 1).result(self.patience)
            == 1
        )
        for wrong in (0, -1, "soon", "5 parsec"):
            with pytest.raises(InvalidSpec, match="timeout"):
                ex.options(timeout=wrong)

    def test_time_is_up_for_the_head_of_a_lane_only(self, start: Start, tmp_path: Path) -> None:
        """Tasks behind a task that was stopped go on where the state can be rebuilt."""
        ex = start()
        target = ex.target(0)
        target.setup(tasks.identity, None).result(self.patience)
        head = go(ex.options(timeout=_SHORT).target(0), tasks.spin, str(tmp_path / "started"))
        behind = [go(target, tasks.append, str(tmp_path / "log"), str(number)) for number in range(10)]
        assert isinstance(head.exception(self.patience), TaskTimeout)
        ex.gather(behind, timeout=self.patience)
        assert lines(tmp_path / "log") == [str(number) for number in range(10)]
