from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from casacore.tables import table
from tclean_checks import CELL, Field, exact_visibilities, read

from parallactic import Executor
from parallactic.measurementset import MeasurementSet
from parallactic.tasks import partition, tclean
from parallactic.tasks.tclean import plan

CALL = {"imsize": 256, "cell": f"{CELL}arcsec", "niter": 60, "pblimit": -1.0, "datacolumn": "data"}


@pytest.fixture
def copy(field: Field, tmp_path: Path) -> str:
    return str(shutil.copytree(field.path, tmp_path / "field.ms"))


@pytest.mark.parametrize("multi", [False, True], ids=["ms", "multi-ms"])
def test_the_column_is_the_exact_sum_over_the_components(
    copy: str, tmp_path: Path, serial: Executor, monkeypatch: pytest.MonkeyPatch, multi: bool
) -> None:
    if multi:
        monkeypatch.setattr(plan, "_LARGEST_BLOCK", 9000)
        partition(copy, str(tmp_path / "field.mms"), separationaxis="baseline", executor=serial)
        copy = str(tmp_path / "field.mms")
    # Another phase centre than the field's: the model must turn back.
    where = "J2000 201.03deg 33.01deg"
    tclean(copy, f"{tmp_path}/im", savemodel="modelcolumn", phasecenter=where, executor=serial, **CALL)
    model = read(tmp_path / "im.model.fits")
    ms = MeasurementSet(copy)
    for ddid in (0, 1):
        rows = np.flatnonzero(ms.index.ddid == ddid)[::97]
        found = ms.read(rows, "MODEL_DATA")
        expected = exact_visibilities(
            model, ms.read(rows, "UVW"), ms.frequencies(ddid), centre=(201.03, 33.01), phase=(201.0, 33.0)
        )
        # 1e-5 of the flux of the model: the accuracy of the gridder.
        bound = 1e-5 * np.abs(model).sum()
        assert np.abs(found[..., 0] - expected).max() < bound
        np.testing.assert_array_equal(found[..., 3], found[..., 0])
        assert not found[..., 1:3].any()


def test_only_what_was_imaged_is_written(copy: str, tmp_path: Path, serial: Executor) -> None:
    tclean(
        copy, f"{tmp_path}/im", savemodel="virtual", scan="1", spw="1:1;4~5", executor=serial, **CALL
    )  # fmt: skip
    with table(copy, ack=False) as main:
        model, scan, ddid = main.getcol("MODEL_DATA"), main.getcol("SCAN_NUMBER"), main.getcol("DATA_DESC_ID")
    fresh = np.array([1, 0, 0, 1])  # as a new column begins
    imaged = (scan == 1) & (ddid == 1)
    assert (model[~imaged] == fresh).all()
    assert (model[imaged][:, [0, 2, 3]] == fresh).all()
    assert not (model[imaged][:, [1, 4, 5]] == fresh).all(axis=-1).any()


def test_without_asking_nothing_is_written(copy: str, tmp_path: Path, serial: Executor) -> None:
    tclean(copy, f"{tmp_path}/im", executor=serial, **CALL)
    assert "MODEL_DATA" not in MeasurementSet(copy).columns
