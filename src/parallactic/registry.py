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

__all__ = ["PLANNED", "availability", "backends", "enter", "load"]

_GROUP = "parallactic.backends"

PLANNED = MappingProxyType(
    {
        "slurm": "pip install 'parallactic[slurm]'",
    }
)
"""Backends of this project that are not part of this release, and the extra that they will need."""


@cache
def backends() -> Mapping[str, EntryPoint]:
    """Return the registered backends by name. Nothing is imported."""
    return MappingProxyType({entry.name: entry for entry in entry_points(group=_GROUP)})


def load(name: str) -> type[Backend]:
    """Return the class of a backend that can be used here.

    Raises
    ------
    InvalidSpec
        If there is no backend of this name.
    BackendUnavailable
        If it is known but what it needs is missing.
    """
    if name not in backends():
        if name in PLANNED:
            raise BackendUnavailable(
                f"backend {name!r} is not part of this release of Parallactic; "
                f"there are {', '.join(sorted(backends()))}."
            )
        raise InvalidSpec(
            f"there is no backend {name!r}{near_match(name, backends())} "
            f"There are {', '.join(sorted(backends()))}."
        )
    try:
        backend = backends()[name].load()
    except ImportError as error:
        hint = PLANNED.get(name, f"install what {backends()[name].value} imports")
        raise BackendUnavailable(
            f"backend {name!r} cannot be loaded: {error}. To have it: {hint}."
        ) from error
    found: Availability = backend.available()
    if not found.ok:
        raise BackendUnavailable(f"backend {name!r} cannot be used here: {found.detail}. {found.hint}")
    return backend  # type: ignore[no-any-return]


def availability(name: str) -> Availability:
    """Tell whether a backend can be used here, without raising."""
    try:
        return load(name).available()
    except (BackendUnavailable, InvalidSpec) as error:
        return Availability(False, str(error), PLANNED.get(name, ""))


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
