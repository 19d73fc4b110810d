"""Dask's collections on every backend, by its own loop (`scheduler=ex`) and by ours (`dask_get`)."""

from __future__ import annotations

import contextlib
import gc
import operator
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from guests import guest

from interrupts import interrupt
from parallactic.errors import InvalidSpec, WorkerLost
from parallactic.executor import Executor
from parallactic.testing import tasks
from parallactic.testing.waiting import lines, until

dask = guest("dask")
array = guest("dask.array")

from parallactic.integrations.dask import dask_get  # noqa: E402  (needs dask)

PATIENCE = 30.0
Way = Callable[[Executor], Any]


@pytest.fixture(params=["executor", "dask_get"])
def way(request: pytest.FixtureRequest) -> Way:
    """Make the argument `scheduler=` out of an executor."""
    return dask_get if request.param == "dask_get" else lambda executor: executor


class Tattler:
    """Notes in a file which process unpickles it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __getstate__(self) -> str:
        return self.path

    def __setstate__(self, path: str) -> None:
        self.path = path
        tasks.append(path, str(os.getpid()))


def _same(value: Any) -> Any:
    return value


def _fail(number: int, _: Any = None) -> int:
    raise LookupError(f"no antenna {number}")


def _note(path: str, line: str, _: Any = None) -> str:
    return tasks.append(path, line)


def _shared_blocks() -> int:
    """Return how many blocks of shared memory this process holds open."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # that of the listing itself
            found += "memfd" in str(descriptor.readlink())
    return found


