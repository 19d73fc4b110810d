"""The same flags whatever the layout of the set, the backend and the number of workers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flag_files import canonical

import parallactic as plx
from parallactic.tasks import flag, partition

AXES = ["scan", "spw", "scan,spw", "baseline", "time"]
CALLS: list[dict[str, Any]] = [
    {"mode": "manual", "spw": "0:3~9", "antenna": "ea02"},
    {"mode": "clip", "clipminmax": [0.0, 3.0]},
    {"mode": "quack", "quackinterval": 15.0, "quackincrement": True},
    {"mode": "unflag", "scan": "1,2"},
    {"mode": "tfcrop"},
    {
        "mode": "tfcrop",
        "ntime": "45s",
        "combinescans": True,
        "flagdimension": "timefreq",
        "extendflags": False,
    },
    {"mode": "tfcrop", "correlation": "ABS_I", "spw": "1:2~28"},
]


@pytest.fixture(scope="module")
def workers() -> Iterator[dict[int, plx.Executor]]:
    pools = {n: plx.Executor(backend="multiprocessing", workers=n) for n in (1, 2, 4)}
    yield pools
    for pool in pools.values():
        pool.shutdown()


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_a_multi_ms_gets_the_flags_of_the_set(
    scans: Path, multi: Callable[[str], Path], serial: plx.Executor, call: dict[str, Any]
) -> None:
    before, _ = canonical(scans)
    whole = flag(os.fspath(scans), flagbackup=False, executor=serial, **call)
    expected = canonical(scans)
    assert not np.array_equal(expected[0], before)
    assert whole.changed == np.count_nonzero(expected[0] != before)
    for axis in AXES:
        path = multi(axis)
        summary = flag(os.fspath(path), flagbackup=False, executor=serial, **call)
        flags, flag_rows = canonical(path)
        assert np.array_equal(flags, expected[0]), axis
        assert np.array_equal(flag_rows, expected[1]), axis
        assert summary.casa() == whole.casa()
        assert summary.changed == whole.changed


@pytest.mark.parametrize("call", [CALLS[1], CALLS[2], CALLS[4]], ids=str)
@pytest.mark.parametrize("layout", ["plain", "scan,spw"])
def test_every_backend_and_number_of_workers_gives_the_same(
    scans: Path,
    scans_original: Path,
    multi_original: Callable[[str], Path],
    serial: plx.Executor,
    workers: dict[int, plx.Executor],
    tmp_path: Path,
    call: dict[str, Any],
    layout: str,
) -> None:
    flag(os.fspath(scans), flagbackup=False, executor=serial, **call)
    expected = canonical(scans)
    original = scans_original if layout == "plain" else multi_original(layout)
    for number, pool in workers.items():
        path = tmp_path / f"with-{number}-workers" / original.name
        shutil.copytree(original, path, symlinks=True)
        flag(os.fspath(path), flagbackup=False, executor=pool, **call)
        flags, flag_rows = canonical(path)
        assert np.array_equal(flags, expected[0]), number
        assert np.array_equal(flag_rows, expected[1]), number


def test_untidy_times_are_grouped_by_baseline(evla: Path, serial: plx.Executor, tmp_path: Path) -> None:
    """The real set has 3 to 153 rows at a time: by baseline it is whole, and its layout does not matter."""
    path = tmp_path / "evla.mms"
    partition(os.fspath(evla), os.fspath(path), separationaxis="baseline", numsubms=8, executor=serial)
    flag(os.fspath(evla), "tfcrop", flagbackup=False, executor=serial)
    flag(os.fspath(path), "tfcrop", flagbackup=False, executor=serial)
    assert canonical(evla)[0].any()
    assert np.array_equal(canonical(path)[0], canonical(evla)[0])


def test_a_backend_may_be_named(scans: Path) -> None:
    summary = flag(os.fspath(scans), "summary", executor="serial")
    assert summary.total == canonical(scans)[0].size
