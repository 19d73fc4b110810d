"""Bad input: one clear sentence each, found before anything is written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tclean_checks import Field

from parallactic import Executor
from parallactic.errors import InvalidSpec, ParallacticError
from parallactic.tasks import tclean


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"cell": "0.5arcseconds"}, "did you mean 'arcsec'"),
        ({"cell": "0arcsec"}, "positive angle"),
        ({"cell": ["1arcsec"] * 3}, "not 3"),
        ({"imsize": 0}, "positive whole number"),
        ({"imsize": [64, -1]}, "positive whole number"),
        ({"imsize": 64.5}, "whole number"),
        ({"imsize": [64, 64, 64]}, "not 3"),
        ({"imsize": 60000, "cell": "10arcsec"}, "horizon"),
        ({"threshold": "3mK"}, "unit 'mK'"),
        ({"niter": -5}, "niter=-5"),
        ({"gain": 0.0}, "gain=0.0"),
        ({"robust": 5.0, "weighting": "briggs"}, "robust=5.0"),
        ({"psfcutoff": 1.0}, "psfcutoff=1.0"),
        ({"pblimit": 1.0}, "pblimit=1.0"),
        ({"restfreq": "-1GHz"}, "restfreq"),
        ({"restfreq": "1.4parsec"}, "unit 'parsec'"),
        ({"weighting": "radial"}, "'natural'"),
        ({"datacolumn": "residual"}, "'corrected'"),
        ({"datacolumn": "model"}, "no column MODEL_DATA"),
        ({"stokes": "X"}, "unknown"),
        ({"imsiz": 64}, "did you mean 'imsize'"),
        ({"specmode": "cube"}, "cannot do specmode='cube' yet"),
        ({"deconvolver": "mtmfs"}, "cannot do deconvolver='mtmfs' yet"),
        ({"deconvolver": "mfmfs"}, "did you mean 'mtmfs'"),
        ({"usemask": "auto-multithresh"}, "cannot do usemask"),
        ({"stokes": "IQUV"}, "cannot do stokes='IQUV' yet"),
        ({"uvtaper": "5klambda"}, "cannot do uvtaper"),
        ({"scales": [0, 5]}, "cannot do scales"),
        ({"nterms": 2}, "cannot do nterms=2 yet"),
        ({"outframe": "LSRK"}, "cannot do outframe"),
        ({"restart": True}, "cannot do restart"),
        ({"gridder": "mosaic"}, "gridder='mosaic' is not there"),
        ({"field": "M31"}, "M31"),
        ({"scan": "77"}, "77"),
        ({"correlation": "RR"}, "needs RR and LL"),
        ({"timerange": "<2001/01/01/00:00:00"}, "no cross-correlation"),
        ({"phasecenter": "nowhere"}, "no field and no direction"),
        ({"phasecenter": 7}, "from 0"),
        ({"phasecenter": "ICRS 10h0m0s 7d0m0s"}, "frame of the fields"),
        ({"mask": "circle[[1,1],3pix]"}, "needs a unit"),
        ({"imagename": ""}, "imagename"),
        ({"imagename": "folder/"}, "imagename"),
        ({"imagename": "no/such/folder/im"}, "does not exist"),
        ({"imagename": "/proc/im"}, "not writable"),
        ({"vis": "no.ms"}, "no MeasurementSet"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_cannot_be_is_said_before_anything_is_written(
    field: Field,
    serial: Executor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: dict[str, Any],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    call: dict[str, Any] = {"vis": str(field.path), "imagename": "im", "imsize": 64, "cell": "3arcsec"}
    with pytest.raises(InvalidSpec, match=words):
        tclean(**(call | wrong), executor=serial)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_product_stays_as_it_is(field: Field, serial: Executor, tmp_path: Path) -> None:
    (tmp_path / "im.pb.fits").write_text("precious")
    with pytest.raises(InvalidSpec, match="exists already"):
        tclean(str(field.path), f"{tmp_path}/im", 64, "3arcsec", executor=serial)
    assert (tmp_path / "im.pb.fits").read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_leaves_no_product(
    field: Field, serial: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from astropy.io import fits

    real = fits.PrimaryHDU.writeto

    def full(self: fits.PrimaryHDU, path: Path, *args: Any, **kwargs: Any) -> None:
        if "model" in str(path):
            raise OSError(28, "No space left on device")
        real(self, path, *args, **kwargs)

    monkeypatch.setattr(fits.PrimaryHDU, "writeto", full)
    with pytest.raises(ParallacticError, match=r"(?i)space|full"):
        tclean(str(field.path), f"{tmp_path}/im", 64, "3arcsec", executor=serial)
    assert list(tmp_path.iterdir()) == []


def flagged(field: Field, tmp_path: Path) -> Path:
    from casacore.tables import table

    path = tmp_path / "flagged.ms"
    shutil.copytree(field.path, path)
    with table(str(path), readonly=False, ack=False) as main:
        main.putcol("FLAG_ROW", np.ones(main.nrows(), bool))
    return path


@pytest.mark.parametrize("weighting", ["natural", "briggs", "uniform"])
def test_nothing_but_flags_is_said(field: Field, serial: Executor, tmp_path: Path, weighting: str) -> None:
    path = flagged(field, tmp_path)
    with pytest.raises(ParallacticError, match="nothing to image: all 43,680"):
        tclean(str(path), f"{tmp_path}/im", 64, "3arcsec", weighting=weighting, executor=serial)
    assert [entry.name for entry in tmp_path.iterdir()] == ["flagged.ms"]


def test_windows_with_different_uvw_are_refused(field: Field, serial: Executor, tmp_path: Path) -> None:
    from casacore.tables import table

    path = tmp_path / "odd.ms"
    shutil.copytree(field.path, path)
    with table(str(path), readonly=False, ack=False) as main:
        uvw = main.getcol("UVW")
        uvw[main.getcol("DATA_DESC_ID") == 1] *= 1.5
        main.putcol("UVW", uvw)
    with pytest.raises(ParallacticError, match="different UVW"):
        tclean(str(path), f"{tmp_path}/im", 64, "3arcsec", executor=serial)


def test_other_gridders_are_the_w_gridder_and_said_once(
    field: Field, serial: Executor, tmp_path: Path
) -> None:
    summary = tclean(str(field.path), f"{tmp_path}/im", 64, "3arcsec", gridder="wproject", executor=serial)
    assert sum("wproject" in warning for warning in summary.warnings) == 1
