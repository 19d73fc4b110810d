"""Libraries that take an executor, or can be given one: dask, joblib, scipy."""

from __future__ import annotations

import importlib
import operator
import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from parallactic.executor import Executor
from parallactic.testing import selected_backends


@pytest.fixture(scope="module", params=selected_backends())
def ex(request: pytest.FixtureRequest) -> Iterator[Executor]:
    with Executor(request.param, workers=2) as executor:
        yield executor


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
            pytest.fail(f"{name} is not installed: {error}", pytrace=False)
        pytest.skip(f"{name} is not installed: {error}")


def _square(number: float) -> float:
    return number * number


def _fail(number: int) -> int:
    raise LookupError(f"no antenna {number}")


class TestDask:
    def test_an_array(self, ex: Executor) -> None:
        """Sum of x² for x = 0 … n-1 is (n-1) n (2n-1) / 6."""
        array = _library("dask.array")
        n = 2000
        x = array.arange(n, chunks=100)
        assert (x * x).sum().compute(scheduler=ex) == (n - 1) * n * (2 * n - 1) // 6

    def test_several_arrays_at_once(self, ex: Executor) -> None:
        dask, array = _library("dask"), _library("dask.array")
        x = array.ones((300, 300), chunks=(100, 100))
        total, trace = dask.compute((x @ x).sum(), array.diag(x).sum(), scheduler=ex)
        assert (total, trace) == (300.0**3, 300.0)

    def test_a_graph_by_hand(self, ex: Executor) -> None:
        local = _library("dask.local")
        graph = {"a": 1, "b": (operator.neg, "a"), "c": (operator.add, "a", "b"), "d": (sum, ["a", "b", "c"])}
        apply = ex.submit
        assert local.get_async(apply, ex.max_workers, graph, ["c", "d"]) == (0, 0)

    def test_an_error_keeps_its_type(self, ex: Executor) -> None:
        delayed = _library("dask").delayed
        with pytest.raises(LookupError, match="no antenna 3"):
            delayed(_fail)(3).compute(scheduler=ex)

    def test_the_workers_do_the_work(self, ex: Executor) -> None:
        delayed = _library("dask").delayed
        (pids,) = _library("dask").compute([delayed(os.getpid)() for _ in range(8)], scheduler=ex)
        assert (os.getpid() in pids) == ex.capabilities.inline


class TestJoblib:
    """Joblib takes no executor; it takes a backend of a few lines around one."""

    @pytest.fixture
    def joblib(self, ex: Executor) -> ModuleType:
        joblib = _library("joblib")
        from joblib._parallel_backends import ParallelBackendBase

        class OnExecutor(ParallelBackendBase):
            supports_retrieve_callback = True

            def effective_n_jobs(self, n_jobs: int) -> int:
                return ex.max_workers

            def submit(self, function: Any, callback: Any = None) -> Any:
                future = ex.submit(function)
                future.add_done_callback(callback)
                return future

            def retrieve_result_callback(self, future: Any) -> Any:
                return future.result()

        joblib.register_parallel_backend("parallactic", OnExecutor)
        return joblib

    def test_results_in_order(self, joblib: ModuleType) -> None:
        with joblib.parallel_config(backend="parallactic"):
            results = joblib.Parallel()(joblib.delayed(_square)(number) for number in range(50))
        assert results == [number**2 for number in range(50)]

    def test_an_error_keeps_its_type(self, joblib: ModuleType) -> None:
        with joblib.parallel_config(backend="parallactic"), pytest.raises(LookupError, match="no antenna"):
            joblib.Parallel()(joblib.delayed(_fail)(number) for number in range(5))


class TestScipy:
    def test_a_map_of_workers(self, ex: Executor) -> None:
        """`workers=ex.map`, for instance of a quadrature: the integral of x² from 0 to 3 is 9."""
        integrate = _library("scipy.integrate")
        value, _ = integrate.quad_vec(_square, 0.0, 3.0, workers=ex.map)
        assert value == pytest.approx(9.0, rel=1e-12)  # exact for polynomials up to rounding
