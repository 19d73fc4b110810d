"""How a backend is found, and what is said if it cannot be had."""

from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest

from parallactic import registry
from parallactic.backend import Availability
from parallactic.errors import BackendUnavailable, InvalidSpec
from parallactic_backends.serial import SerialBackend


class Missing(SerialBackend):
    name = "missing"

    @classmethod
    def available(cls) -> Availability:
        return Availability(False, "there is no launcher on the path", "Install one.")


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three entry points: one that imports nothing, one that cannot be used here, and serial."""
    found = [
        EntryPoint("broken", "no_such_module:Backend", "parallactic.backends"),
        EntryPoint("missing", f"{__name__}:Missing", "parallactic.backends"),
        EntryPoint("serial", "parallactic_backends.serial:SerialBackend", "parallactic.backends"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: found)
    registry.backends.cache_clear()
    yield
    registry.backends.cache_clear()


def test_own_backends_are_registered() -> None:
    assert {"serial", "multiprocessing"} <= set(registry.backends())
    assert registry.load("serial") is SerialBackend


def test_unknown_name_gets_the_nearest(entries: None) -> None:
    with pytest.raises(InvalidSpec, match="no backend 'seriel'; did you mean 'serial'"):
        registry.load("seriel")


def test_backend_whose_module_is_missing(entries: None) -> None:
    with pytest.raises(
        BackendUnavailable, match=r"'broken' cannot be loaded: No module named 'no_such_module'"
    ):
        registry.load("broken")
    assert not registry.availability("broken").ok


def test_backend_that_cannot_be_used_here(entries: None) -> None:
    with pytest.raises(BackendUnavailable, match=r"no launcher on the path\. Install one\."):
        registry.load("missing")
