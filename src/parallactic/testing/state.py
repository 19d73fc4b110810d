"""Semantic 6, state: a namespace belongs to a worker and its epoch."""

from __future__ import annotations

import os
import signal
from concurrent.futures import Future as AnyFuture
from pathlib import Path

import pytest

from parallactic.errors import InvalidSpec, StateLost
from parallactic.executor import Executor
from parallactic.testing import tasks
from parallactic.testing.base import Contract, Start, needs_two_workers
from parallactic.testing.engine import Engine
from parallactic.testing.waiting import go, lines, pid_in, until, worker_status

__all__ = ["StateContract"]


class StateContract(Contract):
    """Semantic 6: what a worker remembers, and what becomes of it when the worker is replaced."""

    def test_state_lasts_between_tasks_of_one_worker(self, ex: Executor) -> None:
        """Every worker has a namespace of its own; push, run, pull and functions see the same one."""
        for number in range(self.workers):
            ex.target(number).push(x=number, y="y").result(self.patience)
        for number in range(self.workers):
            target = ex.target(number)
            assert target.pull("x").result(self.patience) == number
            assert target.pull("x", "y").result(self.patience) == (number, "y")
            assert target.run("z = x + 1").result(self.patience) is None
            assert target.run("z").result(self.patience) == number + 1
            assert target.submit(tasks.read, "z").result(self.patience) == number + 1

    @needs_two_workers
    def test_state_of_several_workers_comes_as_a_list(self, ex: Executor) -> None:
        """A target of several gives the values in worker order."""
        everyone = ex.target("all")
        assert everyone.push(x=5).result(self.patience) == [None] * self.workers
        ex.target(1).push(x=6).result(self.patience)
        assert everyone.pull("x").result(self.patience) == [5, 6] + [5] * (self.workers - 2)
        assert ex.target([1, 0]).run("x").result(self.patience) == [6, 5]

    def test_state_run_follows_the_rule_of_expressions(self, ex: Executor) -> None:
        """An expression gives its value, a statement None; both see and change the namespace."""
        target = ex.target(0)
        assert (
            target.run("import math\nvalues = [math.floor(v) for v in (1.5, 2.5)]").result(self.patience)
            is None
        )
        assert target.run("values").result(self.patience) == [1, 2]
        assert target.run("def double(v): return 2 * v").result(self.patience) is None
        assert target.run("double(values[1])").result(self.patience) == 4
        assert target.run("values.append(3)").result(self.patience) is None
        assert target.run("sum(values)").result(self.patience) == 6
        assert isinstance(target.run("unknown_name").exception(self.patience), NameError)
        for wrong in ("x = = 1", "1 +", "if x:"):
            with pytest.raises(InvalidSpec, match="is not Python"):
                target.run(wrong)

    @needs_two_workers
    def test_state_pull_of_a_missing_name_says_where(self, ex: Executor) -> None:
        """NameError with the name, the worker and the epoch."""
        error = ex.target(1).pull("absent").exception(self.patience)
        assert isinstance(error, NameError)
        for part in ("absent", "worker 1", "epoch 0"):
            assert part in str(error)
        for wrong in ((), (3,)):
            with pytest.raises(InvalidSpec):
                ex.target(1).pull(*wrong)

    def test_state_is_seen_by_untargeted_tasks_of_the_same_worker(self, ex: Executor) -> None:
        """An untargeted task has the namespace of the worker that runs it."""
        ex.target("all").run("here = True").result(self.patience)
        worker, value = ex.submit(tasks.worker_and_value, "here").result(self.patience)
        assert worker in range(self.workers)
        assert value is True

    @needs_two_workers
    def test_state_begins_empty_with_each_epoch(self, start: Start, tmp_path: Path) -> None:
        """A replaced worker has the next epoch and an empty namespace; the bystander keeps its own."""
        ex = start()
        ex.target("all").push(x=1).result(self.patience)
        self.replace(ex, 0, tmp_path)
        target = ex.target(0)
        assert isinstance(target.pull("x").exception(self.patience), NameError)
        assert target.submit(tasks.where).result(self.patience)[:2] == (0, 1)
        target.push(x=2).result(self.patience)
        assert ex.target("all").pull("x").result(self.patience) == [2] + [1] * (self.workers - 1)

    @needs_two_workers
    def test_state_of_an_old_epoch_is_lost_aloud(self, start: Start, tmp_path: Path) -> None:
        """A target made before the replacement gets StateLost, later and again; a new target works."""
        ex = start()
        old, both = ex.target(0), ex.target("all")
        old.push(x=1).result(self.patience)
        self.replace(ex, 0, tmp_path)
        for _ in range(2):
            error = old.pull("x").exception(self.patience)
            assert isinstance(error, StateLost)
            assert "worker 0" in str(error)
        assert isinstance(both.submit(tasks.where).exception(self.patience), StateLost)
        assert ex.target(0).submit(tasks.where).result(self.patience)[:2] == (0, 1)
        assert ex.target(1).submit(tasks.where).result(self.patience)[:2] == (1, 0)

    def test_state_lost_tasks_that_waited_never_run(self, start: Start, tmp_path: Path) -> None:
        """What stood in the lane of a worker that is replaced, handed over or not, ends with StateLost."""
        ex = start()
        target = ex.target(0)
        doomed = go(target, tasks.spin, str(tmp_path / "started"))
        waiting = [go(target, tasks.append, str(tmp_path / "log"), str(number)) for number in range(20)]
        pid_in(tmp_path / "started", self.patience)
        assert doomed.cancel(force=True)
        errors = ex.gather(waiting, errors="return", timeout=self.patience)
        assert {type(error) for error in errors} == {StateLost}
        until(lambda: worker_status(ex, 0).epoch == 1, self.patience, "the worker is replaced")
        assert ex.target(0).submit(tasks.identity, 1).result(self.patience) == 1
        assert lines(tmp_path / "log") == []

    def test_state_set_up_by_target_is_replayed(self, start: Start, tmp_path: Path) -> None:
        """`w.setup` runs again on the new epoch, before what waits; old targets go on."""
        ex = start()
        log = str(tmp_path / "log")
        target = ex.target(0)
        assert target.setup(tasks.count_and_append, log, "a").result(self.patience) == 1
        assert target.setup(tasks.derive, log).result(self.patience) == 11
        target.push(x=1).result(self.patience)
        self.replace(ex, 0, tmp_path)
        assert target.pull("a", "b").result(self.patience) == (1, 11)
        assert isinstance(target.pull("x").exception(self.patience), NameError)
        assert target.submit(tasks.where).result(self.patience)[:2] == (0, 1)
        assert lines(tmp_path / "log") == ["0 a", "0 b", "1 a", "1 b"]
        self.replace(ex, 0, tmp_path)
        assert target.pull("b").result(self.patience) == 11
        assert lines(tmp_path / "log")[4:] == ["2 a", "2 b"]

    def test_state_set_up_is_replayed_before_what_waits(self, start: Start, tmp_path: Path) -> None:
        """Tasks that stood in the lane when the worker was replaced find the state rebuilt, and run once."""
        ex = start()
        log = str(tmp_path / "log")
        target = ex.target(0)
        target.setup(tasks.count_and_append, log, "a").result(self.patience)
        doomed = go(target, tasks.spin, str(tmp_path / "started"))
        waiting = [go(target, tasks.append_state, log, number) for number in range(12)]
        pid_in(tmp_path / "started", self.patience)
        assert doomed.cancel(force=True)
        assert ex.gather(waiting, timeout=self.patience) == [1] * 12
        assert lines(tmp_path / "log") == ["0 a", "1 a"] + [f"{number}: 1" for number in range(12)]

    @needs_two_workers
    def test_state_set_up_everywhere_is_replayed(self, start: Start, tmp_path: Path) -> None:
        """`ex.setup` holds for every worker, now and later."""
        ex = start()
        log = str(tmp_path / "log")
        assert ex.setup(tasks.count_and_append, log, "a", 41).result(self.patience) == [42] * self.workers
        old = ex.target("all")
        self.replace(ex, 1, tmp_path)
        assert old.pull("a").result(self.patience) == [42] * self.workers
        assert sorted(lines(tmp_path / "log")) == ["0 a"] * self.workers + ["1 a"]

    def test_state_a_setup_that_failed_is_not_replayed(self, start: Start, tmp_path: Path) -> None:
        """Only what has worked once is recorded."""
        ex = start()
        target = ex.target(0)
        log = str(tmp_path / "log")
        assert isinstance(target.setup(tasks.fail_until, log, 1).exception(self.patience), ValueError)
        self.replace(ex, 0, tmp_path)
        assert isinstance(target.submit(tasks.where).exception(self.patience), StateLost)
        assert ex.target(0).submit(tasks.where).result(self.patience)[1] == 1
        assert lines(tmp_path / "log") == ["run"]

    def test_state_a_replay_that_fails_is_told(self, start: Start, tmp_path: Path) -> None:
        """If the state cannot be rebuilt, the tasks that need it get StateLost with the reason as cause."""
        ex = start()
        target = ex.target(0)
        target.setup(tasks.fail_after_epoch_0).result(self.patience)
        doomed = go(target, tasks.spin, str(tmp_path / "started"))
        waiting = [go(target, tasks.append, str(tmp_path / "log"), str(number)) for number in range(3)]
        pid_in(tmp_path / "started", self.patience)
        assert doomed.cancel(force=True)
        errors = ex.gather(waiting, errors="return", timeout=self.patience)
        assert {type(error) for error in errors} == {StateLost}
        assert isinstance(errors[0].__cause__, ZeroDivisionError)
        assert lines(tmp_path / "log") == []

    def test_state_the_initializer_runs_first_on_every_epoch(self, start: Start, tmp_path: Path) -> None:
        """`initializer` comes before everything else, also on a worker that replaces another."""
        log = str(tmp_path / "log")
        ex = start(initializer=tasks.count_and_append, initargs=(log, "init"))
        assert ex.target("all").pull("init").result(self.patience) == [1] * self.workers
        target = ex.target(0)
        target.setup(tasks.count_and_append, log, "setup").result(self.patience)
        self.replace(ex, 0, tmp_path)
        assert target.pull("init", "setup").result(self.patience) == (1, 1)
        assert lines(tmp_path / "log")[-2:] == ["1 init", "1 setup"]
        assert len(lines(tmp_path / "log")) == self.workers + 3

    def test_state_of_a_pending_target_task_is_lost_with_its_worker(
        self, engine: Engine, start: Start, tmp_path: Path
    ) -> None:
        """A task that still waits for its input when its worker is replaced is told, too."""
        ex = start()
        never: AnyFuture[None] = AnyFuture()
        held = ex.target(0).submit(tasks.identity, never)
        if engine.capabilities.isolation:
            os.kill(worker_status(ex, 0).pid, signal.SIGKILL)
        else:
            # A lane is strict, so nothing runs before the held task; its worker cannot die either.
            assert held.cancel()
            return
        assert isinstance(held.exception(self.patience), StateLost)

    def test_state_targets_are_checked(self, ex: Executor) -> None:
        """A worker that does not exist, or is named twice, is InvalidSpec."""
        for wrong in (self.workers, -1, True, "0", [0, 0], [], [0, self.workers], 1.0):
            with pytest.raises(InvalidSpec):
                ex.target(wrong)  # type: ignore[arg-type]
