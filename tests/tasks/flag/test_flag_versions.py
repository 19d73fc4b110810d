"""Saved states of the flags: ours, and CASA's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from flag_files import canonical, column

import parallactic as plx
from parallactic.errors import InvalidSpec
from parallactic.tasks import flag


def test_saved_flags_come_back(scans: Path, serial: plx.Executor, nothing_left: None) -> None:
    vis = os.fspath(scans)
    before = canonical(scans)
    flag.save(vis, "start", "as delivered\nby the archive")
    flag(vis, "manual", antenna="ea01", executor=serial)
    flag(vis, "unflag", executor=serial)
    assert not canonical(scans)[0].any()
    assert [v.name for v in flag.versions(vis)] == ["start", "flag_1", "flag_2"]
    assert flag.versions(vis)[0].comment == "as delivered by the archive"
    flag.restore(vis, "start")
    assert all(np.array_equal(a, b) for a, b in zip(canonical(scans), before, strict=True))


def test_flags_are_saved_before_they_are_changed(scans: Path, serial: plx.Executor) -> None:
    vis = os.fspath(scans)
    before = canonical(scans)[0]
    summary = flag(vis, "quack", executor=serial)
    assert summary.products == [f"{vis}.flagversions/flags.flag_1"]
    assert not np.array_equal(canonical(scans)[0], before)
    assert np.array_equal(column(summary.products[0], "FLAG"), canonical_on_disk(before, scans))


def canonical_on_disk(flags: np.ndarray, path: Path) -> np.ndarray:
    """Flags in canonical order as they lie on the disk of a plain set."""
    from parallactic.measurementset import MeasurementSet

    result = np.empty_like(flags)
    result[MeasurementSet(path).index.row] = flags
    return result


@pytest.mark.parametrize(
    "call",
    [{"mode": "summary"}, {"mode": "clip", "action": "calculate"}, {"mode": "manual", "flagbackup": False}],
)
def test_nothing_is_saved_if_nothing_is_changed_or_no_one_asked(
    scans: Path, serial: plx.Executor, call: dict[str, str]
) -> None:
    flag(os.fspath(scans), executor=serial, **call)  # type: ignore[arg-type]
    assert flag.versions(os.fspath(scans)) == []
    assert not Path(f"{scans}.flagversions").exists()


def test_a_multi_ms_has_versions_of_the_whole(multi: Callable[[str], Path], serial: plx.Executor) -> None:
    path = multi("scan,spw")
    before = canonical(path)
    flag(os.fspath(path), "manual", spw="0", executor=serial)
    assert [v.name for v in flag.versions(os.fspath(path))] == ["flag_1"]
    flag.restore(os.fspath(path), "flag_1")
    assert all(np.array_equal(a, b) for a, b in zip(canonical(path), before, strict=True))


@pytest.mark.parametrize("layout", ["plain", "baseline"])
@pytest.mark.casa
def test_casa_lists_and_restores_ours(
    casa: ModuleType, scans: Path, multi: Callable[[str], Path], serial: plx.Executor, layout: str
) -> None:
    path = scans if layout == "plain" else multi(layout)
    vis = os.fspath(path)
    before = canonical(path)
    flag.save(vis, "ours", "saved here")
    flag(vis, "manual", executor=serial)
    assert canonical(path)[0].all()
    listed = casa.flagmanager(vis, mode="list")
    assert [(listed[k]["name"], listed[k]["comment"]) for k in (0, 1)] == [
        ("ours", "saved here"),
        ("flag_1", "before flag mode=manual"),
    ]
    casa.flagmanager(vis, mode="restore", versionname="ours")
    assert all(np.array_equal(a, b) for a, b in zip(canonical(path), before, strict=True))


@pytest.mark.parametrize("layout", ["plain", "baseline"])
@pytest.mark.casa
def test_we_list_and_restore_those_of_casa(
    casa: ModuleType, scans: Path, multi: Callable[[str], Path], serial: plx.Executor, layout: str
) -> None:
    path = scans if layout == "plain" else multi(layout)
    vis = os.fspath(path)
    before = canonical(path)
    casa.flagmanager(vis, mode="save", versionname="theirs", comment="saved: there")
    flag(vis, "manual", executor=serial)
    assert [(v.name, v.comment) for v in flag.versions(vis)] == [
        ("theirs", "saved: there"),
        ("flag_1", "before flag mode=manual"),
    ]
    flag.restore(vis, "theirs")
    assert all(np.array_equal(a, b) for a, b in zip(canonical(path), before, strict=True))


def test_a_name_is_taken_once(scans: Path) -> None:
    flag.save(os.fspath(scans), "start")
    with pytest.raises(InvalidSpec, match="'start' already; choose another name"):
        flag.save(os.fspath(scans), "start")


@pytest.mark.parametrize("name", ["", " ", "a/b", "a : b", "a\nb"])
def test_what_cannot_be_a_name(scans: Path, name: str) -> None:
    with pytest.raises(InvalidSpec, match="cannot name a flag version"):
        flag.save(os.fspath(scans), name)


def test_a_version_that_is_not_there(scans: Path) -> None:
    with pytest.raises(InvalidSpec, match="None was saved"):
        flag.restore(os.fspath(scans), "start")
    flag.save(os.fspath(scans), "start")
    with pytest.raises(InvalidSpec, match="did you mean 'start'"):
        flag.restore(os.fspath(scans), "stat")


def test_a_version_of_other_data_is_refused(scans: Path, evla: Path) -> None:
    flag.save(os.fspath(evla), "other")
    Path(f"{evla}.flagversions").rename(f"{scans}.flagversions")
    before = canonical(scans)
    with pytest.raises(InvalidSpec, match="it was saved from other data"):
        flag.restore(os.fspath(scans), "other")
    assert all(np.array_equal(a, b) for a, b in zip(canonical(scans), before, strict=True))
