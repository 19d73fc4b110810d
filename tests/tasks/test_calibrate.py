"""calibrate: the truth of a simulation, the same answer everywhere, and bad input."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calibrators import Calibrator, agrees, pulls, simulated
from casacore.tables import table

from known_sets import Plan, make
from parallactic import Executor
from parallactic.errors import InvalidSpec, ParallacticError
from parallactic.measurementset import MeasurementSet
from parallactic.measurementset.caltable import read_caltable
from parallactic.measurementset.simulation import Effects, simulate, standard_observation
from parallactic.tasks import calibrate, partition


def test_bandpasses_are_the_truth_within_their_noise(steady: Calibrator, tmp_path: Path) -> None:
    caltable = tmp_path / "b.cal"
    result = calibrate(steady.path, str(caltable), "B", field="0", refant="2", executor="serial")
    read = read_caltable(caltable)
    assert read.kind == "B Jones"
    assert result.counts["flagged"] == 0
    assert result.products == [str(caltable)]
    for entry in read.solutions:
        truth = steady.truth.instrument.diagonal(entry.spw)[:1]
        agrees(pulls(entry, truth), 8)
        np.testing.assert_allclose(np.angle(entry.values[:, 2]), 0.0, atol=1e-6)
        np.testing.assert_array_equal(entry.frequencies, steady.truth.instrument.frequencies[entry.spw])


@pytest.mark.parametrize("solint", ["int", "30s"])
def test_gains_in_time_are_the_truth_within_their_noise(
    drifting: Calibrator, tmp_path: Path, solint: str
) -> None:
    caltable = tmp_path / "g.cal"
    calibrate(drifting.path, str(caltable), field="0,1", solint=solint, refant="2", executor="serial")
    truth = drifting.truth
    each = {"int": 1, "30s": 3}[solint]
    for entry in read_caltable(caltable).solutions:
        used = np.flatnonzero(truth.fields != 2)
        assert len(entry.times) == len(used) // each
        gains = truth.instrument.diagonal(entry.spw)[used].mean(axis=2, keepdims=True)
        mean = gains.reshape(len(entry.times), each, *gains.shape[1:]).mean(axis=1)
        np.testing.assert_allclose(entry.times, truth.times[used].reshape(-1, each).mean(axis=1), atol=1e-3)
        agrees(pulls(entry, mean), 8)
        assert entry.fields.tolist() == truth.fields[used][::each].tolist()
        assert entry.scans.tolist() == truth.scans[used][::each].tolist()


def test_a_gain_after_a_bandpass_is_the_rest(steady: Calibrator, tmp_path: Path) -> None:
    b, g = str(tmp_path / "b.cal"), str(tmp_path / "g.cal")
    calibrate(steady.path, b, "B", field="0", refant="2", solnorm=True, executor="serial")
    calibrate(steady.path, g, field="0", refant="2", gaintable=[b], executor="serial")
    for band, gain in zip(read_caltable(b).solutions, read_caltable(g).solutions, strict=True):
        np.testing.assert_allclose(np.mean(np.abs(band.values) ** 2, axis=2), 1.0, rtol=1e-5)
        product = band.values * gain.values
        truth = steady.truth.instrument.diagonal(band.spw)[:1]
        # The noise is that of the bandpass: the gain's is a quarter of it, of 16 channels.
        rough = replace(band, values=product, errors=band.errors * np.abs(gain.values))
        agrees(pulls(rough, truth), 8)


@pytest.mark.parametrize("calmode", ["p", "a"])
def test_phase_and_amplitude_alone(drifting: Calibrator, tmp_path: Path, calmode: str) -> None:
    caltable = tmp_path / "g.cal"
    calibrate(
        drifting.path, str(caltable), field="0", solint="int", calmode=calmode, refant="2", executor="serial"
    )
    for entry in read_caltable(caltable).solutions:
        used = drifting.truth.fields == 0
        truth = drifting.truth.instrument.diagonal(entry.spw)[used].mean(axis=2, keepdims=True)
        if calmode == "p":
            np.testing.assert_allclose(np.abs(entry.values), 1.0, rtol=1e-6)
            agrees(pulls(entry, truth / np.abs(truth)), 8)
        else:
            np.testing.assert_array_equal(np.angle(entry.values), 0.0)
            agrees(((np.abs(entry.values) - np.abs(truth)) / entry.errors).reshape(-1), 8)


def test_delays_are_the_truth_within_their_noise(tmp_path: Path) -> None:
    effects = Effects(bandpass_amplitude=0.0, bandpass_phase=0.0, leakage=0.0)
    observed = simulated(tmp_path, "delays.ms", effects=effects)
    caltable = tmp_path / "k.cal"
    calibrate(observed.path, str(caltable), "K", field="0", refant="2", executor="serial")
    for entry in read_caltable(caltable).solutions:
        truth = observed.truth.instrument.delays[entry.spw] * 1e9
        deviations = (entry.values[0, :, 0] - (truth - truth[2]))[np.arange(8) != 2]
        errors = entry.errors[0, :, 0][np.arange(8) != 2]
        # 14 deviates per window; beyond 4.5 once in 150,000. Their mean square is 1 to sqrt(2/14), 3 of it.
        assert (np.abs(deviations) < 4.5 * errors).all()
        assert np.mean((deviations / errors) ** 2) == pytest.approx(1.0, abs=3 * np.sqrt(2 / 14))
        assert entry.refants.tolist() == [2]


def test_delays_take_the_slope_out(steady: Calibrator, tmp_path: Path) -> None:
    k, b = str(tmp_path / "k.cal"), str(tmp_path / "b.cal")
    calibrate(steady.path, k, "K", field="0", refant="2", executor="serial")
    calibrate(steady.path, b, "B", field="0", refant="2", gaintable=[k], executor="serial")
    for delay, band in zip(read_caltable(k).solutions, read_caltable(b).solutions, strict=True):
        offsets = band.frequencies - delay.frequencies[0]
        product = band.values * np.exp(2e-9j * np.pi * delay.values * offsets[:, np.newaxis])
        rest = replace(band, values=product)
        agrees(pulls(rest, steady.truth.instrument.diagonal(band.spw)[:1]), 8)


def test_channel_groups_have_one_solution_each(steady: Calibrator, tmp_path: Path) -> None:
    caltable = tmp_path / "b.cal"
    calibrate(steady.path, str(caltable), "B", field="0", solint="inf,6ch", refant="2", executor="serial")
    entry = read_caltable(caltable).solutions[1]
    frequencies = steady.truth.instrument.frequencies[1]
    groups = [frequencies[:6], frequencies[6:12], frequencies[12:]]
    np.testing.assert_allclose(entry.frequencies, [group.mean() for group in groups])
    np.testing.assert_allclose(entry.widths, [6e6, 6e6, 4e6])
    wide = tmp_path / "wide.cal"
    calibrate(steady.path, str(wide), "B", field="0", solint="inf,6MHz", refant="2", executor="serial")
    np.testing.assert_array_equal(read_caltable(wide).solutions[1].values, entry.values)


def test_channels_that_are_not_selected_have_no_solution(steady: Calibrator, tmp_path: Path) -> None:
    caltable = tmp_path / "b.cal"
    calibrate(steady.path, str(caltable), "B", field="0", spw="1:4~9", refant="2", executor="serial")
    (entry,) = read_caltable(caltable).solutions
    assert entry.spw == 1
    expected = np.ones(16, bool)
    expected[4:10] = False
    np.testing.assert_array_equal(entry.flags[0, 0, :, 0], expected)


def test_a_low_ratio_is_flagged(drifting: Calibrator, tmp_path: Path) -> None:
    loose, strict = tmp_path / "loose.cal", tmp_path / "strict.cal"
    calibrate(drifting.path, str(loose), field="0", minsnr=0, refant="2", executor="serial")
    ratio = float(np.median(read_caltable(loose).solutions[0].snr))
    result = calibrate(drifting.path, str(strict), field="0", minsnr=ratio, refant="2", executor="serial")
    for one, other in zip(read_caltable(loose).solutions, read_caltable(strict).solutions, strict=True):
        np.testing.assert_array_equal(other.flags, one.snr < ratio)
    assert 0 < result.flagged_fraction < 1


@pytest.mark.parametrize("axis", ["scan", "spw", "baseline"])
def test_a_multi_ms_gives_the_same(
    everything: Calibrator, serial: Executor, tmp_path: Path, axis: str
) -> None:
    mms = str(tmp_path / "x.mms")
    partition(everything.path, mms, axis, numsubms=3, executor=serial)
    compare_all(everything.path, mms, serial, serial, tmp_path)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_every_backend_gives_the_same(
    everything: Calibrator, serial: Executor, tmp_path: Path, workers: int
) -> None:
    with Executor(backend="multiprocessing", workers=workers) as ex:
        compare_all(everything.path, everything.path, serial, ex, tmp_path)


def compare_all(vis: str, other_vis: str, ex: Executor, other: Executor, folder: Path) -> None:
    """Solve B, then G with it, both ways; units and sums are the same, so every bit is."""
    for name, path, executor in (("one", vis, ex), ("two", other_vis, other)):
        b, g = str(folder / f"{name}.b"), str(folder / f"{name}.g")
        calibrate(path, b, "B", field="0", refant="2", executor=executor)
        calibrate(path, g, field="0,1", solint="20s", refant="2", gaintable=[b], executor=executor)
    for kind in "bg":
        one, two = (read_caltable(folder / f"{name}.{kind}").solutions for name in ("one", "two"))
        assert len(one) == len(two) == 2
        for here, there in zip(one, two, strict=True):
            for name in ("times", "flags", "values", "errors", "snr"):
                np.testing.assert_array_equal(getattr(here, name), getattr(there, name), err_msg=name)


def test_without_a_model_a_unit_source_is_taken_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.ms"
    simulate(path, standard_observation(nantennas=6, nchan=4, rfi="none", cycles=1))
    with caplog.at_level(logging.WARNING):
        result = calibrate(str(path), str(tmp_path / "g.cal"), field="0", executor="serial")
    assert "no MODEL_DATA" in caplog.text
    assert "no MODEL_DATA" in result.warnings[0]
    same = calibrate(str(path), str(tmp_path / "s.cal"), field="0", smodel=[1, 0, 0, 0], executor="serial")
    assert same.warnings == []
    one, two = (read_caltable(tmp_path / name).solutions[0] for name in ("g.cal", "s.cal"))
    np.testing.assert_array_equal(one.values, two.values)


def test_nothing_solved_is_an_error_in_words(steady: Calibrator, tmp_path: Path) -> None:
    caltable = tmp_path / "g.cal"
    with pytest.raises(ParallacticError, match="below minsnr=1e"):
        calibrate(steady.path, str(caltable), field="0", minsnr=1e9, executor="serial")
    with pytest.raises(ParallacticError, match="no antenna has 9 baselines"):
        calibrate(steady.path, str(caltable), field="0", minblperant=9, executor="serial")
    copy = tmp_path / "flagged.ms"
    shutil.copytree(steady.path, copy)
    with table(str(copy), readonly=False, ack=False) as handle:
        handle.putcol("FLAG", np.ones_like(handle.getcol("FLAG")))
    with pytest.raises(ParallacticError, match="No table was written"):
        calibrate(str(copy), str(caltable), field="0", executor="serial")
    assert not list(tmp_path.glob("g.cal*"))


def test_an_absent_reference_is_replaced_or_refused(everything: Calibrator, tmp_path: Path) -> None:
    copy = tmp_path / "copy.ms"
    shutil.copytree(everything.path, copy)
    with table(str(copy), readonly=False, ack=False) as handle:
        flags = handle.getcol("FLAG")
        flags[(handle.getcol("ANTENNA1") == 0) | (handle.getcol("ANTENNA2") == 0)] = True
        handle.putcol("FLAG", flags)
    calibrate(str(copy), str(tmp_path / "flex.cal"), field="0", refant="0,3", executor="serial")
    entry = read_caltable(tmp_path / "flex.cal").solutions[0]
    assert entry.refants.tolist() == [3]
    np.testing.assert_allclose(np.angle(entry.values[:, 3]), 0.0, atol=1e-6)
    with pytest.raises(ParallacticError, match="'strict' flags all the others"):
        calibrate(
            str(copy), str(tmp_path / "strict.cal"), field="0", refant="0", refantmode="strict",
            executor="serial",
        )  # fmt: skip
    assert not (tmp_path / "strict.cal").exists()


def test_tables_are_appended(drifting: Calibrator, tmp_path: Path) -> None:
    whole, parts = str(tmp_path / "whole.cal"), str(tmp_path / "parts.cal")
    calibrate(drifting.path, whole, field="0,1", refant="2", executor="serial")
    calibrate(drifting.path, parts, field="0", refant="2", executor="serial")
    calibrate(drifting.path, parts, field="1", refant="2", append=True, executor="serial")
    for one, two in zip(read_caltable(whole).solutions, read_caltable(parts).solutions, strict=True):
        np.testing.assert_array_equal(one.values, two.values)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"refant": "ea99"}, "refant='ea99': there is no antenna 'ea99'"),
        ({"solint": "30Jy"}, "unit 'Jy'"),
        ({"solint": "fast"}, "'int' one integration"),
        ({"solint": "-3s"}, "longer than nothing"),
        ({"solint": "inf,8ch"}, "gaintype='B'"),
        ({"solint": "inf,8Jy", "gaintype": "B"}, "unit 'Jy'"),
        ({"combine": "scans"}, "did you mean 'scan'"),
        ({"combine": "scan,spw", "gaintype": "B"}, "not there yet"),
        ({"gaintype": "K"}, "needs a refant"),
        ({"gaintype": "K", "refant": "0", "combine": "spw"}, "not there yet"),
        ({"gaintype": "D"}, "one of 'G', 'B', 'T'"),
        ({"calmode": "pa"}, "one of 'ap', 'p', 'a'"),
        ({"parang": True}, "not there yet"),
        ({"fillgaps": 3}, "gaintype='B'"),
        ({"minblperant": 0}, "minblperant"),
        ({"smodel": [1.0, 0.0]}, "four numbers"),
        ({"gaintable": "absent.cal"}, "does not exist"),
        ({"interp": "linear"}, "1 entries for 0"),
        ({"field": "9"}, "no field '9'"),
        ({"scan": "1", "field": "1"}, "selects no row"),
        ({"solin": "inf"}, "did you mean 'solint'"),
    ],
)
def test_bad_input_is_an_error_before_anything_is_written(
    tmp_path: Path, wrong: dict[str, Any], words: str
) -> None:
    ms = make(tmp_path / "known.ms", Plan(nscan=2))
    with pytest.raises(InvalidSpec, match=words):
        calibrate(ms.path, str(tmp_path / "g.cal"), executor="serial", **wrong)
    assert not list(tmp_path.glob("g.cal*"))


def test_a_table_in_the_way_is_left_alone(drifting: Calibrator, tmp_path: Path) -> None:
    caltable = tmp_path / "g.cal"
    calibrate(drifting.path, str(caltable), field="0", executor="serial")
    before = read_caltable(caltable).solutions[0].values
    with pytest.raises(InvalidSpec, match="exists already"):
        calibrate(drifting.path, str(caltable), field="1", executor="serial")
    np.testing.assert_array_equal(read_caltable(caltable).solutions[0].values, before)
    with pytest.raises(InvalidSpec, match="does not exist"):
        calibrate(drifting.path, str(tmp_path / "no" / "g.cal"), executor="serial")


def test_a_table_of_another_array_is_refused(drifting: Calibrator, tmp_path: Path) -> None:
    caltable = str(tmp_path / "g.cal")
    calibrate(drifting.path, caltable, field="0", executor="serial")
    ms = make(tmp_path / "known.ms")
    with pytest.raises(InvalidSpec, match="8 antennas"):
        calibrate(ms.path, str(tmp_path / "x.cal"), gaintable=caltable, executor="serial")


def test_several_times_in_one_integration_are_one_solution(evla: Path, tmp_path: Path) -> None:
    # The real set has 15 TIMEs within 9 integrations of 10 s.
    calibrate(str(evla), str(tmp_path / "g.cal"), solint="int", refant="4", executor="serial")
    entry = read_caltable(tmp_path / "g.cal").solutions[0]
    assert len(entry.times) == 9
    np.testing.assert_allclose(np.diff(entry.times), 10.0, atol=1.5)
    assert MeasurementSet(evla).antennas[int(entry.refants[0])].name == "4"
