"""The tables of measures (observatories, leap seconds, Earth rotation), found in a folder of any name."""

from __future__ import annotations

import os
from pathlib import Path

import casacore  # sets AIPSPATH  # noqa: F401

__all__ = ["find_measures"]


def find_measures() -> None:
    """Lead casacore to the tables that its wheel ships, where the path of the environment holds a blank.

    The wheel names the folder of its resource file in AIPSPATH, which casacore splits at blanks. It splits
    CASARCFILES at colons, and prefers it. Whoever set CASARCFILES keeps it. Casacore reads both once, when
    the first table is opened: call this before.
    """
    root = os.environ.get("AIPSPATH", "")
    resources = Path(root, ".aipsrc")
    if " " in root and resources.is_file():
        os.environ.setdefault("CASARCFILES", str(resources))
