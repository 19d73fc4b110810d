"""CASA takes over what the demonstration's recipe leaves: the multi-MS and the calibration tables."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from parallactic.measurementset import MeasurementSet
from parallactic.pipeline import run

RECIPE = Path(__file__).parents[2] / "examples" / "demo" / "evla.toml"

pytestmark = pytest.mark.casa


def test_casa_applies_our_tables_to_our_multi_ms(
    casa: ModuleType, evla_original: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    run(
        RECIPE,
        set={"vis": str(evla_original)},
        steps=":apply",
        skip=["dirty"],
        output=output,
        backend="serial",
    )
    theirs = tmp_path / "theirs.mms"
    casa.partition(
        str(output / "evla.mms"), str(theirs), separationaxis="baseline", numsubms=2, datacolumn="data"
    )
    casa.flagdata(str(theirs), mode="unflag", flagbackup=False)
    tables = [str(output / name) for name in ("bandpass.cal", "gains.cal")]
    casa.applycal(str(theirs), gaintable=tables, calwt=[False], flagbackup=False)
    ours, casas = MeasurementSet(output / "evla.mms"), MeasurementSet(theirs)
    rows = np.arange(len(ours.index))
    assert np.array_equal(ours.index.antenna2, casas.index.antenna2)
    flags = ours.read(rows, "FLAG")
    assert np.array_equal(flags, casas.read(rows, "FLAG"))
    one, other = (ms.read(rows, "CORRECTED_DATA")[~flags] for ms in (ours, casas))
    # Single precision of values whose gains are about 0.05: relative to the corrected data's own size.
    assert np.abs(one - other).max() < 1e-5 * np.abs(other).max()
    shutil.rmtree(theirs)
