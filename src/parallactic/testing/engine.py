"""Which backends are tested, and how one of them is opened."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from parallactic import registry
from parallactic.backend import Capabilities
from parallactic.errors import InvalidSpec
from parallactic.executor import Executor
from parallactic.spec import near_match

__all__ = ["VARIABLE", "Engine", "require", "selected_backends"]

VARIABLE = "PARALLACTIC_TEST_BACKENDS"

_warm: set[tuple[str, int]] = set()


def selected_backends() -> list[str]:
    """Return the backends that ``PARALLACTIC_TEST_BACKENDS`` names, all registered ones if it is not set.

    Raises
    ------
    InvalidSpec
        If it names one that is not registered: nothing that was asked for is left out in silence.
    """
    known = registry.backends()
    asked = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    for name in asked:
        if name not in known:
            raise InvalidSpec(
                f"{VARIABLE} names {name!r}, which is not registered{near_match(name, known)} "
                f"There are {', '.join(sorted(known))}."
            )
    return asked or sorted(known)


def require(name: str) -> None:
    """Skip the test, with the reason, if a backend cannot run here; fail it under ``CI=true``."""
    found = registry.availability(name)
    if found.ok:
        return
    message = f"backend {name!r} cannot run here: {found.detail} {found.hint}".strip()
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@dataclass(frozen=True)
class Engine:
    """One backend under test."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 2

    @property
    def capabilities(self) -> Capabilities:
        """What the backend says of itself."""
        return registry.load(self.name).capabilities

    @property
    def inline(self) -> bool:
        """Whether tasks run on the thread that submits them."""
        return self.capabilities.inline

    @property
    def notice_seconds(self) -> float:
        """Seconds within which a death must be noticed."""
        return 2.0 if self.capabilities.several_hosts else 0.5

    def warm_up(self) -> None:
        """Have the engine start what it keeps for the life of this process, such as the ranks of MPI.

        That is not held against an executor that comes later. No test has more than three open at once.
        """
        if not registry.availability(self.name).ok or (self.name, self.workers) in _warm:
            return
        _warm.add((self.name, self.workers))
        with contextlib.ExitStack() as stack:
            for executor in [stack.enter_context(self.open()) for _ in range(3)]:
                executor.target("all").submit(os.getpid).result(60.0)

    def open(self, **options: Any) -> Executor:
        """Return a new executor on this backend."""
        return Executor(self.name, **({"workers": self.workers} | dict(self.settings) | options))
