"""Semantic 7, time: the timeout of a task is enforced; that of a waiter only ends the waiting."""

from __future__ import annotations

import time
from concurrent.futures import TimeoutError as FuturesTimeoutError
from pathlib import Path

import pytest

from parallactic.errors import InvalidSpec, TaskTimeout, WorkerLost
from parallactic.executor import Executor
from parallactic.testing import tasks
from parallactic.testing.base import Contract, Start
from parallactic.testing.engine import Engine
from parallactic.testing.waiting import all_up, go, lines, pid_in, until, worker_status

__all__ = ["TimeContract"]

_SHORT = 0.25
"""A timeout that no task here reaches unless it is meant to."""

_PROMPT = 2.0
"""Seconds within which an enforced limit must have ended its task, on a host that does other things too."""


class TimeContract(Contract):
    """Semantic 7: how long a task may run, and how long a person waits."""

    def test_time_is_up_stops_the_task(self, start: Start, tmp_path: Path) -> None:
        """TaskTimeout, not before the limit and soon after it; the worker is replaced."""
        ex = start()
        begin = time.monotonic()
        future = go(ex.options(timeout=_SHORT, name="slow").target(0), tasks.spin, str(tmp_path / "started"))
        error = future.exception(self.patience)
        assert isinstance(error, TaskTimeout)
        assert isinstance(error, TimeoutError)
        assert "slow" in str(error)
        assert "0.25 s" in str(error)
        assert _SHORT <= time.monotonic() - begin < _SHORT + _PROMPT
        until(lambda: worker_status(ex, 0).epoch == 1, self.patience, "the worker is replaced")
        assert ex.target(0).submit(tasks.where).result(self.patience)[:2] == (0, 1)
        assert worker_status(ex, 1).epoch == 0

    def test_time_is_up_inside_a_call_into_c(self, engine: Engine, start: Start, tmp_path: Path) -> None:
        """The limit holds for a C call that keeps the interpreter lock; bystanders go on.

        Where an engine cannot stop native code, the limit takes effect when the call ends.
        """
        ex = start()
        native = engine.capabilities.kills_native_code
        seconds = 30.0 if native else 0.6
        future = go(ex.options(timeout=_SHORT).target(0), tasks.nap_in_c, seconds, str(tmp_path / "started"))
        begin = time.monotonic()
        assert isinstance(future.exception(self.patience), TaskTimeout)
        assert time.monotonic() - begin < (_SHORT if native else seconds) + _PROMPT
        all_up(ex, self.patience)
        if native:  # else the call may have ended by itself, and its worker lives on
            until(lambda: worker_status(ex, 0).epoch == 1, self.patience, "the worker is replaced")
            assert ex.target(0).submit(tasks.identity, 1).result(self.patience) == 1

    def test_time_in_a_queue_does_not_count(self, ex: Executor, tmp_path: Path) -> None:
        """A task that waited for longer than its timeout is none the worse."""
        started, release = tmp_path / "started", tmp_path / "release"
        head = go(ex.target(0), tasks.write_and_wait, str(started), str(release))
        limited = ex.options(timeout=_SHORT)
        behind = [go(limited.target(0), tasks.identity, number) for number in range(5)]
        pid_in(started, self.patience)
        begin = time.monotonic()
        until(lambda: time.monotonic() - begin > 2 * _SHORT, self.patience, "twice the timeout is over")
        assert not any(future.done() for future in behind)
        release.touch()
        head.result(self.patience)
        assert ex.gather(behind, timeout=self.patience) == list(range(5))

    def test_time_of_one_task_is_not_that_of_the_next(self, ex: Executor) -> None:
        """Many tasks in a row, each within its timeout, together far beyond it."""
        limited = ex.options(timeout=_SHORT).target(1)
        futures = [limited.submit(time.sleep, 0.04) for _ in range(12)]
        assert ex.gather(futures, errors="return", timeout=self.patience) == [None] * 12
        assert worker_status(ex, 1).epoch == 0

    def test_time_is_up_again_for_each_attempt(self, start: Start, tmp_path: Path) -> None:
        """With retries every attempt has the whole timeout; then TaskTimeout."""
        ex = start()
        log = tmp_path / "log"
        future = go(
            ex.options(timeout=_SHORT, retries=1), tasks.append_and_spin, str(log), str(tmp_path / "s")
        )
        error = future.exception(self.patience)
        assert isinstance(error, TaskTimeout)
        assert "attempt 2" in "".join(error.__notes__)
        assert lines(log) == ["run", "run"]

    def test_time_is_up_once_and_then_enough(self, start: Start, tmp_path: Path) -> None:
        """A retry that is in time gives the result."""
        ex = start()
        future = go(ex.options(timeout=_SHORT, retries=2), tasks.spin_at_first, str(tmp_path / "log"))
        assert future.result(self.patience) == "in time"
        assert lines(tmp_path / "log") == ["run", "run"]

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
        begin = time.monotonic()
        with pytest.raises(FuturesTimeoutError):
            ex.gather(futures * 20, timeout=0.1)
        assert time.monotonic() - begin < 1.0
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
