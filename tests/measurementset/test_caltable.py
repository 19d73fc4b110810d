"""Calibration tables: what is written comes back, and CASA takes it; what CASA wrote is read."""

from __future__ import annotations

import importlib
import shutil
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from casacore.tables import table

from known_sets import Plan, make
from parallactic.errors import InvalidSpec, ParallacticError
from parallactic.measurementset import MeasurementSet
from parallactic.measurementset.caltable import Solutions, read_caltable
from parallactic.measurementset.caltable_writing import write_caltable

NSLOT, NANT = 3, 6


@pytest.fixture
def ms(tmp_path: Path) -> MeasurementSet:
    return make(tmp_path / "known.ms", Plan(nant=NANT, nchan=(16, 8)))


def solutions(spw: int, nchan: int, *, delays: bool = False, later: float = 0.0) -> Solutions:
    rng = np.random.default_rng(spw)
    shape = (NSLOT, NANT, nchan, 2)
    # Values that single precision holds.
    values = rng.integers(-64, 64, (2, *shape)) / 32
    return Solutions(
        spw=spw,
        frequencies=1.4e9 + 1e6 * np.arange(nchan),
        widths=np.full(nchan, 1e6),
        times=5e9 + later + 300.0 * np.arange(NSLOT),
        intervals=np.full(NSLOT, 40.0),
        fields=np.array([0, 1, 2], np.int32),
        scans=np.array([1, 2, 3], np.int32),
        observations=np.zeros(NSLOT, np.int32),
        refants=np.array([2, 3, 2], np.int32),
        values=values[0] if delays else values[0] + 1j * values[1],
        errors=rng.integers(1, 9, shape).astype(np.float32),
        snr=rng.integers(1, 99, shape).astype(np.float32),
        weights=np.ones(shape, np.float32),
        flags=rng.uniform(size=shape) < 0.2,
    )


def same(one: Solutions, other: Solutions) -> None:
    for item in fields(Solutions):
        np.testing.assert_array_equal(getattr(one, item.name), getattr(other, item.name), err_msg=item.name)


def test_what_is_written_comes_back(ms: MeasurementSet, tmp_path: Path) -> None:
    written = [solutions(0, 16), solutions(1, 8)]
    write_caltable(tmp_path / "b.cal", ms, "B Jones", written)
    read = read_caltable(tmp_path / "b.cal")
    assert (read.kind, read.ms_name) == ("B Jones", "known.ms")
    assert read.antenna_names == tuple(a.name for a in ms.antennas)
    assert read.field_names == tuple(f.name for f in ms.fields)
    for one, other in zip(written, read.solutions, strict=True):
        same(one, other)
    assert read.of_spw(7) is None
    assert not list(tmp_path.glob("*.partial-*"))


def test_delays_come_back_as_real_numbers(ms: MeasurementSet, tmp_path: Path) -> None:
    written = solutions(1, 1, delays=True)
    write_caltable(tmp_path / "k.cal", ms, "K Jones", [written])
    same(read_caltable(tmp_path / "k.cal").solutions[0], written)
    with table(str(tmp_path / "k.cal"), ack=False) as handle:
        assert handle.getkeyword("ParType") == "Float"
        assert "FPARAM" in handle.colnames()


def test_the_format_is_that_of_the_design(ms: MeasurementSet, tmp_path: Path) -> None:
    write_caltable(tmp_path / "g.cal", ms, "G Jones", [solutions(0, 1)])
    with table(str(tmp_path / "g.cal"), ack=False) as handle:
        assert handle.info()["type"] == "Calibration"
        assert handle.info()["subType"] == "G Jones"
        assert handle.getkeyword("ParType") == "Complex"
        assert handle.getkeyword("VisCal") == "G Jones"
        assert handle.getkeyword("PolBasis") == "unknown"
        assert {"MSName", "CASA_Version"} <= set(handle.keywordnames())
        assert handle.colnames() == [
            "TIME", "FIELD_ID", "SPECTRAL_WINDOW_ID", "ANTENNA1", "ANTENNA2", "INTERVAL", "SCAN_NUMBER",
            "OBSERVATION_ID", "CPARAM", "PARAMERR", "FLAG", "SNR", "WEIGHT",
        ]  # fmt: skip
        # A row for every antenna of the table in every slot.
        assert handle.nrows() == NSLOT * NANT
        assert handle.getcol("ANTENNA1").tolist() == list(range(NANT)) * NSLOT
    for name in ("OBSERVATION", "ANTENNA", "FIELD", "SPECTRAL_WINDOW", "HISTORY"):
        assert (tmp_path / "g.cal" / name / "table.dat").is_file()


def test_an_antenna_without_a_row_is_flagged(ms: MeasurementSet, tmp_path: Path) -> None:
    write_caltable(tmp_path / "g.cal", ms, "G Jones", [solutions(0, 1)])
    with table(str(tmp_path / "g.cal"), readonly=False, ack=False) as handle:
        handle.removerows([4])
    read = read_caltable(tmp_path / "g.cal").solutions[0]
    assert read.flags[0, 4].all()
    np.testing.assert_array_equal(read.values[1:], solutions(0, 1).values[1:])


