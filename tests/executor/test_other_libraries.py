"""Libraries that take a map of workers: scipy. Those that take an executor: tests/integrations."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from types import ModuleType

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


class TestScipy:
    def test_a_map_of_workers(self, ex: Executor) -> None:
        """`workers=ex.map`, for instance of a quadrature: the integral of x² from 0 to 3 is 9."""
        integrate = _library("scipy.integrate")
        value, _ = integrate.quad_vec(_square, 0.0, 3.0, workers=ex.map)
        assert value == pytest.approx(9.0, rel=1e-12)  # exact for polynomials up to rounding
