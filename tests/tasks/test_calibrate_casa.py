"""calibrate: CASA's gaincal and bandpass find the same."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from calibrators import CASA_STOPS, Calibrator, against_casa

from parallactic.measurementset.caltable import read_caltable
from parallactic.tasks import calibrate, setmodel

pytestmark = pytest.mark.casa


def test_casa_finds_the_same_on_the_real_set(casa: ModuleType, evla: Path, tmp_path: Path) -> None:
    setmodel(str(evla), fluxdensity=[1, 0, 0, 0], executor="serial")
    bands, gains = [tmp_path / "ours.b", tmp_path / "casa.b"], [tmp_path / "ours.g", tmp_path / "casa.g"]
    band: dict[str, Any] = {"solint": "inf,8ch", "solnorm": True, "refant": "4"}
    calibrate(str(evla), str(bands[0]), "B", executor="serial", **band)
    casa.bandpass(str(evla), caltable=str(bands[1]), **band)
    against_casa(*bands)
    calibrate(str(evla), str(gains[0]), refant="4", gaintable=str(bands[1]), executor="serial")
    casa.gaincal(str(evla), caltable=str(gains[1]), refant="4", gaintable=str(bands[1]), solint="inf")
    against_casa(*gains)


@pytest.mark.parametrize(
    "wanted",
    [
        {"field": "0,1", "solint": "inf"},
        {"field": "1", "solint": "int"},
        {"field": "0,1", "solint": "25s"},
        {"field": "1", "solint": "inf", "combine": "scan", "solnorm": True},
        {"field": "0,1", "solint": "inf", "combine": "scan,field"},
        {"field": "1", "solint": "inf", "combine": "spw"},
        {"field": "0,1", "solint": "30s", "calmode": "p"},
        {"field": "0,1", "solint": "30s", "calmode": "a"},
        {"field": "0,1", "solint": "inf", "corrdepflags": True},
    ],
    ids=str,
)
def test_casa_finds_the_same_gains(
    casa: ModuleType, flagged: Calibrator, tmp_path: Path, wanted: dict[str, Any]
) -> None:
    b = str(tmp_path / "b.cal")
    calibrate(flagged.path, b, "B", field="0", refant="3", executor="serial")
    common = {**wanted, "refant": "3", "gaintable": [b]}
    calibrate(flagged.path, str(tmp_path / "ours"), executor="serial", **common)
    casa.gaincal(flagged.path, caltable=str(tmp_path / "casa"), **common)
    against_casa(tmp_path / "ours", tmp_path / "casa")


@pytest.mark.parametrize(
    "wanted", [{}, {"solnorm": True, "fillgaps": 4}, {"solint": "30s,4ch", "combine": ""}], ids=str
)
def test_casa_finds_the_same_bandpass(
    casa: ModuleType, flagged: Calibrator, tmp_path: Path, wanted: dict[str, Any]
) -> None:
    common = {"field": "0", "refant": "3", **wanted}
    calibrate(flagged.path, str(tmp_path / "ours"), "B", executor="serial", **common)
    casa.bandpass(flagged.path, caltable=str(tmp_path / "casa"), **common)
    against_casa(tmp_path / "ours", tmp_path / "casa")


def test_casa_finds_the_same_delays(casa: ModuleType, steady: Calibrator, tmp_path: Path) -> None:
    common: dict[str, Any] = {"field": "0", "solint": "inf", "refant": "3", "gaintype": "K"}
    calibrate(steady.path, str(tmp_path / "ours"), executor="serial", **common)
    casa.gaincal(steady.path, caltable=str(tmp_path / "casa"), **common)
    one, two = (read_caltable(tmp_path / name).solutions for name in ("ours", "casa"))
    for here, there in zip(one, two, strict=True):
        np.testing.assert_array_equal(here.flags, there.flags)
        others = np.arange(8) != 3
        difference = np.abs(here.values - there.values)[:, others] / here.errors[:, others]
        # CASA reads the maximum off its transform; it weighs no channel, and in this set none needs it.
        assert difference.max() < CASA_STOPS
        np.testing.assert_allclose(here.frequencies, there.frequencies, rtol=1e-14)


def test_casa_finds_the_same_gain_of_both_receptors(
    casa: ModuleType, flagged: Calibrator, tmp_path: Path
) -> None:
    b = str(tmp_path / "b.cal")
    calibrate(flagged.path, b, "B", field="0", refant="3", executor="serial")
    # CASA fits the cross hands too: they weigh little where the model is hardly polarised, as in field 1, but
    # count in its error.
    common: dict[str, Any] = {"field": "1", "refant": "3", "gaintype": "T", "minsnr": 0.0, "gaintable": [b]}
    calibrate(flagged.path, str(tmp_path / "ours"), executor="serial", **common)
    casa.gaincal(flagged.path, caltable=str(tmp_path / "casa"), solint="inf", **common)
    for here, there in zip(
        read_caltable(tmp_path / "ours").solutions, read_caltable(tmp_path / "casa").solutions, strict=True
    ):
        assert here.values.shape == there.values.shape == (3, 8, 1, 1)
        np.testing.assert_array_equal(here.flags, there.flags)
        good = ~here.flags
        assert (np.abs(here.values - there.values)[good] / here.errors[good]).max() < CASA_STOPS
