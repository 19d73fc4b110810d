"""FLAG as CASA leaves it, bit for bit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from flag_files import column, put, scatter_flags
from numpy.typing import NDArray

import parallactic as plx
from parallactic.tasks import flag

pytestmark = pytest.mark.casa

EVLA_SELECTIONS: list[dict[str, str]] = [
    {},
    {"spw": "0:3~7"},
    {"spw": "0:2~5;20;60~63", "correlation": "RL"},
    {"antenna": "1"},
    {"antenna": "1&2;3&&4"},
    {"correlation": "RR,LL"},
    {"uvrange": "<300m"},
    {"scan": "1", "field": "J1008*"},
]
SCANS_SELECTIONS: list[dict[str, str]] = [
    {},
    {"spw": "0:3~7"},
    {"spw": "*:2~5;20", "correlation": "RL", "scan": "2~4"},
    {"antenna": "ea01"},
    {"antenna": "ea01&ea02;0&&3"},
    {"field": "1"},
    {"scan": "1,3"},
    {"intent": "*TARGET*"},
    {"uvrange": ">2klambda"},
    {"observation": "0", "spw": "1"},
]


def compare(
    casa: ModuleType,
    path: Path,
    parameters: Mapping[str, Any],
    executor: plx.Executor,
    only_casa: Mapping[str, Any] = {},
) -> NDArray[np.bool_]:
    """Flag one copy by CASA and one by us; return the flags, which must be equal and not those of before."""
    before = column(path, "FLAG")
    before_rows = column(path, "FLAG_ROW")
    casa.flagdata(os.fspath(path), flagbackup=False, **parameters, **only_casa)
    theirs = column(path, "FLAG")
    put(path, "FLAG", before)
    put(path, "FLAG_ROW", before_rows)
    flag(os.fspath(path), flagbackup=False, executor=executor, **parameters)
    ours = column(path, "FLAG")
    assert not np.array_equal(theirs, before), "CASA changed nothing: the comparison would prove nothing"
    assert np.array_equal(ours, theirs), f"{np.count_nonzero(ours != theirs)} samples differ"
    assert np.array_equal(column(path, "FLAG_ROW"), ours.all(axis=(1, 2)))
    return np.asarray(ours)


@pytest.mark.parametrize("selection", EVLA_SELECTIONS, ids=str)
@pytest.mark.parametrize("mode", ["manual", "unflag"])
def test_selections_on_real_data(
    casa: ModuleType, evla: Path, serial: plx.Executor, mode: str, selection: dict[str, str]
) -> None:
    scatter_flags(evla)
    compare(casa, evla, {"mode": mode, **selection}, serial)


@pytest.mark.parametrize("selection", SCANS_SELECTIONS, ids=str)
@pytest.mark.parametrize("mode", ["manual", "unflag"])
def test_selections_of_scans(
    casa: ModuleType, scans: Path, serial: plx.Executor, mode: str, selection: dict[str, str]
) -> None:
    compare(casa, scans, {"mode": mode, **selection}, serial)


@pytest.mark.parametrize("increment", [False, True])
@pytest.mark.parametrize("mode", ["beg", "endb", "end", "tail"])
@pytest.mark.parametrize(
    ("interval", "selection"),
    [(15.0, {}), (20.0, {"spw": "1", "correlation": "RR"}), (1.0, {"field": "1", "antenna": "ea03"})],
    ids=str,
)
def test_quack_of_scans(
    casa: ModuleType,
    scans: Path,
    serial: plx.Executor,
    mode: str,
    increment: bool,
    interval: float,
    selection: dict[str, str],
) -> None:
    parameters = {"quackmode": mode, "quackinterval": interval, "quackincrement": increment}
    compare(casa, scans, {"mode": "quack", **parameters, **selection}, serial)


@pytest.mark.parametrize("increment", [False, True])
@pytest.mark.parametrize("mode", ["beg", "endb", "end", "tail"])
def test_quack_on_untidy_times(
    casa: ModuleType, evla: Path, serial: plx.Executor, mode: str, increment: bool
) -> None:
    scatter_flags(evla)
    parameters = {"mode": "quack", "quackmode": mode, "quackinterval": 12.5, "quackincrement": increment}
    compare(casa, evla, parameters, serial)


@pytest.mark.parametrize(
    "parameters",
    [
        {"clipminmax": [0.0, 5.0]},
        {"clipminmax": [0.5, 2.0], "clipoutside": False},
        {"clipminmax": [0.3, 2.0], "correlation": "RR"},
        {"clipminmax": [-0.5, 2.0], "correlation": "REAL_RR,LL"},
        {"clipminmax": [-1.0, 0.6], "correlation": "ARG_ALL", "spw": "0:3~20"},
        {"clipminmax": [0.2, 4.0], "correlation": "NORM_LL"},
        {"clipminmax": [0.5, 2.0], "correlation": "ABS_I"},
        {"clipzeros": True},
        {"clipzeros": True, "clipminmax": [0.0, 3.0], "scan": "1"},
        {},
    ],
    ids=str,
)
@pytest.mark.parametrize("which", ["evla", "scans"])
def test_clip(
    casa: ModuleType,
    request: pytest.FixtureRequest,
    serial: plx.Executor,
    which: str,
    parameters: dict[str, Any],
) -> None:
    path: Path = request.getfixturevalue(which)
    data = column(path, "DATA")
    scale = 1 / np.median(np.abs(data[..., 0]))
    data *= scale
    # What no receiver delivers, and amplitudes exactly at the limits.
    data[5, 3, 0], data[6, 3, 1], data[9, 4, 1] = np.nan, np.inf, complex(0, np.nan)
    data[-9, 3, 2] = data[-9, 4, 0] = 0
    data[-8, 2:6, 0] = 0.5, 2.0, 5.0, 0.3
    put(path, "DATA", data)
    put(path, "FLAG", np.zeros(data.shape, dtype=bool))
    put(path, "FLAG_ROW", np.zeros(len(data), dtype=bool))
    compare(casa, path, {"mode": "clip", "datacolumn": "DATA", **parameters}, serial)


def test_clip_of_imaginary_parts_leaves_stokes_i_alone(
    casa: ModuleType, scans: Path, serial: plx.Executor
) -> None:
    """CASA takes the I of IMAG_RL for Stokes I; together with that ours are its flags."""
    put(scans, "FLAG", np.zeros_like(column(scans, "FLAG")))
    put(scans, "FLAG_ROW", np.zeros_like(column(scans, "FLAG_ROW")))
    limits = [-1.0, 1.0]
    casa.flagdata(
        os.fspath(scans),
        mode="clip",
        clipminmax=limits,
        correlation="IMAG_RL",
        datacolumn="data",
        flagbackup=False,
    )
    theirs = column(scans, "FLAG")
    put(scans, "FLAG", np.zeros_like(theirs))
    put(scans, "FLAG_ROW", np.zeros_like(column(scans, "FLAG_ROW")))
    for correlation in ("IMAG_RL", "IMAG_I"):
        summary = flag(
            os.fspath(scans),
            "clip",
            clipminmax=limits,
            correlation=correlation,
            flagbackup=False,
            executor=serial,
        )
        assert summary.changed
    assert np.array_equal(column(scans, "FLAG"), theirs)


@pytest.mark.parametrize("data", ["CORRECTED", "MODEL", "RESIDUAL", "RESIDUAL_DATA"])
def test_clip_reads_every_data_column(casa: ModuleType, scans: Path, serial: plx.Executor, data: str) -> None:
    from parallactic.measurementset import MeasurementSet, add_columns

    add_columns(MeasurementSet(scans), ["MODEL_DATA", "CORRECTED_DATA"])
    rng = np.random.default_rng(4)
    shape = column(scans, "DATA").shape
    for name in ("MODEL_DATA", "CORRECTED_DATA"):
        values = rng.normal(size=shape) + 1j * rng.normal(size=shape)
        put(scans, name, values.astype(np.complex64))
    compare(casa, scans, {"mode": "clip", "clipminmax": [0.0, 2.0], "datacolumn": data}, serial)


def test_autocorrelations_alone(casa: ModuleType, scans: Path, serial: plx.Executor) -> None:
    # The set has none: make some of the baselines autocorrelations.
    second = column(scans, "ANTENNA2")
    first = column(scans, "ANTENNA1")
    second[first == 2] = 2
    put(scans, "ANTENNA2", second)
    flags = compare(casa, scans, {"mode": "manual", "autocorr": True}, serial)
    assert flags[first == 2].all()


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"spwchan": True, "spwcorr": True, "basecnt": True},
        {"fieldcnt": True},
        {"spw": "0:3~5", "correlation": "RR", "antenna": "1"},
        {"minrel": 0.05},
        {"maxabs": 5000},
        {"minabs": 100, "maxrel": 0.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("which", ["evla", "scans"])
def test_summary(
    casa: ModuleType,
    request: pytest.FixtureRequest,
    serial: plx.Executor,
    which: str,
    parameters: dict[str, Any],
) -> None:
    path: Path = request.getfixturevalue(which)
    if which == "evla":
        scatter_flags(path)
    theirs = casa.flagdata(os.fspath(path), mode="summary", **parameters)
    ours = flag(os.fspath(path), "summary", executor=serial, **parameters)
    assert ours.casa() == theirs
    assert ours.casa().get("flagged") != 0


def test_extension_is_that_of_casa(casa: ModuleType, scans: Path) -> None:
    """What CASA's tfcrop makes of its own flags with extendflags=True."""
    from parallactic.kernels.flagging import extend_blocks
    from parallactic.measurementset import MeasurementSet
    from parallactic.tasks.flag.plan import block_units

    before = column(scans, "FLAG")
    casa.flagdata(os.fspath(scans), mode="tfcrop", datacolumn="data", extendflags=False, flagbackup=False)
    ms = MeasurementSet(scans)
    alone = ms.read(None, "FLAG")
    put(scans, "FLAG", before)
    casa.flagdata(os.fspath(scans), mode="tfcrop", datacolumn="data", flagbackup=False)
    theirs = ms.read(None, "FLAG")
    assert (theirs != alone).any()
    for unit in block_units(ms, ms.positions(), None, False):
        part = np.ascontiguousarray(alone[unit.rows])
        extend_blocks(part, unit.starts)
        alone[unit.rows] = part
    assert np.array_equal(alone, theirs)
