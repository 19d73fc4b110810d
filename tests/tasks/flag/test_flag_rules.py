"""What flag takes for flagged, what it reports, and what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from casacore.tables import table
from flag_files import canonical, column, put

import parallactic as plx
from parallactic.errors import InvalidSpec
from parallactic.tasks import flag
from parallactic.tasks.base import StepFailed


def test_flag_row_counts_as_flagged_and_survives_flagging(scans: Path, serial: plx.Executor) -> None:
    shape = column(scans, "FLAG").shape
    put(scans, "FLAG", np.zeros(shape, dtype=bool))
    rows = np.zeros(shape[0], dtype=bool)
    rows[::3] = True
    put(scans, "FLAG_ROW", rows)
    flag(os.fspath(scans), "manual", spw="*:3", executor=serial)
    # A row that was flagged as a whole has nothing new to flag, and is left as it was.
    assert np.array_equal(column(scans, "FLAG_ROW"), rows)
    summary = flag(os.fspath(scans), "summary", executor=serial)
    hidden = np.count_nonzero(rows) * shape[1] * shape[2]
    assert f"FLAG_ROW flags {hidden:,} more samples" in summary.warnings[0]
    assert summary.flagged == np.count_nonzero(~rows) * shape[2]


def test_unflag_clears_flag_row_and_keeps_the_other_channels_flagged(
    scans: Path, serial: plx.Executor
) -> None:
    shape = column(scans, "FLAG").shape
    put(scans, "FLAG", np.zeros(shape, dtype=bool))
    put(scans, "FLAG_ROW", np.ones(shape[0], dtype=bool))
    summary = flag(os.fspath(scans), "unflag", spw="*:5", executor=serial)
    flags, flag_rows = canonical(scans)
    assert not flag_rows.any()
    assert not flags[:, 5].any()
    assert np.delete(flags, 5, axis=1).all()
    assert summary.changed == shape[0] * shape[2]


def test_flag_row_is_set_where_all_is_flagged(scans: Path, serial: plx.Executor) -> None:
    put(scans, "FLAG", np.zeros_like(column(scans, "FLAG")))
    put(scans, "FLAG_ROW", np.zeros_like(column(scans, "FLAG_ROW")))
    flag(os.fspath(scans), "manual", scan="2", executor=serial)
    assert np.array_equal(column(scans, "FLAG_ROW"), column(scans, "SCAN_NUMBER") == 2)


@pytest.mark.parametrize("mode", ["manual", "clip", "quack", "unflag", "tfcrop"])
def test_calculate_reports_and_writes_nothing(scans: Path, serial: plx.Executor, mode: Any) -> None:
    before = {path: path.read_bytes() for path in scans.rglob("table.f*") if path.is_file()}
    flags = canonical(scans)[0]
    more: dict[str, Any] = {"clipminmax": [0.0, 2.0]} if mode == "clip" else {}
    planned = flag(os.fspath(scans), mode, action="calculate", executor=serial, **more)
    assert {path: path.read_bytes() for path in scans.rglob("table.f*") if path.is_file()} == before
    done = flag(os.fspath(scans), mode, executor=serial, **more)
    assert planned.casa() == done.casa()
    assert planned.changed == done.changed == np.count_nonzero(canonical(scans)[0] != flags)
    assert done.changed
    assert "Nothing was written" in planned.warnings[0]


def test_the_same_scan_number_in_another_observation_is_another_scan(
    scans: Path, serial: plx.Executor
) -> None:
    with table(f"{scans}/OBSERVATION", readonly=False, ack=False) as handle:
        handle.addrows(1)
        handle.putcell("TIME_RANGE", 1, handle.getcell("TIME_RANGE", 0))
        handle.putcell("TELESCOPE_NAME", 1, handle.getcell("TELESCOPE_NAME", 0))
    scan, time = column(scans, "SCAN_NUMBER"), column(scans, "TIME")
    put(scans, "OBSERVATION_ID", (scan > 3).astype(np.int32))
    put(scans, "SCAN_NUMBER", np.where(scan > 3, scan - 3, scan).astype(np.int32))
    put(scans, "FLAG", np.zeros_like(column(scans, "FLAG")))
    put(scans, "FLAG_ROW", np.zeros_like(column(scans, "FLAG_ROW")))
    flag(os.fspath(scans), "quack", quackinterval=1.0, executor=serial)
    first = np.array([time[scan == number].min() for number in range(1, 7)])
    assert np.array_equal(column(scans, "FLAG").all(axis=(1, 2)), np.isin(time, first))


def test_an_interval_may_have_a_unit(scans: Path, serial: plx.Executor) -> None:
    minutes = flag(os.fspath(scans), "quack", quackinterval="0.5min", action="calculate", executor=serial)
    seconds = flag(os.fspath(scans), "quack", quackinterval=30, action="calculate", executor=serial)
    assert minutes.casa() == seconds.casa()
    assert minutes.changed


def test_a_selection_that_fits_nothing_is_said(scans: Path, serial: plx.Executor) -> None:
    summary = flag(os.fspath(scans), "manual", scan="1", intent="*TARGET*", executor=serial)
    assert summary.warnings == ["The selection fits no data; nothing was done."]
    assert (summary.total, summary.flagged, summary.changed) == (0, 0, 0)
    assert flag.versions(os.fspath(scans)) == []


def test_a_summary_prints_and_becomes_json(scans: Path, serial: plx.Executor) -> None:
    summary = flag(os.fspath(scans), "summary", spwcorr=True, executor=serial)
    text = str(summary)
    for word in ("antenna", "ea01", "scan", "spw:correlation", "0:RR", f"{summary.flagged:,}"):
        assert word in text
    plain = json.loads(summary.to_json())
    assert plain["flagged"] == summary.flagged
    assert plain["axes"]["scan"]["1"]["total"] == summary.axes["scan"]["1"]["total"]


def test_names_with_brackets_are_printed_as_they_are(scans: Path, serial: plx.Executor) -> None:
    with table(f"{scans}/FIELD", readonly=False, ack=False) as handle:
        handle.putcell("NAME", 0, "NGC[/]1275")
    assert "NGC[/]1275" in str(flag(os.fspath(scans), "summary", executor=serial))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"field": "3C287"}, "field"),
    ({"spw": "0:3~99GHz"}, "spw"),
    ({"mode": "tfcorp"}, "did you mean 'tfcrop'"),
    ({"mode": "rflag"}, "this mode is not there yet"),
    ({"mode": "list"}, "this mode is not there yet"),
    ({"mode": "clip", "datacolumn": "CORRECTED"}, "has no column CORRECTED_DATA"),
    ({"mode": "clip", "datacolumn": "residual"}, "has no column CORRECTED_DATA"),
    ({"mode": "clip", "datacolumn": "WEIGHTS"}, "datacolumn='WEIGHTS'"),
    ({"mode": "clip", "clipminmax": [1.0]}, r"must be a range \[least, greatest\]"),
    ({"mode": "clip", "clipminmax": [2.0, 1.0]}, "must rise"),
    ({"mode": "clip", "correlation": "ABS_XX"}, "names nothing that the data hold: RR, RL, LR, LL"),
    ({"mode": "clip", "correlation": "ABSS_RR"}, "did you mean 'ABS'"),
    ({"mode": "tfcrop", "correlation": "REAL_RR"}, "use ABS or NORM"),
    ({"mode": "tfcrop", "ntime": "2parsec"}, "ntime"),
    ({"mode": "tfcrop", "ntime": -3.0}, "must be longer than nothing"),
    ({"mode": "tfcrop", "timecutoff": 0.0}, "timecutoff"),
    ({"mode": "tfcrop", "maxnpieces": 12}, "maxnpieces"),
    ({"mode": "quack", "quackinterval": "10Jy"}, "quackinterval"),
    ({"mode": "quack", "quackinterval": -1.0}, "must not be negative"),
    ({"mode": "quack", "quackmode": "begin"}, "did you mean 'beg'"),
    ({"mode": "manual", "quackinterval": 10.0}, "belongs to mode='quack', not to mode='manual'"),
    ({"mode": "manual", "clipminmaxx": [0, 1]}, "did you mean 'clipminmax'"),
    ({"action": "aply"}, "did you mean 'apply'"),
]


@pytest.mark.parametrize(("call", "words"), REFUSED, ids=[str(call) for call, _ in REFUSED])
def test_refuses_before_anything_is_written(
    scans: Path, serial: plx.Executor, call: dict[str, Any], words: str
) -> None:
    before = canonical(scans)
    with pytest.raises(InvalidSpec, match=words):
        flag(os.fspath(scans), executor=serial, **call)
    assert all(np.array_equal(a, b) for a, b in zip(canonical(scans), before, strict=True))
    assert not Path(f"{scans}.flagversions").exists()


def test_refuses_what_is_no_measurement_set(tmp_path: Path, serial: plx.Executor) -> None:
    (tmp_path / "notes").mkdir()
    with pytest.raises(InvalidSpec, match=r"there is no MeasurementSet .*did you mean 'notes'"):
        flag(os.fspath(tmp_path / "note"), executor=serial)
    with pytest.raises(InvalidSpec, match="is not a MeasurementSet"):
        flag(os.fspath(tmp_path / "notes"), executor=serial)


@pytest.mark.parametrize("what", ["set", "versions"])
def test_refuses_a_set_that_may_not_be_written(
    scans: Path, serial: plx.Executor, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The superuser may write everything: what the system says of this set is put in its place."""
    before = canonical(scans)
    real = os.access
    denied = scans if what == "set" else scans.parent

    def access(path: Any, mode: int) -> bool:
        inside = Path(path) == denied or (what == "set" and denied in Path(path).parents)
        return real(path, mode) and not (mode & os.W_OK and inside)

    monkeypatch.setattr(os, "access", access)
    with pytest.raises(InvalidSpec, match="not writable by this user"):
        flag(os.fspath(scans), "tfcrop", executor=serial)
    assert flag(os.fspath(scans), "summary", executor=serial).total
    if what == "versions":
        assert flag(os.fspath(scans), "quack", flagbackup=False, executor=serial).changed
    else:
        with pytest.raises(InvalidSpec, match="not writable by this user"):
            flag.restore(os.fspath(scans), "flag_1")
        assert all(np.array_equal(a, b) for a, b in zip(canonical(scans), before, strict=True))


def test_a_unit_that_fails_is_named_and_nothing_is_written(scans: Path, serial: plx.Executor) -> None:
    """A truncated data file is found when the first unit reads it."""
    with table(os.fspath(scans), ack=False) as handle:
        managers = handle.getdminfo().values()
    number = next(m["SEQNR"] for m in managers if "DATA" in m["COLUMNS"])
    data = max(scans.glob(f"table.f{number}*"), key=lambda path: path.stat().st_size)
    before = canonical(scans)
    with data.open("r+b") as stream:
        stream.truncate(data.stat().st_size // 4)
    with pytest.raises(
        StepFailed, match=r"of 12 units failed, no flag was written\. spw \d field \d scan \d"
    ):
        flag(os.fspath(scans), "tfcrop", flagbackup=False, executor=serial)
    assert all(np.array_equal(a, b) for a, b in zip(canonical(scans), before, strict=True))
