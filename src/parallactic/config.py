"""Which backend, with which settings: argument, then environment, then file, then default.

The environment speaks as ``PARALLACTIC_BACKEND``, ``PARALLACTIC_WORKERS`` (any backend) and
``PARALLACTIC_DASK__SCHEDULER`` (one backend); ``PARALLACTIC_LOG``, ``PARALLACTIC_LOG_LEVEL`` and
``PARALLACTIC_LOG_OUTPUT`` say where log records go. A file holds::

    backend = "multiprocessing"
    workers = 4
    log = "logs/{worker}.log"

    [backend.dask]
    scheduler = "tcp://head:8786"

In a file with backend tables the choice itself is written ``default = "dask"`` inside ``[backend]``.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from parallactic.errors import InvalidSpec
from parallactic.spec import near_match

__all__ = ["DEFAULT_BACKEND", "Configuration", "read_configuration", "same_workers", "validate_settings"]

DEFAULT_BACKEND = "multiprocessing"
_PREFIX = "PARALLACTIC_"
_LOG = ("log", "log_level", "log_output")


@dataclass(frozen=True, slots=True)
class Configuration:
    """What environment and file say.

    Parameters
    ----------
    backend
        Name of the backend, None if neither says.
    common
        Settings for whichever backend is used.
    own
        Settings for one backend, by its name.
    origin
        Where each setting comes from, for error messages, by ``(backend or "", key)``.
    log
        Where log records go: ``log``, ``log_level``, ``log_output``.
    """

    backend: str | None = None
    common: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    origin: Mapping[tuple[str, str], str] = field(default_factory=dict)
    log: Mapping[str, Any] = field(default_factory=dict)

    def settings_for(self, backend: str) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the settings of one backend and where each comes from."""
        merged = dict(self.common) | dict(self.own.get(backend, {}))
        origin = {
            key: self.origin.get((backend if key in self.own.get(backend, {}) else "", key), "")
            for key in merged
        }
        return merged, origin


def read_configuration(path: str | os.PathLike[str] | None = None) -> Configuration:
    """Read the configuration file and the environment; the environment wins.

    The file is `path`, else ``PARALLACTIC_CONFIG``, else ``./parallactic.toml``, else
    ``parallactic/config.toml`` in the user's configuration folder.

    Raises
    ------
    InvalidSpec
        If a file that was named does not exist, or the file cannot be read.
    """
    return _from_environment(_from_file(path))


def _find_file(path: str | os.PathLike[str] | None) -> Path | None:
    named = path or os.environ.get(_PREFIX + "CONFIG")
    if named:
        if not Path(named).is_file():
            raise InvalidSpec(f"the configuration file {str(named)!r} does not exist.")
        return Path(named)
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    candidates = (Path("parallactic.toml"), home / "parallactic" / "config.toml")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _from_file(path: str | os.PathLike[str] | None) -> Configuration:
    found = _find_file(path)
    if found is None:
        return Configuration()
    try:
        content = tomllib.loads(found.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        raise InvalidSpec(f"the configuration file {str(found)!r} cannot be read: {error}.") from error
    choice = content.pop("backend", None)
    log = {key: content.pop(key) for key in _LOG if key in content}
    own: dict[str, dict[str, Any]] = {}
    if isinstance(choice, dict):
        tables = dict(choice)
        choice = tables.pop("default", None)
        for name, table in tables.items():
            if not isinstance(table, dict):
                raise InvalidSpec(
                    f"in {str(found)!r}, backend.{name} = {table!r} must be a table [backend.{name}]."
                )
            own[name] = table
    if choice is not None and not isinstance(choice, str):
        raise InvalidSpec(f"in {str(found)!r}, backend = {choice!r} must be the name of a backend.")
    origin = {("", key): f"file {found}" for key in content}
    origin |= {(name, key): f"file {found}, [backend.{name}]" for name, table in own.items() for key in table}
    return Configuration(choice, content, own, origin, log)


def _from_environment(base: Configuration) -> Configuration:
    backend = os.environ.get(_PREFIX + "BACKEND") or base.backend
    common, origin = dict(base.common), dict(base.origin)
    own = {name: dict(table) for name, table in base.own.items()}
    if workers := os.environ.get(_PREFIX + "WORKERS"):
        for table in own.values():
            # The environment outranks the file, whichever table of the file it is.
            table.pop("workers", None)
        common["workers"], origin["", "workers"] = workers, f"{_PREFIX}WORKERS"
    for variable, value in os.environ.items():
        name, double, key = variable.removeprefix(_PREFIX).lower().partition("__")
        if variable.startswith(_PREFIX) and double:
            own.setdefault(name, {})[key] = value
            origin[name, key] = variable
    log = {key: os.environ[_PREFIX + key.upper()] for key in _LOG if os.environ.get(_PREFIX + key.upper())}
    return Configuration(backend, common, own, origin, {**base.log, **log})


def validate_settings(
    backend: str, model: type[BaseModel], values: Mapping[str, Any], origin: Mapping[str, str]
) -> BaseModel:
    """Check the settings of a backend.

    Raises
    ------
    InvalidSpec
        With one sentence for each setting that is unknown or wrong, and where it was set.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        problems = [_sentence(backend, model, problem, origin) for problem in error.errors()]
        raise InvalidSpec(" ".join(problems)) from error


def _sentence(backend: str, model: type[BaseModel], problem: Any, origin: Mapping[str, str]) -> str:
    key = ".".join(str(part) for part in problem["loc"]) or "settings"
    place = f" (from {origin[key]})" if origin.get(key) else ""
    if problem["type"] == "extra_forbidden":
        known = sorted(model.model_fields)
        near = near_match(key, known)
        return f"backend {backend!r} has no setting {key!r}{place}{near} It has {', '.join(known)}."
    return f"setting {key}={problem['input']!r} of backend {backend!r}{place} is wrong: {problem['msg']}."


def same_workers(workers: int | None, max_workers: int | None) -> int | None:
    """Return the number of workers, whichever name it was given by.

    Raises
    ------
    InvalidSpec
        If two different numbers were given.
    """
    if workers is not None and max_workers is not None and workers != max_workers:
        raise InvalidSpec(
            f"workers={workers} and max_workers={max_workers} are two names of one thing; give one."
        )
    return workers if workers is not None else max_workers
