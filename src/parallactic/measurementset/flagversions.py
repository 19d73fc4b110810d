"""Saved states of the flags, kept as CASA keeps them, so that either side lists and restores the other's.

Beside the set stands ``<set>.flagversions/`` with one table ``flags.<name>`` per version, which holds FLAG
and FLAG_ROW in the order of the set's rows (for a multi-MS: of its sub-MSs, one after another), and the text
FLAG_VERSION_LIST with a line ``name : comment`` for each.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from casacore.tables import makearrcoldesc, makescacoldesc, maketabdesc, table
from numpy.typing import NDArray

from parallactic.errors import InvalidSpec
from parallactic.measurementset.access import read_cells, write_cells
from parallactic.measurementset.ms import MeasurementSet
from parallactic.measurementset.staging import staged
from parallactic.measurementset.tables import file_error, is_table, opened
from parallactic.spec import near_match

__all__ = [
    "FlagVersion",
    "list_versions",
    "next_name",
    "require_writable_versions",
    "restore_version",
    "save_version",
    "versions_folder",
]

_LIST = "FLAG_VERSION_LIST"
_CHUNK_SAMPLES = 64 * 2**20
_TILE_SAMPLES = 8 * 2**20
"""A tile of one megabyte: flags are stored as bits."""


@dataclass(frozen=True, slots=True)
class FlagVersion:
    """One saved state of the flags.

    Attributes
    ----------
    name, comment
        As they were given when it was saved.
    """

    name: str
    comment: str


def versions_folder(ms: MeasurementSet) -> Path:
    """Return the folder of the flag versions of `ms`, which need not exist."""
    return Path(f"{ms.path}.flagversions")


def require_writable_versions(ms: MeasurementSet) -> None:
    """Check, before any work is done, that a version can be saved.

    Raises
    ------
    InvalidSpec
        If the folder of the versions is not writable by this user.
    """
    folder = versions_folder(ms)
    place = folder if folder.exists() else folder.parent
    if not os.access(place, os.W_OK | os.X_OK):
        raise InvalidSpec(
            f"the flags of {ms.path} cannot be saved before they are changed: {place} is not writable by "
            "this user; change its permissions or give flagbackup=False."
        )


def list_versions(ms: MeasurementSet) -> list[FlagVersion]:
    """Return the saved versions, the oldest first."""
    listing = versions_folder(ms) / _LIST
    if not listing.exists():
        return []
    found = []
    for line in listing.read_text().splitlines():
        name, separator, comment = line.partition(" : ")
        if separator:
            found.append(FlagVersion(name.strip(), comment.strip()))
    return found


def next_name(ms: MeasurementSet, prefix: str) -> str:
    """Return the first of ``<prefix>_1``, ``<prefix>_2``, … that no version has."""
    taken = {version.name for version in list_versions(ms)}
    taken |= {path.name.removeprefix("flags.") for path in versions_folder(ms).glob("flags.*")}
    number = 1
    while f"{prefix}_{number}" in taken:
        number += 1
    return f"{prefix}_{number}"


def save_version(ms: MeasurementSet, name: str, comment: str = "") -> Path:
    """Save FLAG and FLAG_ROW of the whole set.

    Parameters
    ----------
    ms
        The set, plain or multi.
    name
        What the version is called.
    comment
        One line.

    Returns
    -------
    Path
        The table of the version.

    Raises
    ------
    InvalidSpec
        If the name cannot be a name, or is taken, or the folder may not be written.
    """
    if not name.strip() or name != name.strip() or "/" in name or " : " in name or not name.isprintable():
        raise InvalidSpec(f"{name!r} cannot name a flag version; use letters, digits, '_', '-' and '.'.")
    folder = versions_folder(ms)
    if any(version.name == name for version in list_versions(ms)) or (folder / f"flags.{name}").exists():
        raise InvalidSpec(f"{ms.path} has a flag version {name!r} already; choose another name.")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InvalidSpec(
            f"the flags cannot be saved: {folder} cannot be made ({error.strerror})."
        ) from error
    target = folder / f"flags.{name}"
    with staged(target, "name") as partial:
        _write_table(ms, partial)
        entry = f"{name} : {' '.join(comment.split())}\n"
        # Listed before the rename: a list that cannot be written leaves no version behind.
        _append(folder / _LIST, entry)
    return target


def restore_version(ms: MeasurementSet, name: str) -> None:
    """Put FLAG and FLAG_ROW of the whole set back as they were saved.

    Raises
    ------
    InvalidSpec
        If there is no such version, or its rows or shapes are not those of the set.
    """
    source = versions_folder(ms) / f"flags.{name}"
    if not is_table(source):
        known = [version.name for version in list_versions(ms)]
        rest = f" There are {', '.join(known)}." if known else " None was saved."
        raise InvalidSpec(f"{ms.path} has no flag version {name!r}{near_match(name, known)}{rest}")
    _check_fits(ms, source)
    for subset, path in enumerate(ms.subsets):
        offset = _offset(ms, subset)
        for rows in _pieces(ms, subset):
            with opened(source) as saved:
                flags = read_cells(saved, "FLAG", rows + offset)
                flag_rows = read_cells(saved, "FLAG_ROW", rows + offset)
            with opened(path, write=True) as handle:
                write_cells(handle, "FLAG", rows, flags)
                write_cells(handle, "FLAG_ROW", rows, flag_rows)


def _write_table(ms: MeasurementSet, path: Path) -> None:
    description = maketabdesc(
        [
            makearrcoldesc(
                "FLAG", False, ndim=2, datamanagertype="TiledShapeStMan", datamanagergroup="TiledFlag"
            ),
            makescacoldesc("FLAG_ROW", False),
        ]
    )
    nchan, ncorr = max((ms.shape(d.id) for d in ms.data_descriptions), default=(1, 1))
    tile = [ncorr, nchan, max(1, _TILE_SAMPLES // (ncorr * nchan))]
    managers: dict[str, Any] = {
        "*1": {
            "TYPE": "TiledShapeStMan",
            "NAME": "TiledFlag",
            "COLUMNS": ["FLAG"],
            "SPEC": {"DEFAULTTILESHAPE": tile},
        }
    }
    try:
        table(os.fspath(path), description, nrow=len(ms), dminfo=managers, ack=False, readonly=False).close()
    except RuntimeError as error:
        raise file_error(path, error) from error
    for subset, source in enumerate(ms.subsets):
        offset = _offset(ms, subset)
        for rows in _pieces(ms, subset):
            with opened(source) as handle:
                flags = read_cells(handle, "FLAG", rows)
                flag_rows = read_cells(handle, "FLAG_ROW", rows)
            with opened(path, write=True) as saved:
                write_cells(saved, "FLAG", rows + offset, flags)
                write_cells(saved, "FLAG_ROW", rows + offset, flag_rows)


def _offset(ms: MeasurementSet, subset: int) -> int:
    return int(np.count_nonzero(ms.index.subset < subset))


def _pieces(ms: MeasurementSet, subset: int) -> Iterator[NDArray[np.int64]]:
    """Give the rows of a sub-MS in rising order, in pieces of one shape and a bounded size."""
    here = ms.index.subset == subset
    for ddid in np.unique(ms.index.ddid[here]):
        rows = np.sort(ms.index.row[here & (ms.index.ddid == ddid)])
        step = max(1, _CHUNK_SAMPLES // int(np.prod(ms.shape(int(ddid)))))
        for start in range(0, len(rows), step):
            yield rows[start : start + step]


def _check_fits(ms: MeasurementSet, source: Path) -> None:
    with opened(source) as saved:
        if saved.nrows() != len(ms):
            raise InvalidSpec(
                f"the flag version {source} has {saved.nrows()} rows and {ms.path} has {len(ms)}: "
                "it was saved from other data."
            )
        for subset in range(len(ms.subsets)):
            for rows in _pieces(ms, subset):
                first = int(rows[0])
                here = (ms.index.subset == subset) & (ms.index.row == first)
                shape = ms.shape(int(ms.index.ddid[here][0]))
                cell = np.shape(saved.getcell("FLAG", first + _offset(ms, subset)))
                if cell != shape:
                    raise InvalidSpec(
                        f"the flag version {source} holds {cell} channels and correlations where "
                        f"{ms.path} has {shape}: it was saved from other data."
                    )


def _append(listing: Path, entry: str) -> None:
    text = listing.read_text() if listing.exists() else ""
    if text and not text.endswith("\n"):
        text += "\n"
    aside = listing.with_name(f"{_LIST}.partial-{secrets.token_hex(4)}")
    try:
        aside.write_text(text + entry)
        aside.replace(listing)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise file_error(listing, error) from error
