"""Partition beside CASA: the same product, and one that CASA's tasks take."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from known_sets import Plan, make
from parallactic.errors import InvalidSpec
from parallactic.measurementset import MeasurementSet
from parallactic.tasks import partition

pytestmark = pytest.mark.casa


@pytest.mark.parametrize(
    "selection",
    [
        {},
        {"spw": "0:3~9"},
        {"field": "3C48", "spw": "1"},
        {"scan": "2~3", "antenna": "!ea02"},
        {"correlation": "RR,LL"},
    ],
    ids=str,
)
def test_same_totals_as_casas_partition(casa, known, tmp_path, selection):
    ours, theirs = str(tmp_path / "ours.mms"), str(tmp_path / "theirs.mms")
    partition(known.path, ours, separationaxis="scan", executor="serial", **selection)
    casa.partition(known.path, theirs, separationaxis="scan", flagbackup=False, datacolumn="all", **selection)
    mine, other = MeasurementSet(ours), MeasurementSet(theirs)
    assert len(mine.subsets) == len(other.subsets)
    assert [
        np.unique(mine.index.scan[mine.index.subset == k]).tolist() for k in range(len(mine.subsets))
    ] == [np.unique(other.index.scan[other.index.subset == k]).tolist() for k in range(len(other.subsets))]
    for ddid in np.unique(mine.index.ddid):
        a, b = np.flatnonzero(mine.index.ddid == ddid), np.flatnonzero(other.index.ddid == ddid)
        for column in ("TIME", "FIELD_ID", "UVW", "DATA", "FLAG", "MODEL_DATA", "WEIGHT_SPECTRUM"):
            assert np.array_equal(mine.read(a, column), other.read(b, column)), column
    for spw, spw_casa in zip(mine.spws, other.spws, strict=True):
        assert np.array_equal(spw.frequencies, spw_casa.frequencies)
        assert spw.reference == spw_casa.reference
        assert spw.bandwidth == spw_casa.bandwidth
    assert [f.name for f in mine.fields] == [f.name for f in other.fields]


def test_a_virtual_model_is_said_not_to_come_along(casa, known, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "s.ms", Plan(nscan=2))
    casa.setjy("s.ms", standard="manual", fluxdensity=[2, 0, 0, 0], field="0", usescratch=False)
    ms = MeasurementSet("s.ms")
    assert ms.has_virtual_model
    with pytest.raises(InvalidSpec, match="virtual model"):
        ms.require("MODEL_DATA")
    result = partition("s.ms", "o.mms", executor="serial")
    assert ["virtual model" in warning for warning in result.warnings] == [True]
    assert not MeasurementSet("o.mms").has_virtual_model
    assert casa.flagdata("o.mms", mode="summary")["total"] == result.counts["visibilities"]


@pytest.mark.parametrize("axis", ["spw", "baseline"])
def test_same_sub_mss_as_casa(casa, known, tmp_path, axis):
    ours, theirs = str(tmp_path / "ours.mms"), str(tmp_path / "theirs.mms")
    partition(known.path, ours, separationaxis=axis, numsubms=4, executor="serial")
    casa.partition(known.path, theirs, separationaxis=axis, numsubms=4, flagbackup=False)
    mine, other = MeasurementSet(ours), MeasurementSet(theirs)
    for name in ("antenna1", "antenna2", "ddid", "time", "subset"):
        assert np.array_equal(getattr(mine.index, name), getattr(other.index, name)), name


@pytest.mark.parametrize("axis", ["auto", "baseline", "time"])
def test_casa_takes_it_as_one_set(casa, evla_original, tmp_path, axis):
    from casatools import ms as mstool

    path = str(tmp_path / "o.mms")
    partition(str(evla_original), path, separationaxis=axis, executor="serial")
    tool = mstool()
    assert tool.open(path)
    assert tool.ismultims()
    assert tool.nrow() == 1360
    tool.close()
    assert casa.listobs(path)["nfields"] == 1
    ours, theirs = (casa.flagdata(p, mode="summary") for p in (path, str(evla_original)))
    assert (ours["total"], ours["flagged"]) == (theirs["total"], theirs["flagged"])


def test_casas_tasks_work_on_it(casa, known, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain, multi = str(tmp_path / "plain.ms"), str(tmp_path / "multi.mms")
    shutil.copytree(known.path, plain)
    partition(known.path, multi, separationaxis="auto", datacolumn="all", executor="serial")
    totals = {}
    for path in (plain, multi):
        casa.flagdata(path, mode="manual", antenna="ea02", scan="2", flagbackup=False)
        casa.setjy(path, standard="manual", fluxdensity=[2, 0, 0, 0], field="0", usescratch=True)
        casa.gaincal(path, caltable=f"{path}.G", field="0", solint="inf", refant="ea01", minsnr=0.0)
        casa.applycal(path, gaintable=[f"{path}.G"], flagbackup=False)
        casa.tclean(path, imagename=f"{path}.im", imsize=[64], cell="5arcsec", field="0", niter=0)
        totals[path] = casa.flagdata(path, mode="summary")
    assert totals[plain]["flagged"] == totals[multi]["flagged"] > 0
    assert totals[plain]["total"] == totals[multi]["total"]
    for name in ("plain.ms", "multi.mms"):
        assert (tmp_path / f"{name}.im.image").is_dir()
    ours, theirs = MeasurementSet(multi), MeasurementSet(plain)
    mine, other = (ms.read(np.flatnonzero(ms.index.ddid == 0), "CORRECTED_DATA") for ms in (ours, theirs))
    # CASA solves in single precision over rows in another order.
    assert np.allclose(mine, other, rtol=1e-4, atol=1e-3)
