"""Semantic 1, order: strict FIFO on every lane, over the submits of all threads."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future as AnyFuture
from pathlib import Path
from typing import Any

import pytest

from parallactic.executor import Executor
from parallactic.testing import tasks
from parallactic.testing.base import Contract, Start, needs_two_workers
from parallactic.testing.waiting import go, lines, pid_in

__all__ = ["OrderContract"]

_THREADS = 4
_EACH = 250


def _inversions(intervals: list[tuple[float, float]]) -> int:
    """Count entries that ran after one whose submit began only when theirs had returned.

    Parameters
    ----------
    intervals
        Begin and end of each submit call, in the order in which the tasks ran.
    """
    latest_begin = float("-inf")
    inversions = 0
    for begin, end in intervals:
        inversions += end < latest_begin
        latest_begin = max(latest_begin, begin)
    return inversions


class OrderContract(Contract):
    """Semantic 1: targeted tasks run in the order of the submit calls of all threads."""

    def _submit_from_threads(self, work: Any) -> None:
        barrier = threading.Barrier(_THREADS)

        def run(thread: int) -> None:
            barrier.wait()
            work(thread)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def test_order_of_1000_submits_from_4_threads_has_no_inversion(self, ex: Executor) -> None:
        """The lane runs tasks in the order of the submit calls, whichever thread makes them."""
        target = ex.target(0)
        calls: list[tuple[float, float, int, int, Any]] = []

        def work(thread: int) -> None:
            for index in range(_EACH):
                begin = time.perf_counter()
                future = target.submit(tasks.note_in_namespace, (thread, index))
                calls.append((begin, time.perf_counter(), thread, index, future))

        self._submit_from_threads(work)
        ran = sorted((call[4].result(self.patience), call) for call in calls)
        assert [position for position, _ in ran] == list(range(_THREADS * _EACH))
        assert _inversions([(begin, end) for _, (begin, end, *_) in ran]) == 0
        for thread in range(_THREADS):
            own = [call[3] for _, call in ran if call[2] == thread]
            assert own == sorted(own)

    @needs_two_workers
    def test_order_of_a_lane_survives_mixed_durations(self, ex: Executor, tmp_path: Path) -> None:
        """A quick task does not overtake a slow one that was submitted before it."""
        target = ex.target(1)
        futures = [
            target.submit(
                tasks.sleep_and_append, str(tmp_path / "log"), str(number), 0.005 if number % 3 == 0 else 0
            )
            for number in range(30)
        ]
        ex.gather(futures, timeout=self.patience)
        assert lines(tmp_path / "log") == [str(number) for number in range(30)]

    def test_order_a_failed_task_does_not_stop_its_lane(self, ex: Executor) -> None:
        """What stands behind a failed task runs."""
        target = ex.target(0)
        futures = [
            target.submit(tasks.fail, ValueError(number)) if number % 4 == 0
            else target.submit(tasks.note_in_namespace, number)
            for number in range(40)
        ]  # fmt: skip
        outcomes = ex.gather(futures, errors="return", timeout=self.patience)
        assert [type(outcome) is ValueError for outcome in outcomes] == [n % 4 == 0 for n in range(40)]
        notes = target.submit(tasks.notes_of_namespace).result(self.patience)
        assert notes == [number for number in range(40) if number % 4]

    def test_order_a_broadcast_is_one_point_of_the_order(self, ex: Executor) -> None:
        """Every lane sees a broadcast at the same place between the other submits."""
        calls: dict[tuple[int, int], tuple[float, float, bool]] = {}
        lanes = [ex.target(number) for number in range(self.workers)]
        everyone = ex.target("all")

        def work(thread: int) -> None:
            for index in range(50):
                begin = time.perf_counter()
                if thread % 2:
                    everyone.submit(tasks.note_in_namespace, (thread, index))
                else:
                    lanes[index % len(lanes)].submit(tasks.note_in_namespace, (thread, index))
                calls[thread, index] = (begin, time.perf_counter(), bool(thread % 2))

        self._submit_from_threads(work)
        notes = everyone.submit(tasks.notes_of_namespace).result(self.patience)
        broadcasts = [[note for note in lane if calls[note][2]] for lane in notes]
        assert len(broadcasts[0]) == 100
        assert all(lane == broadcasts[0] for lane in broadcasts), (
            "two lanes saw broadcasts in different order"
        )
        for lane in notes:
            assert _inversions([calls[note][:2] for note in lane]) == 0

    @needs_two_workers
    def test_order_holds_behind_a_task_whose_input_is_pending(self, ex: Executor) -> None:
        """The head of a lane waits for its input, and what stands behind it waits too."""
        gate: AnyFuture[str] = AnyFuture()
        target = ex.target(0)
        first = target.submit(tasks.note_in_namespace, gate)
        second = target.submit(tasks.note_in_namespace, "second")
        # The other lane is free, and its answer shows that the first two had their chance to run.
        assert ex.target(1).submit(tasks.identity, 1).result(self.patience) == 1
        assert not first.done()
        assert not second.done()
        gate.set_result("first")
        assert (first.result(self.patience), second.result(self.patience)) == (0, 1)
        assert target.submit(tasks.notes_of_namespace).result(self.patience) == ["first", "second"]

    def test_order_holds_while_the_head_is_tried_again(self, ex: Executor, tmp_path: Path) -> None:
        """A task with retries keeps its place until its last attempt."""
        retried = ex.options(retries=2).target(0)
        lane = ex.target(0)
        log = tmp_path / "log"
        future = retried.submit(tasks.fail_until, str(log), 2)
        after = [lane.submit(tasks.append, str(log), f"after {number}") for number in range(5)]
        assert future.result(self.patience) == 3
        ex.gather(after, timeout=self.patience)
        assert lines(log) == ["run"] * 3 + [f"after {number}" for number in range(5)]

    @needs_two_workers
    def test_order_lanes_are_independent(self, start: Start, tmp_path: Path) -> None:
        """A busy worker delays nobody else's lane."""
        ex = start()
        busy = go(ex.target(0), tasks.write_and_wait, str(tmp_path / "started"), str(tmp_path / "release"))
        pid_in(tmp_path / "started", self.patience)
        free = [go(ex.target(1), tasks.note_in_namespace, number) for number in range(20)]
        if ex.capabilities.inline:
            # One thread runs everything: the other lane gets its turn when the task has ended.
            assert not any(future.done() for future in free)
        else:
            assert ex.gather(free, timeout=self.patience) == list(range(20))
            assert not busy.done()
        (tmp_path / "release").touch()
        busy.result(self.patience)
        assert ex.gather(free, timeout=self.patience) == list(range(20))

    def test_order_a_cancelled_task_leaves_the_rest_in_order(self, ex: Executor, tmp_path: Path) -> None:
        """Cancelling in the middle of a lane removes that task and nothing else."""
        target = ex.target(0)
        gate: AnyFuture[None] = AnyFuture()
        target.submit(tasks.identity, gate)
        futures = [target.submit(tasks.append, str(tmp_path / "log"), str(number)) for number in range(30)]
        assert all(futures[number].cancel() for number in range(0, 30, 3))
        gate.set_result(None)
        ex.gather(futures, errors="return", timeout=self.patience)
        assert lines(tmp_path / "log") == [str(number) for number in range(30) if number % 3]

    @needs_two_workers
    @pytest.mark.parametrize("workers", [[1, 0], [0], "all"])
    def test_order_of_values_is_that_of_the_workers_asked_for(self, ex: Executor, workers: Any) -> None:
        """A list of workers gives a list of values in the same order."""
        numbers = [info[0] for info in ex.target(workers).submit(tasks.where).result(self.patience)]
        assert numbers == (list(range(self.workers)) if workers == "all" else workers)
