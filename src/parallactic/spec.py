"""What a person may ask for one task: its resources, its time, its retries, its name."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from functools import cache
from typing import Any, Self

from parallactic.errors import InvalidSpec

__all__ = ["DEFAULT", "TaskSpec", "near_match", "parse_memory", "parse_time"]

_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BYTES |= {unit + "i": 1024**power for power, unit in enumerate("kmgt", start=1)}
_SECONDS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def near_match(name: str, known: Any) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest of `known`, or a full stop."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else "."


def parse_memory(value: str | float) -> int:
    """Turn ``"8GB"``, ``"512 MiB"`` or a number of bytes into bytes.

    Raises
    ------
    InvalidSpec
        If the unit is unknown or the amount is not positive.
    """
    match = re.fullmatch(r"\s*([0-9.eE+]+)\s*([a-zA-Z]*)\s*", str(value))
    unit = match[2].lower().removesuffix("b") if match else None
    if match is None or unit not in _BYTES:
        raise InvalidSpec(
            f"memory={value!r} is not an amount of memory; write for example '8GB' or '512MiB'."
        )
    amount = int(_number(match[1], "memory", value) * _BYTES[unit])
    if amount <= 0:
        raise InvalidSpec(f"memory={value!r} must be more than nothing.")
    return amount


def parse_time(value: str | float, name: str = "walltime") -> float:
    """Turn ``"2h"``, ``"90s"``, ``"1:30:00"`` or a number of seconds into seconds.

    Raises
    ------
    InvalidSpec
        If the unit is unknown or the time is not positive.
    """
    text = str(value).strip()
    if re.fullmatch(r"(\d+-)?\d+(:\d+){1,2}", text):
        days, _, clock = text.rpartition("-")
        parts = [int(part) for part in clock.split(":")]
        seconds = float(sum(part * 60**power for power, part in enumerate(reversed(parts))))
        seconds += 86400.0 * int(days or 0)
    else:
        match = re.fullmatch(r"([0-9.eE+]+)\s*([a-zA-Z]*)", text)
        if match is None or match[2].lower() not in _SECONDS:
            raise InvalidSpec(
                f"{name}={value!r} is not a time; write for example 90, '90s', '15min', '2h' or '2:00:00'."
            )
        seconds = _number(match[1], name, value) * _SECONDS[match[2].lower()]
    if seconds <= 0:
        raise InvalidSpec(f"{name}={value!r} must be longer than nothing.")
    return seconds


def _number(text: str, name: str, value: str | float) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidSpec(f"{name}={value!r} does not begin with a number.") from None


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task's resources and rules, as given to ``Executor.options``.

    Parameters
    ----------
    cores
        Cores the task uses. None: those of one worker.
    memory
        Bytes the task needs, or a string such as ``"8GB"``.
    walltime
        Seconds after which the scheduler ends the task, or a string such as ``"2h"``.
    gpus, nodes, ranks
        Accelerators, hosts and MPI ranks.
    timeout
        Seconds of execution after which the task is stopped, or a string such as ``"90s"``.
    retries
        How often the task may be run again after a failure.
    name
        What the task is called in status, journal and errors. None: the function's name.
    """

    cores: int | None = None
    memory: int | None = None
    walltime: float | None = None
    gpus: int = 0
    nodes: int = 1
    ranks: int = 1
    timeout: float | None = None
    retries: int = 0
    name: str | None = None

    def updated(self, **options: Any) -> Self:
        """Return a copy with `options` checked and set.

        Raises
        ------
        InvalidSpec
            If an option is unknown or its value cannot be.
        """
        for key, value in options.items():
            if key not in _names():
                raise InvalidSpec(
                    f"unknown option {key!r} of a task{near_match(key, _names())} "
                    f"Known are {', '.join(_names())}."
                )
            options[key] = _checked(key, value)
        return replace(self, **options)


@cache
def _names() -> tuple[str, ...]:
    return tuple(field.name for field in fields(TaskSpec))


_LEAST = {"cores": 1, "gpus": 0, "nodes": 1, "ranks": 1, "retries": 0}


def _checked(key: str, value: Any) -> Any:
    if value is None and key not in ("gpus", "nodes", "ranks", "retries"):
        return None
    if key == "memory":
        return parse_memory(value)
    if key in ("walltime", "timeout"):
        return parse_time(value, key)
    if key == "name":
        return str(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < _LEAST[key]:
        raise InvalidSpec(f"{key}={value!r} must be a whole number of at least {_LEAST[key]}.")
    return value


DEFAULT = TaskSpec()
