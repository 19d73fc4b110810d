"""Saved versions of the flags, as a person uses them, and whether flags may be written at all."""

from __future__ import annotations

import os
from pathlib import Path

from parallactic.errors import InvalidSpec
from parallactic.measurementset import MeasurementSet
from parallactic.measurementset.flagversions import (
    FlagVersion,
    list_versions,
    restore_version,
    save_version,
    versions_folder,
)

__all__ = ["check_writable", "restore", "save", "versions"]


def versions(vis: str) -> list[FlagVersion]:
    """Return the saved versions of the flags, the oldest first.

    Parameters
    ----------
    vis
        A MeasurementSet or a multi-MS.

    Raises
    ------
    InvalidSpec
        If there is no such set.
    """
    return list_versions(MeasurementSet(vis))


def save(vis: str, name: str, comment: str = "") -> FlagVersion:
    """Save the flags as they are under a name.

    Parameters
    ----------
    vis
        A MeasurementSet or a multi-MS.
    name
        What the version is called.
    comment
        One line about it.

    Raises
    ------
    InvalidSpec
        If there is no such set, or the name is taken or cannot be one.
    """
    save_version(MeasurementSet(vis), name, comment)
    return FlagVersion(name, " ".join(comment.split()))


def restore(vis: str, name: str) -> None:
    """Put the flags back as they were saved.

    Parameters
    ----------
    vis
        A MeasurementSet or a multi-MS.
    name
        The version: one of ``versions(vis)``.

    Raises
    ------
    InvalidSpec
        If there is no such set or version, or the set may not be written.
    """
    ms = MeasurementSet(vis)
    check_writable(ms)
    restore_version(ms, name)


def check_writable(ms: MeasurementSet, *, with_versions: bool = False) -> None:
    """Check, before any work is done, that the flags may be written.

    Parameters
    ----------
    ms
        The set.
    with_versions
        Whether a version is to be saved, too.

    Raises
    ------
    InvalidSpec
        If a file of the set, or the folder of the versions, is not writable by this user.
    """
    for subset in ms.subsets:
        for file in sorted(Path(subset).glob("table.*")):
            if not os.access(file, os.W_OK):
                raise InvalidSpec(
                    f"the flags of {ms.path} may not be changed: {file} is not writable by this user; "
                    "change its permissions or flag a copy."
                )
    folder = versions_folder(ms)
    place = folder if folder.exists() else folder.parent
    if with_versions and not os.access(place, os.W_OK | os.X_OK):
        raise InvalidSpec(
            f"the flags of {ms.path} cannot be saved before they are changed: {place} is not writable by "
            "this user; change its permissions or give flagbackup=False."
        )
