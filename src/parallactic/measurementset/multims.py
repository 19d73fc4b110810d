"""Making a multi-MS that CASA opens as one MeasurementSet."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from casacore.tables import table

from parallactic.errors import InvalidSpec
from parallactic.measurementset.extract import attach_subtables, subtable_names
from parallactic.measurementset.staging import remove, staged
from parallactic.measurementset.tables import ensure_room, file_error, is_table

__all__ = ["assemble", "build_multi_ms"]

_OWN = ("HISTORY", "SOURCE")
"""Sub-tables that every sub-MS has for itself; the others are links to those of the first."""


def build_multi_ms(path: str | os.PathLike[str], subs: Sequence[str | os.PathLike[str]], axis: str) -> None:
    """Join MeasurementSets into a multi-MS; they move into it.

    Parameters
    ----------
    path
        The multi-MS to make, in the same file system as `subs`.
    subs
        Plain sets, in the order of the rows, whose ids mean the same in all: the sub-tables of the first are
        those of the whole.
    axis
        How the rows were separated: ``scan``, ``spw``, ``scan,spw``, ``baseline`` or ``time``.

    Raises
    ------
    InvalidSpec
        If `path` exists or cannot be written, or one of `subs` is not a set.
    """
    for sub in subs:
        if not is_table(sub):
            raise InvalidSpec(f"{os.fspath(sub)} is not a MeasurementSet and cannot join a multi-MS.")
    name = Path(path).name
    with staged(path, "path") as partial:
        folder = partial / "SUBMSS"
        folder.mkdir(parents=True)
        moved = []
        try:
            for number, sub in enumerate(subs):
                place = folder / sub_name(name, number)
                Path(sub).rename(place)
                moved.append((place, Path(sub)))
            assemble(partial, name, len(subs), axis)
        except BaseException:
            for place, origin in moved:
                place.rename(origin)
            raise


def sub_name(name: str, number: int) -> str:
    """Return the name of a sub-MS, as CASA does it: ``obs.mms.0003.ms``."""
    return f"{name}.{number:04d}.ms"


def assemble(folder: Path, name: str, count: int, axis: str) -> None:
    """Make `folder`, whose SUBMSS holds `count` sub-MSs of the multi-MS `name`, a multi-MS.

    The first sub-MS has its sub-tables; the others get links to them.

    Raises
    ------
    InvalidSpec
        If there is no sub-MS.
    ParallacticError
        If writing fails.
    """
    if count < 1:
        raise InvalidSpec("a multi-MS needs at least one sub-MS.")
    store = folder / "SUBMSS"
    ensure_room(folder, 2**20)
    subs = [store / sub_name(name, number) for number in range(count)]
    for sub in subs[1:]:
        _link_subtables(sub, subs[0])
    # casacore empties the folder that a table is renamed to, so the sub-MSs stand aside; it keeps their names
    # relative to the folder, as text.
    aside = folder.with_name(folder.name + ".submss")
    try:
        joined = table([str(sub) for sub in subs], ack=False)
        try:
            store.rename(aside)
            joined.rename(str(folder))
        finally:
            joined.close()
            if aside.exists():
                folder.mkdir(exist_ok=True)
                aside.rename(store)
    except RuntimeError as error:
        raise file_error(folder, error) from error
    for entry in subtable_names(subs[0]):
        (folder / entry).symlink_to(Path("SUBMSS") / subs[0].name / entry)
    (folder / "table.info").write_text(
        f"Type = Measurement Set\nSubType = CONCATENATED\n\nAxisType = {axis}\n"
        "This is a measurement set Table holding astronomical observations\n"
    )


def _link_subtables(sub: Path, first: Path) -> None:
    for entry in subtable_names(first):
        place = sub / entry
        remove(place)
        if entry in _OWN:
            shutil.copytree(first / entry, place)
        else:
            place.symlink_to(Path("..") / first.name / entry)
    attach_subtables(sub)
