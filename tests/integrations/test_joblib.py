"""Joblib on every backend of ours."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from guests import guest

from interrupts import interrupt
from parallactic.errors import InvalidSpec, WorkerLost
from parallactic.executor import Executor
from parallactic.testing import tasks
from parallactic.testing.waiting import lines, until

joblib = guest("joblib")

import parallactic.integrations.joblib  # noqa: E402, F401  (registers the backend)

PATIENCE = 30.0
Parallel, delayed = joblib.Parallel, joblib.delayed


@pytest.fixture
def on(ex: Executor) -> Iterator[Executor]:
    """Have joblib use an executor."""
    with joblib.parallel_config(backend="parallactic", executor=ex):
        yield ex


def _square(number: float) -> float:
    return number * number


def _fail(number: int) -> int:
    raise LookupError(f"no antenna {number}")


def _late(number: int, seconds: float) -> int:
    time.sleep(seconds)
    return number


def _peak(folder: str, number: int) -> int:
    """Return how many calls were running while this one did."""
    own = Path(folder) / str(number)
    own.touch()
    time.sleep(0.05)
    seen = len(list(Path(folder).iterdir()))
    own.unlink()
    return seen


def _nested(number: int) -> tuple[int, int, list[float]]:
    found = Parallel(n_jobs=-1)(delayed(_square)(number + step) for step in range(3))
    threads = Parallel(n_jobs=-1)(delayed(threading.get_ident)() for _ in range(20))
    return os.getpid(), len(set(threads)), found


def _sum(array: np.ndarray, factor: int) -> float:
    return float(array.sum()) * factor


class TestCalls:
    def test_results_in_order(self, on: Executor) -> None:
        assert Parallel()(delayed(_square)(number) for number in range(50)) == [n**2 for n in range(50)]
        assert Parallel(n_jobs=2)(delayed(lambda v: v + 1)(number) for number in range(5)) == [1, 2, 3, 4, 5]
        assert Parallel()([]) == []

    def test_the_workers_do_the_work(self, on: Executor) -> None:
        pids = set(Parallel()(delayed(os.getpid)() for _ in range(8)))
        assert (os.getpid() in pids) == (not on.capabilities.isolation)

    def test_many_short_calls_go_in_batches(self, on: Executor) -> None:
        """Joblib makes batches of calls that are over at once; far fewer tasks than calls are run."""
        before = on.status().counts.get("finished", 0)
        assert sum(Parallel()(delayed(_square)(1) for _ in range(3000))) == 3000
        assert on.status().counts["finished"] - before < 1500

    def test_arrays_and_references(self, on: Executor) -> None:
        """A `Ref` is sent to each worker once; an array is itself."""
        array = np.arange(300_000.0)
        expected = [float(array.sum()) * factor for factor in range(4)]
        assert Parallel()(delayed(_sum)(array, factor) for factor in range(4)) == expected
        assert Parallel()(delayed(_sum)(on.put(array), factor) for factor in range(4)) == expected

    @pytest.mark.parametrize("kind", ["generator", "generator_unordered"])
    def test_generators(self, on: Executor, kind: str) -> None:
        """Results as they come, in order or not."""
        found = Parallel(return_as=kind)(delayed(_square)(number) for number in range(30))
        assert iter(found) is found
        values = list(found)
        assert (values if kind == "generator" else sorted(values)) == [n**2 for n in range(30)]

    def test_unordered_is_as_they_end(self, on: Executor, tmp_path: Path) -> None:
        """The first call ends when the last one has begun; results of those between come before its own."""
        if on.capabilities.inline:
            return  # calls end in the order in which they were made
        release = str(tmp_path / "release")
        calls = [delayed(tasks.write_and_wait)(str(tmp_path / "started"), release, "first")]
        calls += [delayed(_square)(number) for number in range(4)] + [delayed(tasks.announce)(release)]
        found = list(Parallel(return_as="generator_unordered", batch_size=1)(calls))
        assert found[0] != "first"

    def test_a_block_of_several_calls(self, on: Executor) -> None:
        with Parallel() as parallel:
            for _ in range(3):
                assert parallel(delayed(_square)(number) for number in range(4)) == [0, 1, 4, 9]

    def test_nested_calls_use_the_cores_of_their_task(self, on: Executor) -> None:
        """Threads of the worker, no more than it has cores."""
        for pid, threads, found in Parallel()(delayed(_nested)(number) for number in range(3)):
            assert (pid == os.getpid()) == (not on.capabilities.isolation)
            assert threads <= on.submit(_cores).result(PATIENCE)
            assert found == [found[0] ** 0.5 * found[0] ** 0.5, *found[1:]]

    def test_threads_of_libraries(self, on: Executor) -> None:
        """`inner_max_num_threads` is the option `cores`."""
        with joblib.parallel_config(backend="parallactic", executor=on, inner_max_num_threads=1):
            assert Parallel()(delayed(_cores)() for _ in range(4)) == [1] * 4


def _cores() -> int:
    import parallactic

    return parallactic.worker().cores


class TestNumberOfJobs:
    def test_all_workers_without_a_number(self, on: Executor) -> None:
        assert joblib.effective_n_jobs() == 2
        assert joblib.effective_n_jobs(-1) == 2
        assert joblib.effective_n_jobs(-2) == 1
        assert joblib.effective_n_jobs(7) == 2
        with pytest.raises(ValueError, match="n_jobs == 0"):
            Parallel(n_jobs=0)(delayed(_square)(number) for number in range(2))

    def test_fewer_jobs_than_workers(self, start: Callable[..., Executor], tmp_path: Path) -> None:
        """No more run at a time than was asked for, though more workers are there."""
        with joblib.parallel_config(backend="parallactic", executor=start(workers=3)):
            peaks = Parallel(n_jobs=2, batch_size=1)(
                delayed(_peak)(str(tmp_path), number) for number in range(20)
            )
        assert len(peaks) == 20
        assert max(peaks) <= 2


class TestTrouble:
    def test_an_error_keeps_its_type(self, on: Executor) -> None:
        with pytest.raises(LookupError, match="no antenna"):
            Parallel()(delayed(_fail)(number) for number in range(5))
        assert Parallel()(delayed(_square)(number) for number in range(3)) == [0, 1, 4]

    def test_an_error_ends_the_rest(self, start: Callable[..., Executor], tmp_path: Path) -> None:
        """What runs is stopped, what was not handed over never runs, the executor works on."""
        ex = start()
        if ex.capabilities.inline:
            return  # nothing else runs
        started, log = tmp_path / "started", str(tmp_path / "log")
        calls = [delayed(tasks.spin)(str(started)), delayed(_fail_after)(str(started))]
        calls += [delayed(tasks.append)(log, str(number)) for number in range(20)]
        with joblib.parallel_config(backend="parallactic", executor=ex), pytest.raises(LookupError):
            Parallel(batch_size=1)(calls)
        until(lambda: not ex.status().tasks, PATIENCE / 3, "nothing runs any more")
        assert len(lines(tmp_path / "log")) <= 2  # joblib hands over twice as many as there are workers
        assert ex.submit(_square, 3).result(PATIENCE) == 9

    def test_a_time_limit(self, start: Callable[..., Executor], tmp_path: Path) -> None:
        """The error is joblib's own; what runs is stopped."""
        ex = start()
        if ex.capabilities.inline:
            return  # the calls run on the thread that would look at the clock
        with (
            joblib.parallel_config(backend="parallactic", executor=ex),
            pytest.raises(multiprocessing.TimeoutError),
        ):
            Parallel(timeout=0.3)(delayed(tasks.spin)(str(tmp_path / f"started-{n}")) for n in range(2))
        until(lambda: not ex.status().tasks, PATIENCE / 3, "nothing runs any more")

    def test_ctrl_c_stops_what_runs(self, ex: Executor, tmp_path: Path) -> None:
        """The calls end at once, those that run too; the executor works on."""
        if ex.capabilities.inline:
            return  # calls run on the thread of callbacks, which hears no Ctrl-C, or on that of the caller
        interrupt(
            ex.backend,
            tmp_path,
            setup="import joblib, parallactic.integrations.joblib\n"
            "calls = [joblib.delayed(tasks.spin)(started) for _ in range(8)]",
            wait="with joblib.parallel_config(backend='parallactic', executor=ex):\n"
            "    joblib.Parallel(batch_size=1)(calls)",
        )

    def test_the_death_of_a_worker(self, start: Callable[..., Executor]) -> None:
        ex = start()
        if not ex.capabilities.isolation:
            return  # a worker cannot die alone
        with joblib.parallel_config(backend="parallactic", executor=ex):
            with pytest.raises(WorkerLost):
                Parallel()(delayed(tasks.kill_self)() for _ in range(1))
            assert Parallel()(delayed(_square)(number) for number in range(3)) == [0, 1, 4]

    def test_a_generator_that_is_dropped(self, start: Callable[..., Executor]) -> None:
        """The calls that are left end with it."""
        ex = start()
        if ex.capabilities.inline:
            return  # they have run by then
        with joblib.parallel_config(backend="parallactic", executor=ex):
            found = Parallel(return_as="generator", batch_size=1)(
                delayed(_late)(number, 0.2) for number in range(100)
            )
            assert next(found) == 0
            with pytest.warns(UserWarning, match=r".*"):
                del found
        until(lambda: not ex.status().tasks, PATIENCE / 3, "nothing runs any more")


