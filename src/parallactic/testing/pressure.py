"""Semantic 8, back-pressure: bounded queues that never deadlock, and callbacks on a thread of their own."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import Future as AnyFuture
from pathlib import Path

import psutil
import pytest

from parallactic.errors import InvalidSpec, SubmitError
from parallactic.executor import Executor
from parallactic.testing import tasks
from parallactic.testing.base import Contract, Start, needs_two_workers
from parallactic.testing.engine import Engine
from parallactic.testing.waiting import go, pid_in, until

__all__ = ["PressureContract"]


class PressureContract(Contract):
    """Semantic 8: what happens when work comes faster than it is done."""

    def test_pressure_blocks_submit_until_a_slot_is_free(self, start: Start) -> None:
        """With `max_pending` unfinished tasks `submit` waits, and goes on when one of them ends."""
        ex = start(max_pending=3)
        gates: list[AnyFuture[int]] = [AnyFuture() for _ in range(3)]
        futures = [ex.submit(tasks.identity, gate) for gate in gates]
        passed = threading.Event()
        late: list[AnyFuture[int]] = []

        def submit_one_more() -> None:
            late.append(ex.submit(tasks.identity, 4))
            passed.set()

        thread = threading.Thread(target=submit_one_more)
        thread.start()
        assert not passed.wait(0.2), "a fourth task was taken while three were unfinished"
        gates[1].set_result(1)
        assert futures[1].result(self.patience) == 1
        assert passed.wait(self.patience), "the slot was not given back"
        thread.join()
        assert late[0].result(self.patience) == 4
        gates[0].set_result(0)
        gates[2].set_result(2)
        assert ex.gather(futures, timeout=self.patience) == [0, 1, 2]

    def test_pressure_never_counts_more_than_allowed(self, start: Start) -> None:
        """However many threads submit, `status` never shows more unfinished tasks than `max_pending`."""
        ex = start(max_pending=4)
        most = 0

        def submit_many() -> None:
            for number in range(50):
                ex.submit(tasks.identity, number)

        threads = [threading.Thread(target=submit_many) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            most = max(most, len(ex.status().tasks))
        for thread in threads:
            thread.join()
        assert most <= 4

    @pytest.mark.parametrize("end", ["result", "failure", "cancel", "dependency"])
    def test_pressure_slot_is_free_before_callbacks(self, start: Start, end: str) -> None:
        """A callback may submit, even where `max_pending` is 1, however its task has ended."""
        ex = start(max_pending=1)
        second: list[AnyFuture[int]] = []
        submitted = threading.Event()
        gate: AnyFuture[int] = AnyFuture()

        def submit_again(_: object) -> None:
            second.append(ex.submit(tasks.identity, 2))
            submitted.set()

        function = tasks.fail if end == "failure" else tasks.identity
        future = ex.submit(function, gate)
        future.add_done_callback(submit_again)
        if end == "cancel":
            assert future.cancel()
        elif end == "dependency":
            gate.set_exception(OSError("gone"))
        else:
            gate.set_result(ValueError("bad") if end == "failure" else 1)  # type: ignore[arg-type]
        assert submitted.wait(self.patience), "a submit in a callback waits for ever"
        assert second[0].result(self.patience) == 2

    def test_pressure_a_slot_is_not_lost_by_a_refused_submit(self, start: Start) -> None:
        """What cannot be pickled takes no slot."""
        ex = start(max_pending=1)
        for _ in range(3):
            with pytest.raises(InvalidSpec):
                ex.submit(tasks.identity, threading.Lock())
        thread = threading.Thread(target=ex.submit, args=(tasks.identity, 1), daemon=True)
        thread.start()
        thread.join(self.patience)
        assert not thread.is_alive(), "a refused submit took a slot with it"

    def test_pressure_in_an_asyncio_loop_is_an_error(self, start: Start) -> None:
        """A loop must not be blocked: SubmitError says what to do."""
        ex = start(max_pending=1)
        gate: AnyFuture[int] = AnyFuture()

        async def main() -> int:
            first = ex.submit(tasks.identity, gate)
            with pytest.raises(SubmitError, match="max_pending"):
                ex.submit(tasks.identity, 2)
            gate.set_result(1)
            return int(await asyncio.wait_for(asyncio.wrap_future(first), self.patience))

        assert asyncio.run(main()) == 1
        assert ex.submit(tasks.identity, 3).result(self.patience) == 3

    @needs_two_workers
    def test_pressure_a_broadcast_wider_than_the_limit_is_refused(self, start: Start) -> None:
        """A task on every worker needs a slot for each; where there can never be enough, that is said."""
        ex = start(max_pending=1)
        with pytest.raises(SubmitError, match="max_pending"):
            ex.target("all").submit(tasks.identity, 1)
        assert ex.submit(tasks.identity, 1).result(self.patience) == 1

    def test_pressure_blocked_submit_ends_with_the_executor(self, start: Start) -> None:
        """A submit that waits for a slot when the executor is shut down raises RuntimeError."""
        ex = start(max_pending=1)
        gate: AnyFuture[int] = AnyFuture()
        future = ex.submit(tasks.identity, gate)
        outcome: list[BaseException] = []

        def submit_late() -> None:
            try:
                ex.submit(tasks.identity, 2)
            except RuntimeError as error:
                outcome.append(error)

        thread = threading.Thread(target=submit_late)
        thread.start()
        ex.shutdown(wait=False)
        gate.set_result(1)
        assert future.result(self.patience) == 1
        thread.join(self.patience)
        assert not thread.is_alive(), "a submit waits for ever in an executor that is shut down"
        assert len(outcome) == 1

    def test_pressure_callbacks_delay_no_task(self, start: Start) -> None:
        """A callback that blocks holds up other callbacks, and no task; it may wait for other futures."""
        ex = start()
        gate: AnyFuture[int] = AnyFuture()
        first, second = ex.submit(tasks.identity, gate), ex.submit(tasks.identity, 2)
        seen: list[int] = []
        inside, go_on = threading.Event(), threading.Event()

        def slow(_: object) -> None:
            inside.set()
            go_on.wait(self.patience)
            seen.append(second.result(self.patience))

        first.add_done_callback(slow)
        gate.set_result(1)
        assert inside.wait(self.patience)
        assert ex.gather([ex.submit(tasks.identity, n) for n in range(50)], timeout=self.patience) == list(
            range(50)
        )
        go_on.set()
        until(lambda: seen == [2], self.patience, "the callback has ended")

    def test_pressure_callbacks_run_on_one_thread_of_their_own(self, ex: Executor) -> None:
        """Callbacks run on one thread, never on this one; what they raise harms nobody."""
        gate: AnyFuture[int] = AnyFuture()
        threads: list[threading.Thread] = []
        called = threading.Semaphore(0)

        def note(_: object) -> None:
            threads.append(threading.current_thread())
            called.release()
            raise ValueError("a callback fails")

        futures = [ex.submit(tasks.identity, gate) for _ in range(20)]
        for future in futures:
            future.add_done_callback(note)
        gate.set_result(1)
        for _ in futures:
            assert called.acquire(timeout=self.patience)
        assert len(set(threads)) == 1
        assert threads[0] is not threading.current_thread()

    def test_pressure_map_takes_no_more_than_its_buffer(self, ex: Executor) -> None:
        """`map(buffersize=)` reads its input as it is consumed, never more than the buffer ahead."""
        taken = 0

        def source() -> Iterator[int]:
            nonlocal taken
            for number in itertools.count():
                taken = number + 1
                yield number

        results = ex.map(tasks.identity, source(), buffersize=20)
        assert taken <= 20
        for number, value in enumerate(itertools.islice(results, 500)):
            assert value == number
            assert taken <= number + 1 + 20
        results.close()  # type: ignore[attr-defined]

    def test_pressure_map_runs_in_constant_memory(self, engine: Engine, start: Start) -> None:
        """The memory of the client does not grow with the number of items."""
        ex = start()
        count = 60_000
        results = ex.map(tasks.identity, range(count), buffersize=1000)
        process = psutil.Process()
        halves = []
        for number, value in enumerate(results):
            assert value == number
            if number in (count // 3, count - 1):
                halves.append(process.memory_info().rss)
        # 40,000 items and their futures would take 40 MB and more if anything kept them.
        assert halves[1] - halves[0] < 8e6

    def test_pressure_limit_is_checked(self, engine: Engine) -> None:
        """`max_pending` below 1 is InvalidSpec."""
        for wrong in (0, -1):
            with pytest.raises(InvalidSpec, match="max_pending"):
                engine.open(max_pending=wrong)

    def test_pressure_a_running_task_counts(self, engine: Engine, start: Start, tmp_path: Path) -> None:
        """A running task is unfinished."""
        ex = start(max_pending=1)
        started, release = tmp_path / "started", tmp_path / "release"
        future = go(ex, tasks.write_and_wait, str(started), str(release), 1)
        pid_in(started, self.patience)
        thread = threading.Thread(target=ex.submit, args=(tasks.identity, 2), daemon=True)
        thread.start()
        thread.join(0.1)
        assert thread.is_alive(), "a second task was taken while the first ran"
        release.touch()
        assert future.result(self.patience) == 1
        thread.join(self.patience)
        assert not thread.is_alive()
