"""An executor for each backend of the matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from parallactic.executor import Executor
from parallactic.testing import selected_backends
from parallactic.testing.engine import require


@pytest.fixture(scope="module", params=selected_backends())
def ex(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """An executor that the tests of a module share."""
    require(request.param)
    with Executor(request.param, workers=2) as executor:
        yield executor


@pytest.fixture
def start(request: pytest.FixtureRequest, ex: Executor) -> Iterator[Callable[..., Executor]]:
    """Opens executors of the same backend for one test."""
    opened: list[Executor] = []

    def open_executor(**options: object) -> Executor:
        opened.append(Executor(ex.backend, **({"workers": 2} | options)))
        return opened[-1]

    yield open_executor
    for executor in opened:
        executor.shutdown(kill=True)
