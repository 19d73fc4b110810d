"""Reading and writing the flags of test sets behind the library's back."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from casacore.tables import table
from numpy.typing import NDArray

from parallactic.measurementset import MeasurementSet


def column(path: str | os.PathLike[str], name: str) -> NDArray[Any]:
    """Read a column in the order of the disk."""
    with table(os.fspath(path), ack=False) as handle:
        return np.asarray(handle.getcol(name))


def put(path: str | os.PathLike[str], name: str, values: NDArray[Any]) -> None:
    """Write a column in the order of the disk."""
    with table(os.fspath(path), readonly=False, ack=False) as handle:
        handle.putcol(name, values)


def canonical(path: str | os.PathLike[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """FLAG and FLAG_ROW of all rows in canonical order, whatever the layout."""
    ms = MeasurementSet(path)
    return ms.read(None, "FLAG"), ms.read(None, "FLAG_ROW")


def scatter_flags(path: str | os.PathLike[str], fraction: float = 0.03, seed: int = 3) -> None:
    """Give every 40th row, the beginning of the set and random samples flags from before."""
    flags = column(path, "FLAG")
    flags |= np.random.default_rng(seed).random(flags.shape) < fraction
    flags[::40] = True
    flags[: len(flags) // 20] = True
    put(path, "FLAG", flags)
    put(path, "FLAG_ROW", np.asarray(flags.all(axis=(1, 2))))
