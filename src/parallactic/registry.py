"""How a backend is found: by the entry points ``parallactic.backends`` of any installed distribution."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from parallactic.backend import Availability, Backend
from parallactic.config import read_configuration
from parallactic.errors import BackendUnavailable, InvalidSpec
from parallactic.spec import near_match

__all__ = ["availability", "backends", "enter", "install_hint", "load"]

_GROUP = "parallactic.backends"


@cache
def backends() -> Mapping[str, EntryPoint]:
    """Return the registered backends by name. Nothing is imported."""
    return MappingProxyType({entry.name: entry for entry in entry_points(group=_GROUP)})


def install_hint(name: str) -> str:
    """Return how to get what a registered backend imports."""
    value = backends()[name].value
    if value.startswith("parallactic_backends."):
        return f"pip install 'parallactic[{name}]'"
    return f"install what {value} imports"


def load(name: str) -> type[Backend]:
    """Return the class of a backend that can be used here.

    Raises
    ------
    InvalidSpec
        If there is no backend of this name.
    BackendUnavailable
        If it is known but what it needs is missing.
    """
    backend = _import(name)
    found = backend.available()
    if not found.ok:
        raise BackendUnavailable(f"backend {name!r} cannot be used here: {found.detail}. {found.hint}")
    return backend


def _import(name: str) -> type[Backend]:
    if name not in backends():
        raise InvalidSpec(
            f"there is no backend {name!r}{near_match(name, backends())} "
            f"There are {', '.join(sorted(backends()))}."
        )
    try:
        backend: type[Backend] = backends()[name].load()
    except ImportError as error:
        raise BackendUnavailable(
            f"backend {name!r} cannot be loaded: {error}. To have it: {install_hint(name)}."
        ) from error
    return backend


def availability(name: str) -> Availability:
    """Tell whether a registered backend can be used here, without raising."""
    try:
        return _import(name).available()
    except BackendUnavailable as error:
        return Availability(False, str(error), install_hint(name))


def enter(name: str | None = None) -> None:
    """Join the others, if a launcher has started this process for the backend `name`, or the configured one.

    Does not return in a process that is to serve. A process that cannot join ends with a sentence: all of
    them would print a traceback else.
    """
    try:
        chosen = name or read_configuration().backend
        if chosen is not None and chosen in backends():
            load(chosen).enter()
    except (BackendUnavailable, InvalidSpec) as error:
        sys.exit(f"parallactic: {error}")
