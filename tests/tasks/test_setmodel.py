"""setmodel: against the formulae and against CASA's setjy."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from casacore.tables import table

from known_sets import MIXED, make
from parallactic import Executor
from parallactic.errors import InvalidSpec
from parallactic.measurementset import MeasurementSet
from parallactic.tasks import partition, setmodel

if TYPE_CHECKING:
    from conftest import Simulated

# The column is in single precision.
SINGLE = 2e-7


def test_stokes_parameters_become_correlations(tmp_path: Path) -> None:
    ms = make(tmp_path / "mixed.ms", MIXED)
    result = setmodel(ms.path, fluxdensity=[3.0, 0.5, -0.25, 0.125], executor="serial")
    assert result.counts == {"rows": len(ms), "added": "MODEL_DATA"}
    ms = MeasurementSet(ms.path)
    circular, linear = (np.flatnonzero(ms.index.ddid == ddid) for ddid in (0, 1))
    expected = [3.125, 0.5 - 0.25j, 0.5 + 0.25j, 2.875]
    assert (ms.read(circular, "MODEL_DATA") == np.array(expected, np.complex64)).all()
    assert (ms.read(linear, "MODEL_DATA") == np.array([3.5, 2.5], np.complex64)).all()


def test_the_spectrum_is_a_curved_power_law(tmp_path: Path) -> None:
    ms = make(tmp_path / "known.ms")
    setmodel(ms.path, fluxdensity=2.0, spix=[-0.7, 0.2], reffreq="1.41GHz", executor="serial")
    ratio = ms.frequencies(0) / 1.41e9
    expected = 2.0 * ratio ** (-0.7 + 0.2 * np.log10(ratio))
    found = MeasurementSet(ms.path).read(np.flatnonzero(ms.index.ddid == 0), "MODEL_DATA")
    np.testing.assert_allclose(found[..., 0], np.broadcast_to(expected, found.shape[:2]), rtol=SINGLE)
    assert not found[..., 1].any()


def test_only_the_selected_rows_change(tmp_path: Path) -> None:
    ms = make(tmp_path / "known.ms")
    setmodel(ms.path, field="0", fluxdensity=5.0, executor="serial")
    setmodel(ms.path, field="3C48", scan="3", spw="1", fluxdensity=7.0, executor="serial")
    ms = MeasurementSet(ms.path)
    for ddid in (0, 1):
        rows = np.flatnonzero(ms.index.ddid == ddid)
        found = ms.read(rows, "MODEL_DATA")[:, 0, 0]
        field = ms.index.field[rows]
        # What nobody set is a unit point source, as in CASA.
        other = 7.0 if ddid == 1 else 1.0
        expected = np.select([field == 0, (field == 2) & (ms.index.scan[rows] == 3)], [5.0, other], 1.0)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("backend", ["serial", "multiprocessing"])
def test_every_sub_ms_gets_the_column(simulated: Simulated, tmp_path: Path, backend: str) -> None:
    mms = str(tmp_path / "sim.mms")
    with Executor(backend=backend, workers=2) as ex:
        partition(str(simulated.path), mms, "scan", executor=ex)
        # Field 1 lies in some of the sub-MSs only.
        setmodel(mms, field="1", fluxdensity=[2.5, 0.1, 0, 0], executor=ex)
    ms = MeasurementSet(mms)
    assert len(ms.subsets) > 1
    assert "MODEL_DATA" in ms.columns
    rows = np.flatnonzero(ms.index.field == 1)
    assert (ms.read(rows, "MODEL_DATA") == np.array([2.5, 0.1, 0.1, 2.5], np.complex64)).all()
    assert (ms.read(np.flatnonzero(ms.index.field == 2), "MODEL_DATA")[..., 0] == 1).all()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({}, "needs fluxdensity"),
        ({"fluxdensity": [1.0], "standard": "Perley-Butler 2017"}, "not there yet"),
        ({"fluxdensity": [1.0], "model": "a.fits"}, "not there yet"),
        ({"fluxdensity": [1.0], "components": "a.cl"}, "not there yet"),
        ({"fluxdensity": [1.0, 0, 0, 0, 0]}, "one to four"),
        ({"fluxdensity": 0.0}, "more than nothing"),
        ({"fluxdensity": 1.0, "reffreq": "1.4 Jy"}, "unit"),
        ({"fluxdensity": 1.0, "reffreq": -1.0}, "more than nothing"),
        ({"fluxdensity": 1.0, "field": "3C84"}, "no field"),
        ({"fluxdensity": 1.0, "scan": "1", "field": "2"}, "selects no row"),
        ({"fluxdensity": 1.0, "spw": "0:1~3"}, "whole rows"),
        ({"fluxdensty": 1.0}, "did you mean 'fluxdensity'"),
    ],
)
def test_bad_input_is_an_error_and_writes_nothing(tmp_path: Path, wrong: dict[str, Any], words: str) -> None:
    ms = make(tmp_path / "known.ms")
    with pytest.raises(InvalidSpec, match=words):
        setmodel(ms.path, executor="serial", **wrong)
    assert "MODEL_DATA" not in MeasurementSet(ms.path).columns


@pytest.mark.casa
def test_casas_setjy_writes_the_same(casa: ModuleType, simulated: Simulated, tmp_path: Path) -> None:
    source: dict[str, Any] = {
        "field": "0", "fluxdensity": [15, 0.55, 1.25, 0.1], "spix": [-0.5, 0.1], "reffreq": "1.43GHz",
    }  # fmt: skip
    found = []
    for name in ("ours", "casa"):
        path = str(tmp_path / f"{name}.ms")
        shutil.copytree(simulated.path, path)
        if name == "ours":
            setmodel(path, executor="serial", **source)
        else:
            casa.setjy(path, standard="manual", usescratch=True, **source)
        with table(path, ack=False) as handle:
            found.append(handle.getcol("MODEL_DATA"))
    # CASA works in single precision: a few of its steps of 1.2e-7, of 15 Jy.
    np.testing.assert_allclose(found[0], found[1], atol=15 * 5e-7, rtol=0)