class TestCollections:
    def test_array_reductions(self, ex: Executor, way: Way) -> None:
        """Against numpy on the same numbers; dask adds by chunks, hence the rounding."""
        own = np.random.default_rng(1).normal(size=(120, 90))
        x = array.from_array(own, chunks=(40, 30))
        scheduler = way(ex)
        for reduce in ("sum", "mean", "std", "max", "argmin"):
            found = getattr(x, reduce)(axis=0).compute(scheduler=scheduler)
            np.testing.assert_allclose(found, getattr(own, reduce)(axis=0), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(
            (x @ x.T).compute(scheduler=scheduler), own @ own.T, rtol=1e-12, atol=1e-12
        )
        singular = array.linalg.svd(x.rechunk((40, 90)))[1].compute(scheduler=scheduler)
        np.testing.assert_allclose(singular, np.linalg.svd(own, compute_uv=False), rtol=1e-10)

    def test_large_chunks(self, ex: Executor, way: Way) -> None:
        """Chunks over a megabyte travel by reference, and come out the same to the last bit."""
        own = np.arange(1_200_000, dtype=float).reshape(1200, 1000)
        x = array.from_array(own, chunks=(300, 1000))
        assert np.array_equal((x * 2).T.rechunk((500, 600)).compute(scheduler=way(ex)), own.T * 2)

    def test_several_at_once(self, ex: Executor, way: Way) -> None:
        x = array.ones((300, 300), chunks=(100, 100))
        total, trace, plain = dask.compute((x @ x).sum(), array.diag(x).sum(), 7, scheduler=way(ex))
        assert (total, trace, plain) == (300.0**3, 300.0, 7)

    def test_nested_lists_of_delayed(self, ex: Executor, way: Way) -> None:
        one, two = dask.delayed(operator.add)(1, 2), dask.delayed(operator.mul)(3, 4)
        total = dask.delayed(sum)([one, two, dask.delayed(len)([one, [two, two]])])
        found = dask.compute([one, {"b": [two, (total,)]}], total, scheduler=way(ex))
        assert found == ([3, {"b": [12, (17,)]}], 17)

    def test_a_bag(self, ex: Executor, way: Way) -> None:
        bag = guest("dask.bag").from_sequence(range(50), npartitions=7)
        assert bag.map(lambda v: v * v).filter(lambda v: v % 2).sum().compute(scheduler=way(ex)) == sum(
            v * v for v in range(50) if v * v % 2
        )

    def test_xarray(self, ex: Executor, way: Way) -> None:
        """Means over groups, and a selection, of a labelled array of visibilities."""
        xarray = guest("xarray")
        rng = np.random.default_rng(2)
        own = rng.normal(size=(60, 16)) + 1j * rng.normal(size=(60, 16))
        scan = np.repeat([1, 2, 3], 20)
        data = xarray.DataArray(own, dims=("time", "chan"))
        chunked = data.chunk(time=10, chan=8).assign_coords(scan=("time", scan))
        found = chunked.groupby("scan").mean().compute(scheduler=way(ex))
        expected = np.stack([own[scan == number].mean(axis=0) for number in (1, 2, 3)])
        np.testing.assert_allclose(found.values, expected, rtol=1e-12)
        part = abs(chunked.isel(chan=slice(4, 12))).max("time")
        with dask.config.set(scheduler=way(ex)):
            np.testing.assert_array_equal(part.values, abs(own[:, 4:12]).max(axis=0))

    def test_the_workers_do_the_work(self, ex: Executor, way: Way) -> None:
        (pids,) = dask.compute([dask.delayed(os.getpid)() for _ in range(8)], scheduler=way(ex))
        assert (os.getpid() in pids) == (not ex.capabilities.isolation)


class TestTrouble:
    def test_an_error_keeps_its_type(self, ex: Executor, way: Way) -> None:
        with pytest.raises(LookupError, match="no antenna 3"):
            dask.delayed(operator.neg)(dask.delayed(_fail)(3)).compute(scheduler=way(ex))

    def test_an_error_ends_it_early(self, ex: Executor, tmp_path: Path) -> None:
        """What had not begun is cancelled, and the executor works on."""
        log = tmp_path / "log"
        last = dask.delayed(_fail)(0)
        for number in range(50):
            last = dask.delayed(_note)(str(log), str(number), last)
        with pytest.raises(LookupError):
            last.compute(scheduler=dask_get(ex))
        until(lambda: not ex.status().tasks, PATIENCE, "nothing is left in the executor")
        assert lines(log) == []
        assert ex.submit(operator.neg, 1).result(PATIENCE) == -1

    def test_the_death_of_a_worker_is_told(self, start: Callable[..., Executor], way: Way) -> None:
        """Not repeated in silence, and not waited for; the next computation runs."""
        ex = start()
        if not ex.capabilities.isolation:
            return  # a worker cannot die alone
        with pytest.raises(WorkerLost):
            dask.delayed(operator.neg)(dask.delayed(tasks.kill_self)()).compute(scheduler=way(ex))
        assert array.ones(10, chunks=5).sum().compute(scheduler=way(ex)) == 10

    def test_retries_may_be_asked_for(self, ex: Executor, tmp_path: Path) -> None:
        """Options of tasks are options of `dask_get`, or of compute."""
        flaky = dask.delayed(tasks.fail_until)
        assert flaky(str(tmp_path / "a"), 2).compute(scheduler=dask_get(ex, retries=2)) == 3
        assert flaky(str(tmp_path / "b"), 1).compute(scheduler=dask_get(ex), retries=1) == 2
        with pytest.raises(InvalidSpec, match="did you mean 'retries'"):
            dask_get(ex, retrys=1)
        with pytest.raises(InvalidSpec, match="needs an Executor"):
            dask_get("multiprocessing")  # type: ignore[arg-type]

    def test_ctrl_c_stops_what_runs(self, ex: Executor, tmp_path: Path) -> None:
        """The computation ends at once, and so do its tasks; the executor works on."""
        interrupt(
            ex.backend,
            tmp_path,
            setup="import dask, operator\n"
            "from parallactic.integrations.dask import dask_get\n"
            "graph = dask.delayed(operator.not_)(dask.delayed(tasks.spin)(started))",
            wait="graph.compute(scheduler=dask_get(ex))",
        )


class TestDataPlane:
    def test_intermediate_results_stay_with_the_workers(self, ex: Executor, tmp_path: Path) -> None:
        """The client unpickles what it asked for, and nothing else; by dask's own loop, everything."""
        if not ex.capabilities.isolation:
            return  # client and workers are one process
        for way, expected in ((dask_get(ex), 1), (ex, 4)):
            log = tmp_path / f"log-{expected}"
            last = dask.delayed(Tattler)(str(log))
            for _ in range(3):
                last = dask.delayed(_same, pure=False)(last)
            last.compute(scheduler=way, optimize_graph=False)
            assert lines(log).count(str(os.getpid())) == expected

    def test_few_results_are_alive_at_a_time(self, ex: Executor) -> None:
        """A sum over many chunks holds a few of them, not all."""
        alive: list[int] = []

        class Watch(guest("dask.callbacks").Callback):  # type: ignore[misc]
            def _posttask(self, key: Any, result: Any, graph: Any, state: Any, worker: Any) -> None:
                alive.append(
                    sum(
                        1
                        for name in state["finished"]
                        if any(user not in state["finished"] for user in state["dependents"].get(name, ()))
                    )
                )

        x = array.ones(200, chunks=1)
        total = x.sum(split_every=2)
        with Watch():
            assert total.compute(scheduler=dask_get(ex), optimize_graph=False) == 200
        assert len(alive) >= 400
        assert max(alive) < 40

    def test_little_memory_is_held_at_a_time(self, ex: Executor) -> None:
        """Of a chain over forty chunks the client holds the shared memory of a few, in the end of none."""
        if not ex.capabilities.shared_memory:
            return  # nothing to count
        before, most = _shared_blocks(), 0

        class Watch(guest("dask.callbacks").Callback):  # type: ignore[misc]
            def _posttask(self, *_: Any) -> None:
                nonlocal most
                most = max(most, _shared_blocks() - before)

        x = array.ones((40 * 200, 1000), chunks=(200, 1000))  # 1.6 MB each
        with Watch():
            total = ((x + 1) * 2).sum(split_every=2).compute(scheduler=dask_get(ex), optimize_graph=False)
        assert total == 40 * 200 * 1000 * 4
        assert most <= 20
        assert most >= 1 or ex.backend != "multiprocessing"  # elsewhere chunks may lie with the workers
        gc.collect()
        until(lambda: _shared_blocks() <= before, PATIENCE, "no shared memory is left")

    def test_the_progress_bar_of_dask(self, ex: Executor, capsys: pytest.CaptureFixture[str]) -> None:
        diagnostics = guest("dask.diagnostics")
        with diagnostics.ProgressBar(dt=0.01):
            array.ones(100, chunks=1).sum().compute(scheduler=dask_get(ex))
        assert "100% Completed" in capsys.readouterr().out
