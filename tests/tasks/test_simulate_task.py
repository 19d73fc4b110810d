"""The task `simulate`: what it makes, its summary, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from parallactic.errors import InvalidSpec
from parallactic.measurementset import MeasurementSet
from parallactic.measurementset.simulation import Truth
from parallactic.tasks.simulate import simulate


@pytest.fixture
def executor() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_it_makes_what_it_says(tmp_path: Path, executor: Executor) -> None:
    vis = tmp_path / "a.ms"
    summary = simulate(
        str(vis), 5, "B", nspw=1, nchan=8, cycles=1, chanwidth="250kHz", integration="5s", executor=executor
    )
    ms = MeasurementSet(vis)
    # Scans of 12, 6, 12 and 6 integrations, 10 baselines.
    assert summary.counts["rows"] == len(ms) == 36 * 10
    assert summary.counts["scans"] == len(set(ms.index.scan.tolist())) == 4
    assert summary.sigma == pytest.approx([400.0 / np.sqrt(2 * 250e3 * 5.0)])
    assert np.diff(ms.spws[0].frequencies) == pytest.approx(250e3)
    assert all(Path(product).exists() for product in summary.products)
    assert len(summary.products) == 3
    assert "TARGET" in summary.fields
    Truth.load(vis)


def test_effects_can_be_switched_off(tmp_path: Path, executor: Executor) -> None:
    vis = tmp_path / "a.ms"
    options = {"gains": False, "bandpass": False, "delay": 0.0, "leakage": 0.0, "rfi": "none", "sefd": 0.0}
    simulate(str(vis), 4, nchan=4, cycles=1, **options, executor=executor)
    truth = Truth.load(vis)
    for spw in (0, 1):
        # A perfect instrument: its Jones matrices are the identity to rounding.
        np.testing.assert_allclose(
            truth.instrument.jones(spw), np.broadcast_to(np.eye(2), (36, 4, 4, 2, 2)), atol=1e-15
        )
    ms = MeasurementSet(vis)
    rows = np.flatnonzero(ms.index.field == 0)
    data = ms.read(rows, "DATA")
    # The calibrator is at the centre: 15 Jy falling as (nu / nu0)^-0.5, in single precision.
    expected = 15.0 * (ms.frequencies(0) / truth.observation.reffreq) ** -0.5
    first = ms.index.ddid[rows] == 0
    np.testing.assert_allclose(
        data[first][..., 0], np.broadcast_to(expected, data[first][..., 0].shape), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"chanwidth": "1 furlong"}, "furlong"),
        ({"rfi": "weird"}, "rfi"),
        ({"nantenas": 9}, "nantennas"),
        ({"nantennas": 2}, "3 to 27"),
        ({"leakage": -0.1}, "cannot be negative"),
        ({"cycles": 0}, "cycles=0"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    tmp_path: Path, executor: Executor, parameters: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidSpec, match=message):
        simulate(str(tmp_path / "a.ms"), **parameters, executor=executor)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_set_stays(tmp_path: Path, executor: Executor) -> None:
    (tmp_path / "a.ms").mkdir()
    with pytest.raises(InvalidSpec, match="exists already"):
        simulate(str(tmp_path / "a.ms"), executor=executor)
    assert [path.name for path in tmp_path.iterdir()] == ["a.ms"]
