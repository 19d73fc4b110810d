"""What was read of a set and is kept in this process until its files change."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import numpy as np

from parallactic.errors import InvalidSpec
from parallactic.measurementset.index import Index, read_index
from parallactic.measurementset.metadata import Metadata, read_metadata
from parallactic.measurementset.tables import glance, is_table

__all__ = ["Stamp", "Stamps", "cached_alike", "cached_index", "cached_metadata", "find_subsets", "stamp"]

Stamp = tuple[tuple[str, int, int, int], ...]
"""Name, inode, time of change and size of the files of one plain set."""

Stamps = tuple[Stamp, ...]
"""Those of every sub-MS."""

_SUBTABLES = (
    "ANTENNA", "DATA_DESCRIPTION", "FIELD", "OBSERVATION", "POLARIZATION", "SPECTRAL_WINDOW", "STATE",
)  # fmt: skip


def find_subsets(path: str) -> list[str]:
    """Return the sub-MSs of the set at `path`, in the order of its rows; `path` itself if it is plain.

    Raises
    ------
    InvalidSpec
        If a sub-MS that the multi-MS names is missing.
    """
    if not (Path(path) / "SUBMSS").is_dir():
        return [path]
    parts = [str(Path(part).absolute()) for part in glance(path, lambda handle: handle.partnames())]
    for part in parts:
        if not is_table(part):
            raise InvalidSpec(f"{path} is a multi-MS that lacks its sub-MS {part}; partition the data again.")
    return parts


def stamp(path: str) -> Stamp:
    """Return what tells one state of the files of the plain set at `path` from another."""
    # casacore's lock files change when a table is only read.
    with os.scandir(path) as entries:
        files = [(e.name, e.stat()) for e in entries if e.is_file() and e.name != "table.lock"]
    for sub in _SUBTABLES:
        for file in ("table.dat", "table.f0"):
            place = Path(path) / sub / file
            if place.exists():
                files.append((f"{sub}/{file}", place.stat()))
    return tuple(sorted((name, stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, stat in files))


@lru_cache(maxsize=4)
def cached_index(subsets: tuple[str, ...], _stamps: Stamps) -> Index:
    """Read the index of the set, once for each state of its files."""
    return read_index(subsets)


@lru_cache(maxsize=4)
def cached_alike(path: str, subsets: tuple[str, ...], stamps: Stamps) -> tuple[bool, ...]:
    """Tell for each sub-MS whether all its rows have one shape of data."""
    index, metadata = cached_index(subsets, stamps), cached_metadata(path, stamps)
    code = index.subset.astype(np.int64) * (len(metadata.data_descriptions) + 1) + index.ddid
    shapes: list[set[tuple[int, int]]] = [set() for _ in subsets]
    for number in np.unique(code):
        subset, ddid = divmod(int(number), len(metadata.data_descriptions) + 1)
        description = metadata.data_descriptions[ddid]
        shapes[subset].add(
            (metadata.spws[description.spw].nchan, metadata.polarizations[description.polarization].ncorr)
        )
    return tuple(len(found) < 2 for found in shapes)


@lru_cache(maxsize=8)
def cached_metadata(path: str, _stamps: Stamps) -> Metadata:
    """Read the sub-tables of the set, once for each state of its files."""
    return read_metadata(path)
