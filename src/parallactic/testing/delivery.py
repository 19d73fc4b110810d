"""Semantic 2, delivery: at most once without retries; a death costs only what it interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parallactic.errors import WorkerLost
from parallactic.executor import Executor
from parallactic.testing import tasks
from parallactic.testing.base import Contract, Start, needs_two_workers
from parallactic.testing.engine import Engine
from parallactic.testing.waiting import all_up, go, lines, pid_in, until, worker_status

__all__ = ["POISONS", "DeliveryContract"]

POISONS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "exit": (tasks.exit_now, (3,)),
    "kill": (tasks.kill_self, ()),
    "abort": (tasks.kill_self, (signal.SIGABRT,)),
    "segfault": (tasks.segfault, ()),
}
"""Ways in which a task can take its process with it."""


class DeliveryContract(Contract):
    """Semantic 2: how often a task runs, and what a death costs."""

    @needs_two_workers
    def test_delivery_every_task_runs_exactly_once(self, ex: Executor, tmp_path: Path) -> None:
        """Nothing is left out and nothing is done twice, untargeted and in lanes."""
        log = str(tmp_path / "log")
        futures = [ex.submit(tasks.append, log, str(number)) for number in range(300)]
        futures += [
            ex.target(number % 2).submit(tasks.append, log, str(number)) for number in range(300, 600)
        ]
        ex.gather(futures, timeout=self.patience)
        assert sorted(lines(tmp_path / "log"), key=int) == [str(number) for number in range(600)]

    def test_delivery_a_failed_task_is_not_run_again(self, ex: Executor, tmp_path: Path) -> None:
        """Without retries a failure is final."""
        future = ex.submit(tasks.fail_until, str(tmp_path / "log"), 1)
        assert isinstance(future.exception(self.patience), ValueError)
        assert lines(tmp_path / "log") == ["run"]

    def test_delivery_retries_end_with_success(self, ex: Executor, tmp_path: Path) -> None:
        """A task with retries runs again until it succeeds, and not once more."""
        retried = ex.status().counts.get("retried", 0)
        future = ex.options(retries=5).submit(tasks.fail_until, str(tmp_path / "log"), 2)
        assert future.result(self.patience) == 3
        assert lines(tmp_path / "log") == ["run"] * 3
        assert ex.status().counts["retried"] - retried == 2

    def test_delivery_retries_end_with_the_last_failure(self, ex: Executor, tmp_path: Path) -> None:
        """When all retries are used up, the last error is the outcome."""
        future = ex.options(retries=2).submit(tasks.fail_until, str(tmp_path / "log"), 10)
        error = future.exception(self.patience)
        assert isinstance(error, ValueError)
        assert "run 3 fails" in str(error)
        assert "attempt 3" in "".join(error.__notes__)
        assert lines(tmp_path / "log") == ["run"] * 3

    def test_delivery_retries_are_not_used_by_success(self, ex: Executor, tmp_path: Path) -> None:
        """A task that succeeds runs once, whatever its retries."""
        assert (
            ex.options(retries=3).submit(tasks.append, str(tmp_path / "log"), "x").result(self.patience)
            == "x"
        )
        assert lines(tmp_path / "log") == ["x"]

    @needs_two_workers
    @pytest.mark.parametrize("poison", POISONS)
    def test_delivery_poison_takes_down_its_own_worker_only(
        self, engine: Engine, start: Start, tmp_path: Path, poison: str
    ) -> None:
        """A task that kills its process fails; the other worker and its task never notice."""
        function, args = POISONS[poison]
        if _ends_its_client(engine, poison):
            return
        ex = start()
        started, release = tmp_path / "started", tmp_path / "release"
        bystander = ex.target(1).submit(tasks.write_and_wait, str(started), str(release))
        pid = pid_in(started, self.patience)
        error = ex.target(0).submit(function, *args).exception(self.patience)
        assert isinstance(error, WorkerLost), error
        assert error.cause == ("exit" if poison == "exit" else "signal")
        assert not bystander.done()
        release.touch()
        assert bystander.result(self.patience) == pid
        all_up(ex, self.patience)
        states = ex.status().workers
        assert [(worker.id, worker.epoch) for worker in states] == [
            (number, int(number == 0)) for number in range(self.workers)
        ]
        assert ex.target(0).submit(tasks.where).result(self.patience)[:2] == (0, 1)

    def test_delivery_poison_without_retries_runs_once(
        self, engine: Engine, start: Start, tmp_path: Path
    ) -> None:
        """What killed one worker is not handed to the next."""
        if _ends_its_client(engine, "exit"):
            return
        ex = start()
        log = tmp_path / "log"
        error = ex.submit(tasks.append_and_die, str(log)).exception(self.patience)
        assert isinstance(error, WorkerLost)
        assert ex.gather([ex.submit(tasks.identity, n) for n in range(20)], timeout=self.patience) == list(
            range(20)
        )
        assert lines(log) == ["run"]

    def test_delivery_poison_with_retries_fails_in_the_end(
        self, engine: Engine, start: Start, tmp_path: Path
    ) -> None:
        """A poison task runs as often as was asked for, and then it fails; the pool stays."""
        if _ends_its_client(engine, "kill"):
            return
        ex = start()
        log = tmp_path / "log"
        error = ex.options(retries=2).submit(tasks.append_and_die, str(log)).exception(self.patience)
        assert isinstance(error, WorkerLost)
        assert lines(log) == ["run"] * 3
        assert ex.submit(tasks.identity, 1).result(self.patience) == 1

    def test_delivery_many_poisons_in_a_row_leave_the_pool_whole(
        self, engine: Engine, start: Start, tmp_path: Path
    ) -> None:
        """Death after death, every other task is done once and every worker is replaced."""
        if _ends_its_client(engine, "segfault"):
            return
        ex = start()
        log = tmp_path / "log"
        kinds = list(POISONS.values())
        poisons, others = [], []
        for number in range(8):
            function, args = kinds[number % len(kinds)]
            poisons.append(ex.submit(function, *args))
            others += [ex.submit(tasks.append, str(log), f"{number} {index}") for index in range(5)]
        assert all(isinstance(p.exception(self.patience), WorkerLost) for p in poisons)
        ex.gather(others, timeout=self.patience)
        assert set(Counter(lines(log)).values()) == {1}
        assert len(lines(log)) == 40
        all_up(ex, self.patience)
        workers = ex.status().workers
        assert len(workers) == self.workers
        assert sum(worker.epoch for worker in workers) == 8

    def test_delivery_a_death_costs_only_the_started_task(
        self, engine: Engine, start: Start, tmp_path: Path
    ) -> None:
        """Tasks that were handed over and not begun run once on the next worker, in order."""
        if _ends_its_client(engine, "kill"):
            return
        ex = start()
        log, started = tmp_path / "log", tmp_path / "started"
        target = ex.target(0)
        target.setup(tasks.identity, None).result(self.patience)
        head = target.submit(tasks.write_and_wait, str(started), str(tmp_path / "never"))
        rest = [target.submit(tasks.append, str(log), str(number)) for number in range(20)]
        os.kill(pid_in(started, self.patience), signal.SIGKILL)
        assert isinstance(head.exception(self.patience), WorkerLost)
        ex.gather(rest, timeout=self.patience)
        assert lines(log) == [str(number) for number in range(20)]

    @needs_two_workers
    def test_delivery_untargeted_work_goes_on_with_the_others(
        self, engine: Engine, start: Start, tmp_path: Path
    ) -> None:
        """After a SIGKILL queued tasks are done once, and the bystander's task ends where it began."""
        if _ends_its_client(engine, "kill"):
            return
        ex = start()
        log, release = tmp_path / "log", tmp_path / "release"
        busy = [
            ex.submit(tasks.write_and_wait, str(tmp_path / f"started-{n}"), str(release)) for n in range(2)
        ]
        pids = [pid_in(tmp_path / f"started-{number}", self.patience) for number in range(2)]
        queued = [ex.submit(tasks.append, str(log), str(number)) for number in range(50)]
        os.kill(pids[0], signal.SIGKILL)
        assert isinstance(busy[0].exception(self.patience), WorkerLost)
        ex.gather(queued, timeout=self.patience)
        assert not busy[1].done()
        release.touch()
        assert busy[1].result(self.patience) == pids[1]
        assert sorted(map(int, lines(log))) == list(range(50))

    def test_delivery_what_was_sent_before_a_death_arrives(self, engine: Engine, start: Start) -> None:
        """Results that a worker wrote before it died are results."""
        if _ends_its_client(engine, "exit"):
            return
        ex = start()
        for epoch in range(5):
            target = ex.target(0)
            futures = [target.submit(tasks.identity, bytes([epoch]) * 10_000) for _ in range(7)]
            poison = target.submit(tasks.kill_self)
            assert ex.gather(futures, timeout=self.patience) == [bytes([epoch]) * 10_000] * 7
            assert isinstance(poison.exception(self.patience), WorkerLost)
            until(
                lambda epoch=epoch: worker_status(ex, 0).epoch == epoch + 1,  # type: ignore[misc]
                self.patience,
                "the worker is replaced",
            )

    def test_delivery_a_stopped_task_is_not_run_again(self, start: Start, tmp_path: Path) -> None:
        """Retries are for failures; what was cancelled by force stays so."""
        ex = start()
        started, log = tmp_path / "started", tmp_path / "log"
        future = go(ex.options(retries=3).target(0), tasks.append_and_spin, str(log), str(started))
        pid_in(started, self.patience)
        assert future.cancel(force=True)
        until(lambda: worker_status(ex, 0).epoch == 1, self.patience, "the worker is replaced")
        all_up(ex, self.patience)
        assert ex.target("all").submit(tasks.identity, 1).result(self.patience) == [1] * self.workers
        assert lines(log) == ["run"]


_SCRIPT = """
import sys
from parallactic.testing import tasks
from parallactic.testing.delivery import POISONS
from parallactic.testing.engine import Engine
function, args = POISONS[sys.argv[2]]
Engine(sys.argv[1]).open().submit(function, *args).result(30)
print("the poison did nothing")
"""


_STATUS = {"exit": 3, "kill": -signal.SIGKILL, "abort": -signal.SIGABRT, "segfault": -signal.SIGSEGV}
"""How a process ends that takes each of them."""


def _ends_its_client(engine: Engine, poison: str) -> bool:
    """Tell whether tasks share the client's process; then see that a poison ends the client, as it must.

    That is what the absent capability `isolation` means: a task that ends its process ends the client.
    """
    if engine.capabilities.isolation:
        return False
    command = [sys.executable, "-c", _SCRIPT, engine.name, poison]
    with tempfile.TemporaryDirectory() as folder:
        # A client that is killed cannot remove the folder of its run.
        environment = os.environ | {"TMPDIR": folder}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env=environment
        )
    assert "the poison did nothing" not in done.stdout
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == _STATUS[poison]
    return True
