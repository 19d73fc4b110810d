"""CASA reads a simulated set, calibrates it to the truth, and sees the sources where they were put."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from casacore.images import image
from casacore.tables import table

from parallactic.measurementset.simulation import (
    Effects,
    Observation,
    Scan,
    SkyField,
    Source,
    Window,
    simulate,
    standard_observation,
)

pytestmark = pytest.mark.casa

PERFECT = Effects(0, 0, 0, 0, 5400.0, 0, 0, 0, 0, False)


def test_casa_lists_it(casa: ModuleType, tmp_path: Path) -> None:
    simulate(tmp_path / "a.ms", standard_observation(nantennas=5, nchan=4))
    listed = casa.listobs(str(tmp_path / "a.ms"))
    assert listed["nfields"] == 3
    assert listed["field_2"]["name"] == "TARGET"
    scans = [listed[f"scan_{number}"]["0"] for number in range(1, 7)]
    assert [scan["FieldName"] for scan in scans] == [
        "J1331+3030", "J1310+3220", "TARGET", "J1310+3220", "TARGET", "J1310+3220",
    ]  # fmt: skip
    casa_metadata = importlib.import_module("casatools").msmetadata()
    casa_metadata.open(str(tmp_path / "a.ms"))
    assert list(casa_metadata.fieldsforintent("*CALIBRATE_PHASE*")) == [1]
    assert list(casa_metadata.scansforintent("*OBSERVE_TARGET*")) == [3, 5]
    casa_metadata.close()


def test_casa_sees_a_source_where_it_was_put(casa: ModuleType, tmp_path: Path) -> None:
    cell, pixel = 2.0, (41, -29)
    source = Source(i=2.0, l=pixel[0] * cell, m=pixel[1] * cell)
    field = SkyField("F", 202.784533, 30.509155, "OBSERVE_TARGET#ON_SOURCE", (source,))
    observation = Observation(
        fields=(field,), windows=(Window(1.4e9, 1e6, 8),), scans=(Scan("F", 6),), nantennas=9,
        effects=PERFECT, sefd=0.0,
    )  # fmt: skip
    simulate(tmp_path / "a.ms", observation)
    name = str(tmp_path / "dirty")
    casa.tclean(
        str(tmp_path / "a.ms"), imagename=name, datacolumn="data", imsize=180, cell=f"{cell}arcsec",
        niter=0, gridder="wproject", wprojplanes=32, pblimit=-0.01,
    )  # fmt: skip
    plane = image(f"{name}.residual").getdata()[0, 0]
    y, x = np.unravel_index(plane.argmax(), plane.shape)
    # East is to the left: a source `l` east lies at lower x.
    assert (x, y) == (90 - pixel[0], 90 + pixel[1])
    # CASA's w-projection is off by up to half a percent of the peak.
    assert plane.max() == pytest.approx(2.0, rel=0.01)


def test_casa_solves_the_gains_that_were_put_in(casa: ModuleType, tmp_path: Path) -> None:
    effects = Effects(bandpass_amplitude=0.0, bandpass_phase=0.0, delay=0.0, leakage=0.0)
    truth = simulate(
        tmp_path / "a.ms", standard_observation(nantennas=8, nchan=8, effects=effects, rfi="none")
    )
    vis, caltable = str(tmp_path / "a.ms"), str(tmp_path / "g.cal")
    reference = f"{truth.observation.reffreq}Hz"
    casa.setjy(
        vis, field="0", standard="manual", fluxdensity=[15.0, 0.55, 1.25, 0.0], spix=-0.5, reffreq=reference,
        usescratch=True,
    )  # fmt: skip
    casa.gaincal(vis, caltable, field="0", solint="int", refant="0", calmode="ap")
    with table(caltable, ack=False) as solutions:
        time, spw, antenna, gain, flag = (
            solutions.getcol(name) for name in ("TIME", "SPECTRAL_WINDOW_ID", "ANTENNA1", "CPARAM", "FLAG")
        )
    true = truth.instrument.gains[spw, truth.at(time), antenna]
    first = truth.instrument.gains[spw, truth.at(time), 0]
    true = true * np.exp(-1j * np.angle(first))
    assert not flag.any()
    error = gain[:, 0] - true
    # Noise of one gain: sigma / (S sqrt(channels (antennas - 1))) about, in each part.
    sigma = truth.sigma[0] / (15.0 * np.sqrt(8 * 7))
    assert np.sqrt((np.abs(error) ** 2).mean() / 2) < 2.0 * sigma
    assert np.abs(error).max() < 8.0 * sigma


def test_casa_turns_the_feeds_as_we_do(casa: ModuleType, tmp_path: Path) -> None:
    effects = Effects(0, 0, 0, 0, 5400.0, 0, 0, 0, 0, True)
    calibrator = SkyField(
        "F", 202.784533, 30.509155, "CALIBRATE_FLUX#ON_SOURCE", (Source(i=1.0, q=0.3, u=-0.4),)
    )
    observation = Observation(
        fields=(calibrator,), windows=(Window(1.4e9, 1e6, 4),), scans=(Scan("F", 40),), nantennas=4,
        integration=60.0, effects=effects, sefd=0.0,
    )  # fmt: skip
    truth = simulate(tmp_path / "a.ms", observation)
    assert np.ptp(truth.instrument.parallactic) > 0.1
    # A solve with the identity gives applycal a table to stand on; parang=True is what is tried.
    vis, caltable = str(tmp_path / "a.ms"), str(tmp_path / "g.cal")
    casa.setjy(vis, standard="manual", fluxdensity=[1.0, 0, 0, 0], usescratch=True)
    casa.gaincal(vis, caltable, solint="inf", refant="0", minblperant=1)
    with table(caltable, readonly=False, ack=False) as solutions:
        solutions.putcol("CPARAM", np.ones_like(solutions.getcol("CPARAM")))
        solutions.putcol("FLAG", np.zeros_like(solutions.getcol("FLAG")))
    casa.applycal(vis, gaintable=[caltable], parang=True, calwt=[False], flagbackup=False)
    with table(vis, ack=False) as main:
        corrected = main.getcol("CORRECTED_DATA")
    # Q + iU again, in single precision; CASA takes the angle of a time for all antennas from one of them.
    np.testing.assert_allclose(corrected[..., 1], 0.3 - 0.4j, atol=1e-4)
    np.testing.assert_allclose(corrected[..., 2], 0.3 + 0.4j, atol=1e-4)
