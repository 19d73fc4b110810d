"""Semantic 3, errors: the user's exception keeps its type; what cannot travel is an error at once."""

from __future__ import annotations

import pickle
import sys
from concurrent.futures import CancelledError
from concurrent.futures import Future as AnyFuture
from pathlib import Path
from typing import Any

import pytest

from parallactic import errors
from parallactic.errors import DependencyFailed, InvalidSpec, ParallacticError, WorkerLost
from parallactic.executor import Executor
from parallactic.testing import tasks
from parallactic.testing.base import Contract, Start, needs_two_workers
from parallactic.testing.engine import Engine
from parallactic.testing.mishaps import (
    Bolt,
    DetailedError,
    Holder,
    Landmine,
    OddError,
    StubbornError,
    TwoFacedError,
    divide,
    divide_deep,
    fail_on_worker_0,
    raise_by_name,
)
from parallactic.testing.waiting import go

__all__ = ["ErrorsContract"]


class ErrorsContract(Contract):
    """Semantic 3: what a person learns when something fails."""

    def test_errors_keep_type_arguments_and_attributes(self, ex: Executor) -> None:
        """The client gets the exception that user code raised."""
        error = ex.submit(tasks.fail, DetailedError("nothing there")).exception(self.patience)
        assert type(error) is DetailedError
        assert error.args == ("nothing there",)
        assert error.details == {"antenna": 3}
        with pytest.raises(DetailedError, match="nothing there"):
            ex.submit(tasks.fail, DetailedError("nothing there")).result(self.patience)

    def test_errors_have_the_remote_traceback_as_cause(self, ex: Executor) -> None:
        """The cause shows the frames on the worker, and the chain of exceptions there."""
        error = ex.submit(divide_deep, 1).exception(self.patience)
        assert isinstance(error, KeyError)
        text = str(error.__cause__)
        for part in ("in divide_deep", "in divide", "number / 0", "ZeroDivisionError", "KeyError"):
            assert part in text

    @needs_two_workers
    def test_errors_note_names_task_worker_host_attempt_and_log(self, ex: Executor) -> None:
        """A note says where it happened."""
        future = ex.options(name="flag scan 3", retries=1).target(1).submit(divide, 1)
        error = future.exception(self.patience)
        assert error is not None
        note = "\n".join(error.__notes__)
        worker = ex.status().workers[1]
        for part in ("flag scan 3", "worker 1", f"host {worker.host}", "attempt 2"):
            assert part in note
        assert worker.log in note

    @pytest.mark.parametrize("kind", [SystemExit, GeneratorExit])
    def test_errors_that_end_programs_end_only_the_task(
        self, ex: Executor, kind: type[BaseException]
    ) -> None:
        """SystemExit in a task is that task's outcome; the worker lives on."""
        before = ex.target(0).submit(tasks.where).result(self.patience)
        assert type(ex.target(0).submit(tasks.fail, kind()).exception(self.patience)) is kind
        assert ex.target(0).submit(tasks.where).result(self.patience) == before

    def test_errors_keyboard_interrupt_belongs_to_who_is_interrupted(self, start: Start) -> None:
        """A worker's KeyboardInterrupt is its task's outcome; on the client's own thread it is Ctrl-C."""
        ex = start()
        if ex.capabilities.inline:
            with pytest.raises(KeyboardInterrupt):
                ex.submit(tasks.fail, KeyboardInterrupt())
        else:
            error = ex.submit(tasks.fail, KeyboardInterrupt()).exception(self.patience)
            assert type(error) is KeyboardInterrupt
        assert ex.submit(tasks.identity, 1).result(self.patience) == 1
        assert ex.target("all").submit(tasks.identity, 1).result(self.patience) == [1] * self.workers
        assert not ex.status().tasks

    def test_errors_unpicklable_argument_fails_at_submit(self, ex: Executor) -> None:
        """The error names the argument and its type."""
        with pytest.raises(InvalidSpec, match=r"argument 1.*Bolt.*does not move"):
            ex.submit(tasks.echo, 1, Bolt())
        with pytest.raises(InvalidSpec, match=r"argument 'tool'.*list"):
            ex.submit(tasks.echo, 1, tool=[Bolt()])

    def test_errors_unpicklable_function_fails_at_submit(self, ex: Executor) -> None:
        """A closure over what cannot be pickled is refused."""
        bolt = Bolt()
        with pytest.raises(InvalidSpec, match="does not move"):
            ex.submit(lambda: bolt)

    def test_errors_unpicklable_result_fails_the_task(self, ex: Executor) -> None:
        """The error names the task and the type of the result."""
        error = ex.options(name="make bolt").submit(Bolt).exception(self.patience)
        assert isinstance(error, InvalidSpec)
        for part in ("make bolt", "Bolt", "does not move"):
            assert part in str(error)

    @pytest.mark.parametrize(
        ("error", "parts"),
        [
            (OddError("no gain", 7), ("OddError", "no gain (7)")),
            (StubbornError("locked"), ("StubbornError", "locked")),
            (TwoFacedError("split"), ("TwoFacedError", "split")),
        ],
        ids=["odd", "stubborn", "two-faced"],
    )
    def test_errors_that_do_not_travel_are_told(
        self, ex: Executor, error: Exception, parts: tuple[str, ...]
    ) -> None:
        """An exception that cannot be pickled or unpickled becomes a sentence with its type and text.

        Where tblib is loaded, as Dask does, one that only its own constructor cannot make again does travel.
        """
        outcome = ex.submit(raise_by_name, type(error).__name__).exception(self.patience)
        if "tblib.pickling_support" in sys.modules and isinstance(outcome, OddError):
            assert str(outcome) == str(error)
            return
        assert isinstance(outcome, ParallacticError)
        for part in parts:
            assert part in str(outcome)
        assert "raise_by_name" in str(outcome.__cause__)

    def test_errors_while_arguments_are_unpickled_fail_the_task(self, ex: Executor) -> None:
        """Unpickling runs user code; what it raises is the outcome, and the worker lives on."""
        error = ex.submit(tasks.identity, Landmine()).exception(self.patience)
        assert isinstance(error, ArithmeticError)
        assert ex.submit(tasks.identity, 5).result(self.patience) == 5

    def test_errors_while_a_result_is_unpickled_come_from_result(self, ex: Executor) -> None:
        """A result that cannot be unpickled is an error, from `result` and `exception`, again and again."""
        future = ex.submit(Landmine)
        for _ in range(2):
            with pytest.raises(ArithmeticError, match="a Landmine was unpickled"):
                future.result(self.patience)
            assert isinstance(future.exception(self.patience), ArithmeticError)

    def test_errors_executor_target_and_future_do_not_travel(self, ex: Executor) -> None:
        """Using them inside a task is InvalidSpec, however they would get there."""
        future = ex.submit(tasks.identity, 1)
        view = ex.options(name="x")
        holder = Holder()
        for thing in (ex, ex.target(0), view):
            holder.thing = thing
            with pytest.raises(InvalidSpec, match="does not travel"):
                ex.submit(tasks.identity, thing)
            with pytest.raises(InvalidSpec, match="does not travel"):
                ex.submit(tasks.identity, [holder])
            with pytest.raises(InvalidSpec, match="does not travel"):
                ex.submit(lambda thing=thing: thing)
        holder.thing = future
        with pytest.raises(InvalidSpec, match="does not travel"):
            ex.submit(tasks.identity, holder)
        with pytest.raises(InvalidSpec, match="does not travel"):
            ex.submit(lambda: future)

    def test_errors_of_inputs_are_dependency_failed(self, ex: Executor) -> None:
        """A task whose input failed is not run; the input's error is the cause."""
        bad = ex.submit(divide, 1)
        error = ex.options(name="sum").submit(tasks.add, 1, [bad]).exception(self.patience)
        assert isinstance(error, DependencyFailed)
        assert "sum" in str(error)
        assert isinstance(error.__cause__, ZeroDivisionError)
        chained = ex.submit(tasks.identity, ex.submit(tasks.identity, bad)).exception(self.patience)
        assert isinstance(chained, DependencyFailed)
        assert isinstance(chained.__cause__, DependencyFailed)

    def test_errors_of_foreign_inputs_are_dependency_failed(self, ex: Executor) -> None:
        """The same for futures of other executors, failed before or after the submit."""
        failed: AnyFuture[Any] = AnyFuture()
        failed.set_exception(OSError("disk full"))
        error = ex.submit(tasks.identity, failed).exception(self.patience)
        assert isinstance(error, DependencyFailed)
        assert isinstance(error.__cause__, OSError)
        later: AnyFuture[Any] = AnyFuture()
        waiting = ex.submit(tasks.identity, {"x": (later,)})
        assert not waiting.done()
        later.set_exception(OSError("disk full"))
        error = waiting.exception(self.patience)
        assert isinstance(error, DependencyFailed)
        assert isinstance(error.__cause__, OSError)

    def test_errors_of_cancelled_inputs_are_dependency_failed(self, ex: Executor) -> None:
        """A cancelled input fails the task that waits for it."""
        never: AnyFuture[Any] = AnyFuture()
        first = ex.submit(tasks.identity, never)
        second = ex.submit(tasks.identity, [first])
        assert first.cancel()
        error = second.exception(self.patience)
        assert isinstance(error, DependencyFailed)
        assert "cancelled" in str(error)
        foreign = ex.submit(tasks.identity, never)
        assert never.cancel()
        error = foreign.exception(self.patience)
        assert isinstance(error, DependencyFailed | CancelledError)

    def test_errors_of_a_death_say_cause_and_last_words(
        self, engine: Engine, start: Start, tmp_path: Path
    ) -> None:
        """WorkerLost tells how the process ended, and what it last wrote."""
        ex = start()
        if not engine.capabilities.isolation:
            # No process of its own: stopping by force is the only way to lose a worker.
            future = go(ex.options(timeout=0.05), tasks.spin, str(tmp_path / "started"))
            assert isinstance(future.exception(self.patience), errors.TaskTimeout)
            return
        error = ex.submit(tasks.exit_now, 7, "no room for the model").exception(self.patience)
        assert isinstance(error, WorkerLost)
        assert error.cause == "exit"
        assert "exit code 7" in str(error)
        assert "no room for the model" in error.log_tail
        error = ex.submit(tasks.segfault).exception(self.patience)
        assert isinstance(error, WorkerLost)
        assert error.cause == "signal"
        assert "SIGSEGV" in str(error)

    def test_errors_form_one_tree_and_travel(self, ex: Executor) -> None:
        """Each library error is a ParallacticError and keeps its attributes on the way through a worker."""
        for name in errors.__all__:
            kind = getattr(errors, name)
            if isinstance(kind, type):
                assert issubclass(kind, ParallacticError)
                assert type(ex.submit(tasks.fail, kind("why")).exception(self.patience)) is kind
        lost = WorkerLost("gone", cause="oom", log_tail="last words")
        for copy in (pickle.loads(pickle.dumps(lost)), ex.submit(tasks.fail, lost).exception(self.patience)):
            assert isinstance(copy, WorkerLost)
            assert (str(copy), copy.cause, copy.log_tail) == ("gone", "oom", "last words")

    def test_errors_of_one_task_leave_the_others_alone(self, ex: Executor) -> None:
        """`gather` returns errors in their places if asked to, else raises the first of them."""
        futures = [ex.submit(divide, 1), ex.submit(tasks.identity, 2), ex.submit(tasks.fail, KeyError("x"))]
        outcomes = ex.gather(futures, errors="return", timeout=self.patience)
        assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError, int, KeyError]
        with pytest.raises(ZeroDivisionError):
            ex.gather(futures, timeout=self.patience)
        with pytest.raises(InvalidSpec, match="'raise' or 'return'"):
            ex.gather(futures, errors="ignore")  # type: ignore[arg-type]

    def test_errors_of_a_broadcast_come_after_all_have_ended(self, ex: Executor) -> None:
        """The future of several workers fails with the first error, when every worker is through."""
        whole = ex.target("all").submit(fail_on_worker_0)
        assert isinstance(whole.exception(self.patience), ZeroDivisionError)
        notes = ex.target("all").submit(tasks.notes_of_namespace).result(self.patience)
        assert notes == [[]] + [["done"]] * (self.workers - 1)