class TestOwnExecutor:
    def test_is_made_from_the_configuration_and_closed(
        self, ex: Executor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without `executor=`; no process is left afterwards."""
        monkeypatch.setenv("PARALLACTIC_BACKEND", ex.backend)
        if ex.capabilities.isolation:
            Parallel(n_jobs=2, backend="parallactic")(delayed(_square)(1) for _ in range(2))  # ranks stay
        before = len(psutil.Process().children(recursive=True))
        with joblib.parallel_config(backend="parallactic", workers=2):
            assert joblib.effective_n_jobs() == 2
            assert Parallel()(delayed(_square)(number) for number in range(4)) == [0, 1, 4, 9]
            with Parallel() as parallel:
                assert parallel(delayed(_square)(number) for number in range(4)) == [0, 1, 4, 9]
        until(
            lambda: len(psutil.Process().children(recursive=True)) <= before, PATIENCE, "the workers are gone"
        )

    def test_of_a_named_backend(self) -> None:
        with joblib.parallel_config(backend="parallactic", executor="serial", workers=3):
            assert Parallel()(delayed(os.getpid)() for _ in range(4)) == [os.getpid()] * 4

    def test_what_it_refuses(self, ex: Executor) -> None:
        for options, told in (
            ({"executor": 3}, "must be an Executor"),
            ({"executor": ex, "workers": 3}, "workers cannot be set"),
            ({"executor": "serial", "workrs": 3}, "did you mean 'workers'"),
        ):
            config: dict[str, Any] = {"backend": "parallactic"} | options
            with pytest.raises(InvalidSpec, match=told), joblib.parallel_config(**config):
                Parallel()(delayed(_square)(number) for number in range(2))


def _fail_after(started: str) -> None:
    until(Path(started).exists, PATIENCE, "the other runs")
    raise LookupError("no antenna 1")
