"""What the nodes of the tests call; importable, so that they travel by name."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Self

import numpy as np


def inc(x: Any) -> Any:
    return x + 1


def add(*values: Any) -> Any:
    return sum(values)


def total(values: Any) -> Any:
    return sum(values)


def halves(x: float) -> tuple[float, float]:
    return x / 2, x / 4


def parcel(first: Any, *, named: dict[str, Any]) -> tuple[Any, ...]:
    """Return what was received, types and all."""
    return type(first).__name__, first, sorted(named.items())


def fail(x: Any) -> Any:
    raise LookupError(f"no {x}")


def note(folder: str, name: str, *_: Any) -> str:
    """Leave a mark that this ran; each call leaves another."""
    with (Path(folder) / name).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return name


def times_run(folder: Path, name: str) -> int:
    path = folder / name
    return len(path.read_text().splitlines()) if path.exists() else 0


def wait_for(path: str, seconds: float = 30.0) -> str:
    """Return when a file is there."""
    end = time.monotonic() + seconds
    while not Path(path).exists():
        if time.monotonic() > end:
            raise TimeoutError(f"{path} did not come")
        time.sleep(0.01)
    return path


def ones(n: int) -> np.ndarray:
    return np.ones(n)


def mean(array: np.ndarray) -> float:
    return float(np.mean(array))


class Stay:
    """An object that tells where it was unpickled."""

    opened_in: list[int] = []  # noqa: RUF012  (of the process, on purpose)

    def __init__(self, size: int = 0) -> None:
        self.data = np.zeros(size)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        Stay.opened_in.append(os.getpid())

    @classmethod
    def make(cls, size: int) -> Self:
        return cls(size)


def size_of(thing: Stay) -> int:
    return thing.data.size


def total_of(dataset: Any) -> tuple[str, float]:
    """Return what holds the data of a dataset, and their sum."""
    return type(dataset["vis"].data).__name__, float(dataset["vis"].sum())
