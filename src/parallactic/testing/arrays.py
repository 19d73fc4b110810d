"""Functions on arrays that the contract suite runs on workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["append_to", "blocks", "descriptors", "double", "first", "first_of_each", "full", "spoil", "total"]

Array = np.ndarray[Any, Any]


def total(array: Array) -> float:
    """Return the sum."""
    return float(array.sum())


def first(array: Array) -> float:
    """Return the first element."""
    return float(array[0])


def first_of_each(values: list[Array]) -> list[float]:
    """Return the first elements of many arrays."""
    return [first(array) for array in values]


def full(count: int, value: float) -> Array:
    """Return an array of `count` times `value`."""
    return np.full(count, value)


def double(array: Array) -> Array:
    """Return twice an array."""
    return array * 2


def spoil(array: Array) -> float:
    """Overwrite an array in place; return what its first element was."""
    before = first(array)
    array[:] = 1e9
    return before


def append_to(items: list[Any]) -> list[Any]:
    """Append to a list in place, and return it."""
    items.append(0)
    return items


def descriptors(*, connections: bool = True) -> int:
    """Count the open descriptors of this process, with or without those of connections."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            count += connections or not str(entry.readlink()).startswith("socket:")
        except OSError:
            continue  # the descriptor of this listing itself
    return count


def blocks() -> int:
    """Count the blocks of shared memory that this process holds open."""
    held = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            held += str(entry.readlink()).startswith("/memfd:parallactic ")
        except OSError:
            continue  # the descriptor of this listing itself
    return held
