"""A session on every backend, and one that calls functions at once."""

from collections.abc import Iterator

import pytest
from rs_sessions import NONE, opened

from parallactic.rsexecute import RSExecute
from parallactic.testing.engine import selected_backends


@pytest.fixture(scope="module", params=selected_backends())
def backend(request: pytest.FixtureRequest) -> str:
    """The name of every backend of the matrix."""
    return str(request.param)


@pytest.fixture(scope="module")
def rs(backend: str) -> Iterator[RSExecute]:
    """A session on every backend, for all tests of a file."""
    with opened(backend) as session:
        yield session


@pytest.fixture(scope="module", params=[*selected_backends(), NONE])
def anywhere(request: pytest.FixtureRequest) -> Iterator[RSExecute]:
    """The same, and one that calls functions at once."""
    with opened(request.param) as session:
        yield session
