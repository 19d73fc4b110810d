"""Sets to flag: many scans with autocorrelations, gaps and flags of before; and the same as multi-MSs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flag_files import scatter_flags

import parallactic as plx
from parallactic.tasks import partition


@pytest.fixture(scope="session")
def scans_original(simulated, tmp_path_factory: pytest.TempPathFactory) -> Path:  # type: ignore[no-untyped-def]
    """The simulated set with flags from before, in all sorts of places."""
    path = tmp_path_factory.mktemp("scans") / "scans.ms"
    shutil.copytree(simulated.path, path)
    scatter_flags(path)
    return path


@pytest.fixture
def scans(scans_original: Path, tmp_path: Path) -> Path:
    """A private copy of the simulated set with flags from before."""
    path = tmp_path / "scans.ms"
    shutil.copytree(scans_original, path)
    return path


@pytest.fixture(scope="session")
def multi_original(
    scans_original: Path, serial: plx.Executor, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Give the set as a multi-MS along an axis; made once, to be read only."""
    folder = tmp_path_factory.mktemp("multi")

    def make(axis: Any) -> Path:
        path = folder / f"{axis.replace(',', '-')}.mms"
        if not path.exists():
            partition(str(scans_original), str(path), separationaxis=axis, numsubms=3, executor=serial)
        return path

    return make


@pytest.fixture
def multi(multi_original: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """Give a private copy of the set as a multi-MS along an axis."""

    def copy(axis: str) -> Path:
        path = tmp_path / multi_original(axis).name
        shutil.copytree(multi_original(axis), path, symlinks=True)
        return path

    return copy
