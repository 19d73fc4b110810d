"""How much is flagged where, and the rates of detection, on flags whose answer is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from casacore.tables import table

from parallactic.pipeline.flagging import (
    detections,
    flagged_fraction,
    flags_by_antenna_and_channel,
    flags_by_time_and_channel,
)


def put_flags(path: Path, flags: dict[int, np.ndarray]) -> None:
    """Write FLAG of the rows of each data description, in the order of the disk."""
    with table(str(path), readonly=False, ack=False) as main:
        for ddid, values in flags.items():
            with main.query(f"DATA_DESC_ID == {ddid}") as rows:
                rows.putcol("FLAG", values)
                rows.putcol("FLAG_ROW", values.all(axis=(1, 2)))


def times(path: Path, ddid: int) -> np.ndarray:
    with table(str(path), ack=False) as main, main.query(f"DATA_DESC_ID == {ddid}") as rows:
        return np.asarray(rows.getcol("TIME"))


def test_flags_that_are_the_truth_find_all_and_nothing_else(simulated_copy: Any) -> None:
    path, truth = simulated_copy.path, simulated_copy.truth
    codes = {ddid: truth.rfi_of_rows(ddid, times(path, ddid)) for ddid in (0, 1)}
    put_flags(path, {ddid: code > 0 for ddid, code in codes.items()})
    found = detections(path, truth)
    assert [entry.rate for entry in found[:-1] if entry.visibilities] == [1.0] * sum(
        1 for entry in found[:-1] if entry.visibilities
    )
    assert found[-1].name == "clean"
    assert found[-1].rate == 0.0
    total = sum(code.size for code in codes.values())
    assert found[-2].visibilities == sum(int((code > 0).sum()) for code in codes.values())
    assert found[-1].visibilities + found[-2].visibilities == total
    assert flagged_fraction(path) == found[-2].visibilities / total


def test_half_of_one_kind_is_half(simulated_copy: Any) -> None:
    path, truth = simulated_copy.path, simulated_copy.truth
    flags = {}
    for ddid in (0, 1):
        flags[ddid] = truth.rfi_of_rows(ddid, times(path, ddid)) == 3
        flags[ddid][..., 2:] = False
    put_flags(path, flags)
    found = detections(path, truth)
    assert found[2].rate == 0.5
    assert all(entry.flagged == 0 for place, entry in enumerate(found[:6]) if place != 2)
    without = detections(path, truth, slice(8, 24))
    assert without[2].visibilities == found[2].visibilities // 2


def test_flags_by_time_antenna_and_channel(simulated_copy: Any) -> None:
    path, truth = simulated_copy.path, simulated_copy.truth
    with table(str(path), ack=False) as main, main.query("DATA_DESC_ID == 1") as rows:
        first, second = rows.getcol("ANTENNA1"), rows.getcol("ANTENNA2")
    stamps = times(path, 1)
    flags = np.zeros((len(stamps), 32, 4), dtype=bool)
    flags[(first == 3) | (second == 3)] = True
    flags[stamps == truth.times[5], 7, 0] = True
    put_flags(path, {1: flags})
    moments, fraction = flags_by_time_and_channel(path, 1)
    assert np.array_equal(moments, truth.times)
    # Antenna 3 is in 9 of 45 baselines; of the other 36 one correlation of four is flagged in one place.
    expected = np.full((len(moments), 32), 9 / 45)
    expected[5, 7] += 36 / 45 / 4
    np.testing.assert_allclose(fraction, expected, atol=1e-12)
    antennas, share = flags_by_antenna_and_channel(path, 1)
    assert antennas == list(range(10))
    assert np.all(share[3] == 1.0)
    np.testing.assert_allclose(share[4, 20], 1 / 9, atol=1e-12)
    _, target = flags_by_time_and_channel(path, 1, field=2)
    assert len(target) == 24


@pytest.mark.parametrize("ddid", [0, 1])
def test_nothing_flagged_is_nothing(simulated: Any, ddid: int) -> None:
    assert flagged_fraction(simulated.path) == 0.0
    assert flags_by_time_and_channel(simulated.path, ddid)[1].max() == 0.0
