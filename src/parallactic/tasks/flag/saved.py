"""Saved versions of the flags, as a person uses them."""

from __future__ import annotations

from parallactic.measurementset import MeasurementSet
from parallactic.measurementset.flagversions import (
    FlagVersion,
    list_versions,
    restore_version,
    save_version,
)

__all__ = ["restore", "save", "versions"]


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
    ms.require_writable()
    restore_version(ms, name)
