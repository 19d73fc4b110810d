"""Fixtures of the tests of the core, on a backend that the test plays."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
from scripted import Script, ScriptedBackend

from parallactic import registry
from parallactic.executor import Executor


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Script]]:
    """Open executors whose workers do what the test says."""
    entry = SimpleNamespace(name="scripted", value="scripted:ScriptedBackend", load=lambda: ScriptedBackend)
    known = MappingProxyType({"scripted": entry})
    monkeypatch.setattr(registry, "backends", lambda: known)
    opened: list[Executor] = []

    def open_script(**options: Any) -> Script:
        opened.append(Executor("scripted", run_dir=tmp_path / "run", **options))
        script = Script(opened[-1])
        script.settle()
        return script

    yield open_script
    for executor in opened:
        executor.shutdown(kill=True)


@pytest.fixture
def script(play: Callable[..., Script]) -> Script:
    """One such executor."""
    return play()
