"""Semantic 5, cancel: as in concurrent.futures, at once, and by force where asked for."""

from __future__ import annotations

import concurrent.futures
import os
import random
import threading
import time
from concurrent.futures import CancelledError
from concurrent.futures import Future as AnyFuture
from pathlib import Path

import pytest

from parallactic.errors import StateLost
from parallactic.executor import Executor
from parallactic.testing import tasks
from parallactic.testing.base import Contract, Start, needs_two_workers
from parallactic.testing.engine import Engine
from parallactic.testing.waiting import all_up, go, lines, pid_in, settles, until, worker_status

__all__ = ["CancelContract"]


class CancelContract(Contract):
    """Semantic 5: what nobody wants any more does not run, and what runs can be stopped."""

    def test_cancel_deep_in_a_queue_is_told_at_once(self, ex: Executor, tmp_path: Path) -> None:
        """`wait` returns a cancelled future that has 60 others before it, and the task never runs."""
        release, log = tmp_path / "release", tmp_path / "log"
        busy = [
            go(ex, tasks.write_and_wait, str(tmp_path / f"b{n}"), str(release)) for n in range(self.workers)
        ]
        pid_in(tmp_path / "b0", self.patience)
        queued = [go(ex, tasks.append, str(log), str(number)) for number in range(100)]
        assert queued[60].cancel()
        done, pending = concurrent.futures.wait([queued[60]], timeout=self.patience)
        assert (done, pending) == ({queued[60]}, set())
        assert queued[60].cancelled()
        assert not any(task.done() for task in busy)
        release.touch()
        ex.gather([f for f in queued if f is not queued[60]], timeout=self.patience)
        assert sorted(map(int, lines(log))) == [number for number in range(100) if number != 60]

    def test_cancel_deep_in_a_lane_is_told_at_once(self, ex: Executor, tmp_path: Path) -> None:
        """The same on a lane."""
        release, log = tmp_path / "release", tmp_path / "log"
        target = ex.target(0)
        go(target, tasks.write_and_wait, str(tmp_path / "started"), str(release))
        pid_in(tmp_path / "started", self.patience)
        queued = [go(target, tasks.append, str(log), str(number)) for number in range(50)]
        assert queued[30].cancel()
        assert concurrent.futures.wait([queued[30]], timeout=self.patience).done == {queued[30]}
        release.touch()
        ex.gather(queued, errors="return", timeout=self.patience)
        assert lines(log) == [str(number) for number in range(50) if number != 30]

    def test_cancel_of_a_held_task_is_told_at_once(self, ex: Executor) -> None:
        """A task that waits for its input can be cancelled too."""
        never: AnyFuture[None] = AnyFuture()
        future = ex.submit(tasks.identity, never)
        assert not future.running()
        assert future.cancel()
        assert concurrent.futures.wait([future], timeout=self.patience).done == {future}
        with pytest.raises(CancelledError):
            future.result(0)

    def test_cancel_states_are_those_of_the_standard_library(self, ex: Executor, tmp_path: Path) -> None:
        """PENDING until handed to a worker, then RUNNING and no longer to be cancelled, then done."""
        started, release = tmp_path / "started", tmp_path / "release"
        running = go(ex.target(0), tasks.write_and_wait, str(started), str(release), 1)
        pid_in(started, self.patience)
        assert (running.running(), running.done(), running.cancelled()) == (True, False, False)
        assert not running.cancel()
        release.touch()
        assert running.result(self.patience) == 1
        assert (running.running(), running.done(), running.cancelled()) == (False, True, False)
        assert not running.cancel()
        assert not running.cancel(force=True)

    def test_cancel_twice_is_true_and_calls_back_once(self, ex: Executor) -> None:
        """A cancelled future stays cancelled; its callbacks run once."""
        never: AnyFuture[None] = AnyFuture()
        future = ex.submit(tasks.identity, never)
        called: list[AnyFuture[object]] = []
        ended = threading.Event()
        future.add_done_callback(called.append)
        future.add_done_callback(lambda _: ended.set())
        assert future.cancel()
        assert future.cancel()
        assert future.cancel(force=True)
        assert ended.wait(self.patience)
        assert called == [future]

    def test_cancel_by_force_stops_python_code(self, start: Start, tmp_path: Path) -> None:
        """A running task is stopped, its future is CANCELLED, its worker is replaced."""
        ex = start()
        future = go(ex.target(0), tasks.spin, str(tmp_path / "started"))
        pid_in(tmp_path / "started", self.patience)
        assert future.cancel(force=True)
        assert future.cancelled()
        assert concurrent.futures.wait([future], timeout=self.patience).done == {future}
        assert list(concurrent.futures.as_completed([future], timeout=self.patience)) == [future]
        with pytest.raises(CancelledError):
            future.result(0)
        with pytest.raises(CancelledError):
            future.exception(0)
        until(lambda: worker_status(ex, 0).epoch == 1, self.patience, "the worker is replaced")
        assert ex.target(0).submit(tasks.where).result(self.patience)[:2] == (0, 1)

    def test_cancel_by_force_stops_what_just_begins(self, start: Start, tmp_path: Path) -> None:
        """Also before the client knows that it has begun: no worker is left with it."""
        ex = start()
        for number in range(4):
            future = go(ex, tasks.spin, str(tmp_path / f"started-{number}"))
            pid_in(tmp_path / f"started-{number}", self.patience)
            assert future.cancel(force=True)
            busy = [worker.task for worker in ex.status().workers if worker.task]
            until(
                lambda: not any(worker.task for worker in ex.status().workers),
                self.patience,
                f"no worker runs what was cancelled: {busy}",
            )

    def test_cancel_by_force_wakes_those_who_wait(self, start: Start, tmp_path: Path) -> None:
        """A thread that waits in `result` gets CancelledError."""
        ex = start()
        future = go(ex.target(0), tasks.spin, str(tmp_path / "started"))
        pid_in(tmp_path / "started", self.patience)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            waiting = pool.submit(future.result, self.patience)
            assert future.cancel(force=True)
            assert isinstance(waiting.exception(self.patience), CancelledError)

    @needs_two_workers
    def test_cancel_by_force_stops_a_busy_call_into_c(
        self, engine: Engine, start: Start, tmp_path: Path
    ) -> None:
        """A C call that holds the interpreter lock is stopped; the bystander is untouched.

        Where an engine cannot stop native code the future ends at once all the same, and the task at the end
        of its call; its result is dropped.
        """
        ex = start()
        native = engine.capabilities.kills_native_code
        ended, release, call = tmp_path / "ended", tmp_path / "release", tmp_path / "call"
        os.mkfifo(call)
        writer = os.open(call, os.O_RDWR)  # who reads waits until it is closed
        function, until_when = (tasks.nap_in_c, 30.0) if native else (tasks.wait_in_c, str(call))
        bystander = None
        if not engine.inline:
            bystander = ex.target(1).submit(tasks.write_and_wait, str(tmp_path / "by"), str(release))
        future = go(ex.target(0), function, until_when, str(tmp_path / "started"), str(ended))
        pid_in(tmp_path / "started", self.patience)
        assert future.cancel(force=True)
        assert future.cancelled()
        # The engine must have heard of it before the call ends by itself.
        until(
            lambda: ex.status().counts.get("cancelled") == 1,
            self.patience,
            "the run knows that it is cancelled",
        )
        os.close(writer)
        until(lambda: worker_status(ex, 0).epoch == 1, self.patience, "the worker is replaced")
        assert ex.target(0).submit(tasks.where).result(self.patience)[:2] == (0, 1)
        assert future.cancelled()
        assert not ended.exists()
        if bystander is not None:
            assert not bystander.done()
            release.touch()
            assert bystander.result(self.patience) == pid_in(tmp_path / "by", self.patience)
            assert worker_status(ex, 1).epoch == 0

    def test_cancel_by_force_of_a_handed_over_task_spares_the_head(
        self, start: Start, tmp_path: Path
    ) -> None:
        """A lane's task that its worker has received and not begun is withdrawn; nobody is killed."""
        ex = start()
        started, release, log = tmp_path / "started", tmp_path / "release", tmp_path / "log"
        target = ex.target(0)
        head = go(target, tasks.write_and_wait, str(started), str(release))
        pid = pid_in(started, self.patience)
        behind = [go(target, tasks.append, str(log), str(number)) for number in range(5)]
        # An engine may hand over only one task at a time; then the two are withdrawn from the core's queue.
        settles(lambda: behind[3].running(), 0.5)
        assert behind[1].cancel(force=True)
        assert behind[3].cancel(force=True)
        gone = {behind[1].task, behind[3].task}
        until(lambda: not gone & {task.id for task in ex.status().tasks}, self.patience, "they are withdrawn")
        assert not settles(head.done, 0.2), "the head was stopped in place of the tasks behind it"
        release.touch()
        assert head.result(self.patience) == pid
        for number in (0, 2, 4):
            assert behind[number].result(self.patience) == str(number)
        assert behind[1].cancelled()
        assert behind[3].cancelled()
        assert lines(log) == ["0", "2", "4"]
        assert target.submit(tasks.where).result(self.patience) == (0, 0, pid)

    def test_cancel_by_force_of_a_whole_lane_leaves_it_usable(self, start: Start, tmp_path: Path) -> None:
        """Head and followers are stopped together, none of the followers runs; a new target works."""
        ex = start()
        target = ex.target(0)
        head = go(target, tasks.spin, str(tmp_path / "started"))
        rest = [go(target, tasks.append, str(tmp_path / "log"), str(number)) for number in range(20)]
        pid_in(tmp_path / "started", self.patience)
        assert head.cancel(force=True)
        for future in rest:
            # Once the head is stopped, what stands behind it may have lost its state before it is cancelled.
            assert future.cancel(force=True) or isinstance(future.exception(0), StateLost)
        until(lambda: worker_status(ex, 0).epoch == 1, self.patience, "the worker is replaced")
        all_up(ex, self.patience)
        assert ex.target(0).submit(tasks.where).result(self.patience)[:2] == (0, 1)
        assert lines(tmp_path / "log") == []

    def test_cancel_by_force_of_untargeted_work_leaves_the_queue(self, start: Start, tmp_path: Path) -> None:
        """What waits behind the stopped task runs, once."""
        ex = start()
        futures = [go(ex, tasks.spin, str(tmp_path / f"started-{number}")) for number in range(self.workers)]
        pid_in(tmp_path / "started-0", self.patience)
        queued = [go(ex, tasks.append, str(tmp_path / "log"), str(number)) for number in range(20)]
        assert all(future.cancel(force=True) for future in futures)
        ex.gather(queued, timeout=self.patience)
        assert sorted(map(int, lines(tmp_path / "log"))) == list(range(20))
        # The replaced workers report before the executor is closed, so that the count is complete.
        all_up(ex, self.patience)
        assert len(ex.status().workers) == self.workers

    def test_cancel_by_force_races_with_the_result(self, start: Start) -> None:
        """Stopping a task that is just ending gives its result or a cancelled future, and harms nobody."""
        ex = start()
        waits = random.Random(1)
        ended = {"result": 0, "cancelled": 0}
        for number in range(60):
            future = ex.submit(tasks.identity, number)
            moment = time.perf_counter() + waits.uniform(0.0, 3e-4)
            while time.perf_counter() < moment:
                pass  # this thread must not sleep: it would wake up with the result
            future.cancel(force=True)
            try:
                assert future.result(self.patience) == number
                ended["result"] += 1
            except CancelledError:
                assert future.cancelled()
                ended["cancelled"] += 1
        assert sum(ended.values()) == 60
        assert ex.gather([ex.submit(tasks.identity, n) for n in range(20)], timeout=self.patience) == list(
            range(20)
        )
        all_up(ex, self.patience)

    def test_cancel_of_a_broadcast_cancels_every_part(self, ex: Executor, tmp_path: Path) -> None:
        """The future of several workers is cancelled if every part can be."""
        never: AnyFuture[None] = AnyFuture()
        whole = ex.target("all").submit(tasks.append, str(tmp_path / "log"), never)
        assert whole.cancel()
        with pytest.raises(CancelledError):
            whole.result(self.patience)
        assert whole.cancelled()
        assert ex.target("all").submit(tasks.identity, 1).result(self.patience) == [1] * self.workers
        assert lines(tmp_path / "log") == []

    def test_cancel_is_counted_and_gathered(self, ex: Executor) -> None:
        """`status` counts it; `gather` raises CancelledError or returns it."""
        before = ex.status().counts.get("cancelled", 0)
        never: AnyFuture[None] = AnyFuture()
        future = ex.submit(tasks.identity, never)
        assert future.cancel()
        with pytest.raises(CancelledError):
            ex.gather([future], timeout=self.patience)
        (outcome,) = ex.gather([future], errors="return", timeout=self.patience)
        assert isinstance(outcome, CancelledError)
        until(lambda: ex.status().counts.get("cancelled", 0) == before + 1, self.patience, "it is counted")
