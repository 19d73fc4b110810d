"""Simulated sets against formulae written here, independently of the code that made them."""

from __future__ import annotations

import dataclasses
import errno
import math
from pathlib import Path

import numpy as np
import pytest
from casacore.measures import measures
from casacore.quanta import quantity

from parallactic.errors import InvalidSpec, ParallacticError
from parallactic.measurementset import MeasurementSet
from parallactic.measurementset.simulation import (
    Effects,
    Geometry,
    Observation,
    Rfi,
    Scan,
    SkyField,
    Source,
    Truth,
    Window,
    simulate,
    standard_observation,
    vla_layout,
)

PERFECT = Effects(0, 0, 0, 0, 5400.0, 0, 0, 0, 0, False)
C = 299792458.0


def observation(*sources: Source, **changes: object) -> Observation:
    """One short scan of one field at 1.4 GHz, without any effect, noise or interference."""
    base = Observation(
        fields=(SkyField("F", 202.784533, 30.509155, "OBSERVE_TARGET#ON_SOURCE", sources),),
        windows=(Window(1.4e9, 1e6, 16),),
        scans=(Scan("F", 4),),
        nantennas=6,
        effects=PERFECT,
        sefd=0.0,
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def columns(path: Path, *names: str, spw: int = 0) -> list[np.ndarray]:
    """Read columns of one spw straight by casacore."""
    from casacore.tables import table, taql  # noqa: F401

    with table(str(path), ack=False) as main, main.query(f"DATA_DESC_ID == {spw}") as rows:
        return [rows.getcol(name) for name in names]


@pytest.mark.parametrize("feeds", ["circular", "linear"])
def test_one_source_obeys_the_measurement_equation(tmp_path: Path, feeds: str) -> None:
    source = Source(i=2.0, q=0.3, u=-0.2, v=0.1, l=400.0, m=-250.0, spix=-0.7, reffreq=1.2e9)
    simulate(tmp_path / "a.ms", observation(source, feeds=feeds))
    data, uvw = columns(tmp_path / "a.ms", "DATA", "UVW")
    l, m = (math.radians(x / 3600.0) for x in (source.l, source.m))  # noqa: E741
    n = math.sqrt(1 - l**2 - m**2)
    circular = [2.0 + 0.1, 0.3 - 0.2j, 0.3 + 0.2j, 2.0 - 0.1]
    linear = [2.0 + 0.3, -0.2 + 0.1j, -0.2 - 0.1j, 2.0 - 0.3]
    for row in range(0, len(data), 7):
        for channel in (0, 9, 15):
            frequency = 1.4e9 + channel * 1e6
            path = uvw[row, 0] * l + uvw[row, 1] * m + uvw[row, 2] * (n - 1)
            fringe = np.exp(2j * math.pi * path * frequency / C) * (frequency / 1.2e9) ** -0.7
            expected = fringe * np.array(circular if feeds == "circular" else linear)
            # The data are kept in single precision: 24 bits of values of about 2 Jy.
            np.testing.assert_allclose(data[row, channel], expected, atol=5e-7, rtol=0)


def test_baselines_are_those_of_casacore_one_by_one() -> None:
    layout = vla_layout(9, "B")
    time, ra, dec = 59000.25 * 86400, math.radians(200.0), math.radians(30.0)
    ours = Geometry(layout).uvw(time, ra, dec)
    dm = measures()
    dm.do_frame(dm.position("itrf", *(quantity(x, "m") for x in map(float, layout.centre))))
    dm.do_frame(dm.epoch("utc", quantity(time, "s")))
    dm.do_frame(dm.direction("j2000", quantity(ra, "rad"), quantity(dec, "rad")))
    for first, second in [(0, 1), (2, 7), (5, 8)]:
        separation = layout.positions[second] - layout.positions[first]
        baseline = dm.to_uvw(dm.baseline("itrf", *(quantity(float(x), "m") for x in separation)))
        # A micrometre: the rounding of positions of 6,000 km in double precision.
        np.testing.assert_allclose(ours[second] - ours[first], baseline["xyz"].get_value("m"), atol=1e-6)


def test_the_array_has_the_arms_of_the_vla() -> None:
    layout = vla_layout(27, "D")
    distances = np.linalg.norm(layout.positions - layout.centre, axis=1)
    assert len(set(layout.names)) == len(set(layout.stations)) == 27
    # The published law of the stations: the n-th of nine stands at (n / 9) ** 1.716 of the arm.
    np.testing.assert_allclose(np.sort(distances)[::3], 591.0 * (np.arange(1, 10) / 9) ** 1.716, atol=0.01)


def test_instrument_acts_as_the_truth_says(tmp_path: Path) -> None:
    effects = Effects(delay=5e-9, leakage=0.05, drift_phase=1.0, parallactic=True)
    sky = Source(i=1.0, q=0.2, u=-0.1, v=0.05)
    truth = simulate(tmp_path / "a.ms", observation(sky, effects=effects))
    data, time, first, second = columns(tmp_path / "a.ms", "DATA", "TIME", "ANTENNA1", "ANTENNA2")
    frequencies = 1.4e9 + 1e6 * np.arange(16)
    stokes = np.array([[1.05, 0.2 - 0.1j], [0.2 + 0.1j, 0.95]])
    instrument = truth.instrument

    def jones(step: int, antenna: int, channel: int) -> np.ndarray:
        gain = np.diag(instrument.gains[0, step, antenna])
        band = np.diag(instrument.bandpass[0][antenna, channel])
        turn = 2j * math.pi * instrument.delays[0, antenna] * (frequencies[channel] - frequencies.mean())
        d = instrument.leakage[0, antenna]
        angle = instrument.parallactic[step, antenna]
        parallactic = np.diag([np.exp(-1j * angle), np.exp(1j * angle)])
        return gain @ band @ np.diag(np.exp(turn)) @ np.array([[1, d[0]], [d[1], 1]]) @ parallactic

    assert np.abs(instrument.parallactic).min() > 0.1
    for row in range(0, len(data), 5):
        step = int(np.argmin(np.abs(truth.times - time[row])))
        for channel in (0, 11):
            one, two = (jones(step, antenna[row], channel) for antenna in (first, second))
            # Single precision of values of about 1 Jy.
            np.testing.assert_allclose(
                data[row, channel].reshape(2, 2), one @ stokes @ two.conj().T, atol=1e-6
            )


def test_delays_bandpass_and_gains_leave_the_scale_as_documented() -> None:
    truth = standard_truth()
    for spw in (0, 1):
        grid = truth.instrument.frequencies[spw]
        assert grid[1] - grid[0] == 1e6
        edge = np.abs(truth.instrument.bandpass[spw]).mean(axis=(0, 2))
        assert edge[0] < 0.8 * edge[16]
    assert truth.instrument.delays.std() == pytest.approx(2e-9, rel=0.4)  # of 40 draws


def standard_truth() -> Truth:
    from parallactic.measurementset.simulation.observe import draw

    return draw(standard_observation())[0]


def test_noise_is_what_the_sefd_says_and_sigma_and_weight_tell(tmp_path: Path) -> None:
    truth = simulate(tmp_path / "a.ms", observation(sefd=400.0, integration=8.0))
    expected = 400.0 / math.sqrt(2 * 1e6 * 8.0)
    assert truth.sigma[0] == pytest.approx(expected, rel=1e-12)
    data, sigma, weight = columns(tmp_path / "a.ms", "DATA", "SIGMA", "WEIGHT")
    np.testing.assert_allclose(sigma, expected, rtol=1e-6)
    np.testing.assert_allclose(weight, expected**-2, rtol=1e-6)
    count = data.size
    for part in (data.real, data.imag):
        # The standard error of a standard deviation of n values is sigma / sqrt(2 n): four of them.
        assert part.std() == pytest.approx(expected, rel=4 / math.sqrt(2 * count))
        assert abs(part.mean()) < 4 * expected / math.sqrt(count)
    # Independent over correlations: the correlation coefficient of n pairs scatters by 1 / sqrt(n).
    assert abs(np.corrcoef(data[..., 0].real.ravel(), data[..., 3].real.ravel())[0, 1]) < 4 / math.sqrt(
        count / 4
    )


def test_interference_lies_where_the_truth_says_and_nowhere_else(tmp_path: Path) -> None:
    entries = (
        Rfi("narrowband", strength=50.0, occupancy=0.1, correlations=("RR", "LL")),
        Rfi("burst", strength=20.0, occupancy=0.2),
        Rfi("intermittent", strength=100.0, occupancy=0.05),
    )
    sky, scans = Source(i=1.0), (Scan("F", 20),)
    truth = simulate(tmp_path / "with.ms", observation(sky, sefd=400.0, scans=scans, rfi=entries))
    simulate(tmp_path / "without.ms", observation(sky, sefd=400.0, scans=scans))
    data, time = columns(tmp_path / "with.ms", "DATA", "TIME")
    (clean,) = columns(tmp_path / "without.ms", "DATA")
    added = np.abs(data - clean)
    code = truth.rfi_of_rows(0, time)
    assert code.shape == data.shape
    assert added[code == 0].max() == 0.0
    assert added[code > 0].min() > 0.0
    for place, entry in enumerate(entries, start=1):
        # Strength is the median over baselines; 15 baselines scatter by exp(0.4), other factors by up to 1.7.
        median = np.median(added[code == place]) / truth.sigma[0]
        assert entry.strength / 2 < median < entry.strength * 2
    burst = (truth.rfi[0] == 2).any(axis=(1, 2)).sum()
    assert burst == 4
    assert not (truth.rfi[0][..., 1] == 1).any()
    assert (truth.rfi[0][..., 0] == 1).any()


def test_seeds_fix_everything_and_effects_are_independent(tmp_path: Path) -> None:
    spec = observation(Source(i=1.0), sefd=400.0, effects=Effects(), rfi=(Rfi("burst", 30.0, 0.3),))
    for name in ("a.ms", "b.ms"):
        simulate(tmp_path / name, spec)
    simulate(tmp_path / "c.ms", dataclasses.replace(spec, seed=2))
    (a,), (b,), (c,) = (columns(tmp_path / name, "DATA") for name in ("a.ms", "b.ms", "c.ms"))
    assert np.array_equal(a, b)
    assert not np.any(a == c)
    truth = Truth.load(tmp_path / "a.ms")
    without = simulate(
        tmp_path / "d.ms", dataclasses.replace(spec, effects=dataclasses.replace(Effects(), delay=0.0))
    )
    assert np.array_equal(truth.instrument.gains, without.instrument.gains)
    assert np.array_equal(truth.rfi[0], without.rfi[0])


def test_autocorrelations_hold_the_power_of_the_system(tmp_path: Path) -> None:
    simulate(tmp_path / "a.ms", observation(Source(i=3.0), autocorrelations=True, sefd=400.0))
    data, first, second = columns(tmp_path / "a.ms", "DATA", "ANTENNA1", "ANTENNA2")
    own = data[first == second]
    assert len(own) == 6 * 4
    sigma = 400.0 / math.sqrt(2 * 1e6 * 10.0)
    # Mean of n values: four standard errors.
    assert own[..., 0].real.mean() == pytest.approx(403.0, abs=4 * sigma / math.sqrt(own[..., 0].size))
    assert abs(own[..., 1].mean()) < 6 * sigma / math.sqrt(own[..., 1].size)


def test_the_truth_comes_back_as_it_was(tmp_path: Path) -> None:
    truth = simulate(tmp_path / "a.ms", standard_observation(nantennas=4, nchan=8))
    back = Truth.load(tmp_path / "a.ms")
    assert back.observation == truth.observation
    assert back.antennas == truth.antennas
    for name in ("gains", "delays", "leakage", "parallactic"):
        assert np.array_equal(getattr(back.instrument, name), getattr(truth.instrument, name))
    for spw in (0, 1):
        assert np.array_equal(back.instrument.diagonal(spw), truth.instrument.diagonal(spw))
        assert np.array_equal(back.rfi[spw], truth.rfi[spw])
    assert np.array_equal(back.at(truth.times + 4.0), np.arange(len(truth.times)))
    assert np.array_equal(back.at(truth.times[[0, -1]] + [-99.0, 99.0]), [0, len(truth.times) - 1])


def test_the_set_has_its_fields_scans_and_intents(tmp_path: Path) -> None:
    simulate(tmp_path / "a.ms", standard_observation(nantennas=4, nchan=8))
    ms = MeasurementSet(tmp_path / "a.ms")
    assert [field.name for field in ms.fields] == ["J1331+3030", "J1310+3220", "TARGET"]
    assert [spw.nchan for spw in ms.spws] == [8, 8]
    order = [int(ms.index.field[ms.index.scan == scan][0]) for scan in sorted(set(ms.index.scan.tolist()))]
    assert order == [0, 1, 2, 1, 2, 1]
    assert "OBSERVE_TARGET#ON_SOURCE" in ms.states[2].obs_mode
    target = ms.index.field == 2
    assert set(ms.index.state[target].tolist()) == {2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scans": (Scan("G", 3),)}, "asks for the field 'G'"),
        ({"start": 59000.7}, "degrees of elevation"),
        ({"nantennas": 40}, "ask for 3 to 27"),
        ({"integration": 0.0}, "integration"),
        ({"rfi": (Rfi("burst", 3.0, 0.1, spw=4),)}, "not among the 1"),
        ({"rfi": (Rfi("burst", 3.0, 0.1, correlations=("XX",)),)}, "there are RR, RL, LR, LL"),
    ],
)
def test_what_cannot_be_observed_is_said_and_nothing_is_left(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidSpec, match=message):
        simulate(tmp_path / "a.ms", observation(Source(i=1.0), **changes))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_product_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "a.ms.truth.json").write_text("mine")
    with pytest.raises(InvalidSpec, match="exists already"):
        simulate(tmp_path / "a.ms", observation(Source(i=1.0)))
    assert [file.name for file in tmp_path.iterdir()] == ["a.ms.truth.json"]
    assert (tmp_path / "a.ms.truth.json").read_text() == "mine"


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(ParallacticError, match=r"a\.ms"):
        simulate(tmp_path / "a.ms", observation(Source(i=1.0)))
    assert list(tmp_path.iterdir()) == []


def test_a_set_without_truth_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="has no truth beside it"):
        Truth.load(tmp_path / "a.ms")
    with pytest.raises(InvalidSpec, match="did you mean 'burst'"):
        Rfi("bursts", 3.0, 0.1)  # type: ignore[arg-type]