def test_a_table_that_exists_is_left_alone(ms: MeasurementSet, tmp_path: Path) -> None:
    write_caltable(tmp_path / "g.cal", ms, "G Jones", [solutions(0, 1)])
    with pytest.raises(InvalidSpec, match="append=True"):
        write_caltable(tmp_path / "g.cal", ms, "G Jones", [solutions(1, 1)])
    assert [entry.spw for entry in read_caltable(tmp_path / "g.cal").solutions] == [0]


def test_appending_adds_windows_and_slots(ms: MeasurementSet, tmp_path: Path) -> None:
    path = tmp_path / "g.cal"
    write_caltable(path, ms, "G Jones", [solutions(0, 1)], append=True)
    write_caltable(path, ms, "G Jones", [solutions(1, 1), solutions(0, 1, later=150.0)], append=True)
    first, second = read_caltable(path).solutions
    assert np.all(np.diff(first.times) > 0)
    assert len(first.times) == 2 * NSLOT
    same(first.take(np.arange(0, 2 * NSLOT, 2)), solutions(0, 1))
    same(second, solutions(1, 1))
    assert sorted(p.name for p in tmp_path.glob("g.cal*")) == ["g.cal"]


@pytest.mark.parametrize(
    ("kind", "added", "words"),
    [
        ("B Jones", solutions(1, 1), "holds G Jones"),
        ("G Jones", solutions(0, 1), "already holds"),
        ("G Jones", solutions(0, 4, later=9.0), "channels"),
    ],
)
def test_what_does_not_fit_is_not_appended(
    ms: MeasurementSet, tmp_path: Path, kind: str, added: Solutions, words: str
) -> None:
    write_caltable(tmp_path / "g.cal", ms, "G Jones", [solutions(0, 1)])
    with pytest.raises(InvalidSpec, match=words):
        write_caltable(tmp_path / "g.cal", ms, kind, [added], append=True)
    same(read_caltable(tmp_path / "g.cal").solutions[0], solutions(0, 1))


def test_another_array_is_not_appended(ms: MeasurementSet, tmp_path: Path) -> None:
    write_caltable(tmp_path / "g.cal", ms, "G Jones", [solutions(0, 1)])
    other = make(tmp_path / "other.ms", Plan(nant=NANT + 1))
    with pytest.raises(InvalidSpec, match="6 antennas"):
        write_caltable(tmp_path / "g.cal", other, "G Jones", [solutions(1, 1)], append=True)


def test_a_failure_leaves_nothing(ms: MeasurementSet, tmp_path: Path) -> None:
    with pytest.raises(ParallacticError, match="SPECTRAL_WINDOW"):
        write_caltable(tmp_path / "g.cal", ms, "G Jones", [replace(solutions(0, 1), spw=99)])
    assert not list(tmp_path.glob("g.cal*"))


def test_what_is_no_calibration_table_is_named(ms: MeasurementSet, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="no calibration table"):
        read_caltable(tmp_path / "absent.cal")
    with pytest.raises(InvalidSpec, match="not a casacore table"):
        read_caltable(tmp_path)
    with pytest.raises(InvalidSpec, match="not a calibration table"):
        read_caltable(ms.path)


@pytest.mark.casa
def test_casa_wrote_it_and_ours_reads_and_writes_it(casa: ModuleType, evla: Path, tmp_path: Path) -> None:
    theirs, ours = str(tmp_path / "casa.cal"), str(tmp_path / "ours.cal")
    casa.bandpass(str(evla), caltable=theirs, solint="inf,8ch", solnorm=True, refant="4")
    read = read_caltable(theirs)
    assert read.solutions[0].values.shape == (1, 28, 8, 2)
    with table(theirs, ack=False) as handle:
        np.testing.assert_array_equal(read.solutions[0].values[0], handle.getcol("CPARAM"))
        np.testing.assert_array_equal(read.solutions[0].flags[0], handle.getcol("FLAG"))
    write_caltable(ours, MeasurementSet(evla), read.kind, read.solutions)
    # CASA itself applies both and cannot tell them apart.
    corrected = []
    for caltable in (theirs, ours):
        copy = tmp_path / f"{Path(caltable).stem}.ms"
        shutil.copytree(evla, copy)
        casa.applycal(str(copy), gaintable=[caltable], flagbackup=False)
        with table(str(copy), ack=False) as handle:
            corrected.append([handle.getcol(name) for name in ("CORRECTED_DATA", "FLAG", "WEIGHT")])
    for one, other in zip(*corrected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.casa
def test_casatools_opens_ours(casa: ModuleType, ms: MeasurementSet, tmp_path: Path) -> None:
    del casa
    path = str(tmp_path / "b.cal")
    write_caltable(path, ms, "B Jones", [solutions(0, 16)])
    tools = importlib.import_module("casatools")
    reader = tools.table()
    reader.open(path)
    try:
        values = reader.getcol("CPARAM")
    finally:
        reader.close()
    # casatools gives (receptor, channel, row).
    expected = np.moveaxis(solutions(0, 16).values.reshape(NSLOT * NANT, 16, 2), 0, 2).swapaxes(0, 1)
    np.testing.assert_array_equal(values, expected)
