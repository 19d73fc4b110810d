"""What the tests of servers run on, and what becomes of those that cannot."""

import os

import pytest

from parallactic import registry
from parallactic.testing.engine import selected_backends


def with_processes() -> list[str]:
    """Backends of the matrix whose servers are processes, and so can be stopped and killed."""
    return [name for name in selected_backends() if not registry.load(name).capabilities.inline]


def absent(what: str) -> None:
    """Skip aloud at a desk; fail where everything must be there."""
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        pytest.fail(what, pytrace=False)
    pytest.skip(what)
