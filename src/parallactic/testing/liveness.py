"""Semantic 4, nothing hangs: a death is noticed, silence is not mistaken for it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from parallactic.errors import WorkerLost
from parallactic.testing import tasks
from parallactic.testing.base import Contract, Start, needs_two_workers
from parallactic.testing.engine import Engine
from parallactic.testing.waiting import go, pid_in, undisturbed, until, worker_status

__all__ = ["LivenessContract"]


class LivenessContract(Contract):
    """Semantic 4: every task in flight has somebody who watches over it."""

    def test_liveness_a_killed_worker_is_noticed(self, engine: Engine, start: Start, tmp_path: Path) -> None:
        """From SIGKILL to the error of its task it takes less than half a second on one host."""
        ex = start()
        if not engine.capabilities.isolation:
            assert {worker.pid for worker in ex.status().workers} == {os.getpid()}
            return

        def attempt(number: int) -> bool:
            started = tmp_path / f"started-{number}"
            future = ex.target(0).submit(tasks.write_and_wait, str(started), str(tmp_path / "never"))
            pid = pid_in(started, self.patience)
            begin = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            error = future.exception(self.patience)
            seconds = time.perf_counter() - begin
            assert isinstance(error, WorkerLost)
            assert error.cause == "signal"
            until(lambda: worker_status(ex, 0).state == "idle", self.patience, "the worker is replaced")
            return seconds < engine.notice_seconds

        # The first worker and one that replaced another.
        undisturbed(attempt, f"a death is noticed within {engine.notice_seconds} s")
        undisturbed(
            lambda number: attempt(3 + number), f"the next death is, within {engine.notice_seconds} s"
        )

    @needs_two_workers
    def test_liveness_the_pool_is_whole_again(self, engine: Engine, start: Start, tmp_path: Path) -> None:
        """A worker that dies is replaced: as many workers as before, the new one with the next epoch."""
        ex = start()
        before = ex.status().workers
        if engine.capabilities.isolation:
            os.kill(before[0].pid, signal.SIGKILL)
            until(
                lambda: (worker_status(ex, 0).epoch, worker_status(ex, 0).state) == (1, "idle"),
                self.patience,
                "an idle worker that was killed is replaced",
            )
        else:
            self.replace(ex, 0, tmp_path)
        after = ex.status().workers
        assert [worker.epoch for worker in after] == [1] + [0] * (self.workers - 1)
        assert after[1].pid == before[1].pid
        places = ex.target("all").submit(tasks.where).result(self.patience)
        assert [place[:2] for place in places] == [
            (number, int(number == 0)) for number in range(self.workers)
        ]
        assert [place[2] for place in places] == [worker.pid for worker in after]

    @needs_two_workers
    def test_liveness_the_bystander_is_untouched(self, engine: Engine, start: Start, tmp_path: Path) -> None:
        """The long task of another worker ends on the process that began it."""
        ex = start()
        started, release = tmp_path / "started", tmp_path / "release"
        bystander = go(ex.target(1), tasks.write_and_wait, str(started), str(release))
        pid = pid_in(started, self.patience)
        if engine.capabilities.isolation:
            os.kill(worker_status(ex, 0).pid, signal.SIGKILL)
            until(lambda: worker_status(ex, 0).epoch == 1, self.patience, "the death is noticed")
            assert ex.target(0).submit(tasks.where).result(self.patience)[1] == 1
        assert not bystander.done()
        release.touch()
        assert bystander.result(self.patience) == pid
        assert worker_status(ex, 1).epoch == 0

    @needs_two_workers
    def test_liveness_a_stopped_worker_is_unresponsive_and_recovers(
        self, engine: Engine, start: Start, tmp_path: Path
    ) -> None:
        """A worker that misses beats gets no new work, is not lost, and goes on when it can."""
        ex = start()
        if not engine.capabilities.isolation:
            assert {worker.state for worker in ex.status().workers} == {"idle"}
            return
        started, release = tmp_path / "started", tmp_path / "release"
        task = ex.target(0).submit(tasks.write_and_wait, str(started), str(release))
        pid = pid_in(started, self.patience)
        os.kill(pid, signal.SIGSTOP)
        try:
            until(lambda: worker_status(ex, 0).state == "unresponsive", self.patience, "the stop is noticed")
            release.touch()
            others = [ex.submit(tasks.where) for _ in range(20)]
            assert 0 not in {place[0] for place in ex.gather(others, timeout=self.patience)}
            assert worker_status(ex, 0).state == "unresponsive"
            assert not task.done()
        finally:
            os.kill(pid, signal.SIGCONT)
        assert task.result(self.patience) == pid
        until(lambda: worker_status(ex, 0).state == "idle", self.patience, "the worker answers again")
        assert ex.target(0).submit(tasks.where).result(self.patience) == (0, 0, pid)

    @needs_two_workers
    def test_liveness_an_idle_stopped_worker_gets_no_work(self, engine: Engine, start: Start) -> None:
        """A worker that was stopped while idle is seen too; its lane waits and then goes on."""
        ex = start()
        if not engine.capabilities.isolation:
            assert {worker.pid for worker in ex.status().workers} == {os.getpid()}
            return
        pid = worker_status(ex, 1).pid
        os.kill(pid, signal.SIGSTOP)
        try:
            until(lambda: worker_status(ex, 1).state == "unresponsive", self.patience, "the stop is noticed")
            lane = ex.target(1).submit(tasks.where)
            others = [ex.submit(tasks.where) for _ in range(10)]
            assert 1 not in {place[0] for place in ex.gather(others, timeout=self.patience)}
            assert not lane.done()
        finally:
            os.kill(pid, signal.SIGCONT)
        assert lane.result(self.patience) == (1, 0, pid)

    def test_liveness_a_call_that_holds_the_lock_is_not_silence(
        self, engine: Engine, start: Start, tmp_path: Path
    ) -> None:
        """A task that keeps the interpreter lock in C for several beats is neither unresponsive nor lost."""
        ex = start()

        def attempt(number: int) -> bool:
            started = tmp_path / f"started-{number}"
            future = go(ex.target(0), tasks.nap_in_c, 1.8, str(started))
            pid = pid_in(started, self.patience)
            states = set()
            while not future.done():
                states.add(worker_status(ex, 0).state)
                time.sleep(0.05)
            assert future.result(self.patience) == "slept"
            assert ex.target(0).submit(tasks.where).result(self.patience) == (0, 0, pid)
            return states <= {"busy", "idle"}

        undisturbed(attempt, "a worker that is deaf in C for 1.8 s is busy, not unresponsive")

    def test_liveness_a_death_releases_those_who_wait_for_its_result(
        self, engine: Engine, start: Start, tmp_path: Path
    ) -> None:
        """A chain behind a lost task ends with DependencyFailed, whose cause is the loss."""
        ex = start()
        started = tmp_path / "started"
        first = go(ex, tasks.spin, str(started))
        last = ex.submit(tasks.identity, ex.submit(tasks.identity, first))
        pid = pid_in(started, self.patience)
        if engine.capabilities.isolation:
            os.kill(pid, signal.SIGKILL)
        else:
            assert first.cancel(force=True)
        error = last.exception(self.patience)
        assert type(error).__name__ == "DependencyFailed"
