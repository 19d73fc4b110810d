"""Writing calibration tables as CASA does."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from casacore.tables import default_ms_subtable, makearrcoldesc, makescacoldesc, maketabdesc, table
from numpy.typing import NDArray

from parallactic.errors import InvalidSpec
from parallactic.measurementset.caltable import CalTable, Solutions, check_caltable_output, read_caltable
from parallactic.measurementset.ms import MeasurementSet
from parallactic.measurementset.staging import remove, staged
from parallactic.measurementset.tables import file_error, opened

__all__ = ["write_caltable"]

_FORMAT = "6.7.0-31"
"""The CASA whose conventions the tables follow: CASA decides by this keyword how to read a delay."""

_SUBTABLES = {
    "OBSERVATION": (
        "TIME_RANGE", "LOG", "SCHEDULE", "FLAG_ROW", "OBSERVER", "PROJECT", "RELEASE_DATE",
        "SCHEDULE_TYPE", "TELESCOPE_NAME",
    ),
    "ANTENNA": ("OFFSET", "POSITION", "TYPE", "DISH_DIAMETER", "FLAG_ROW", "MOUNT", "NAME", "STATION"),
    "FIELD": (
        "DELAY_DIR", "PHASE_DIR", "REFERENCE_DIR", "CODE", "FLAG_ROW", "NAME", "NUM_POLY", "SOURCE_ID",
        "TIME",
    ),
    "SPECTRAL_WINDOW": (
        "MEAS_FREQ_REF", "CHAN_FREQ", "REF_FREQUENCY", "CHAN_WIDTH", "EFFECTIVE_BW", "RESOLUTION",
        "FLAG_ROW", "FREQ_GROUP", "FREQ_GROUP_NAME", "IF_CONV_CHAIN", "NAME", "NET_SIDEBAND", "NUM_CHAN",
        "TOTAL_BANDWIDTH",
    ),
}  # fmt: skip


def write_caltable(
    path: str | os.PathLike[str],
    ms: MeasurementSet,
    kind: str,
    solutions: Sequence[Solutions],
    *,
    append: bool = False,
) -> None:
    """Write a calibration table, aside first, then renamed.

    Parameters
    ----------
    path
        The table.
    ms
        The set that was solved; its ANTENNA, FIELD, OBSERVATION and SPECTRAL_WINDOW are copied.
    kind
        CASA's name of the Jones matrix, such as ``"G Jones"``.
    solutions
        One entry for each window that was solved.
    append
        Add to the table if there is one already.

    Raises
    ------
    InvalidSpec
        If the table exists and `append` is not set, or is of another kind or another array, or has one of
        these solutions already.
    ParallacticError
        If it cannot be written.
    """
    place = Path(os.fspath(path)).expanduser().absolute()
    check_caltable_output(place, append=append)
    if place.exists():
        _replace(place, ms, kind, _merged(read_caltable(place), ms, kind, solutions, place))
        return
    with staged(place, "caltable") as partial:
        _build(partial, ms, kind, solutions)


def _replace(place: Path, ms: MeasurementSet, kind: str, solutions: Sequence[Solutions]) -> None:
    token = secrets.token_hex(4)
    partial = place.with_name(f"{place.name}.partial-{token}")
    before = place.with_name(f"{place.name}.before-{token}")
    try:
        _build(partial, ms, kind, solutions)
        place.rename(before)
        try:
            partial.rename(place)
        except OSError:
            before.rename(place)
            raise
    except OSError as error:
        raise file_error(place, error) from error
    finally:
        remove(partial)
    remove(before)


def _merged(
    old: CalTable, ms: MeasurementSet, kind: str, solutions: Sequence[Solutions], place: Path
) -> list[Solutions]:
    if old.kind != kind:
        raise InvalidSpec(f"caltable={place} holds {old.kind}, so {kind} cannot be appended to it.")
    if len(old.antenna_names) != len(ms.antennas):
        raise InvalidSpec(
            f"caltable={place} is of an array of {len(old.antenna_names)} antennas, {ms.path} has "
            f"{len(ms.antennas)}; append to a table of the same set."
        )
    merged = {entry.spw: entry for entry in old.solutions}
    for new in solutions:
        there = merged.get(new.spw)
        merged[new.spw] = new if there is None else _joined(there, new, place)
    return [merged[spw] for spw in sorted(merged)]


def _joined(old: Solutions, new: Solutions, place: Path) -> Solutions:
    if not np.array_equal(old.frequencies, new.frequencies):
        raise InvalidSpec(
            f"caltable={place} has {len(old.frequencies)} channels in spw {old.spw}, the new solutions "
            f"{len(new.frequencies)}; append with the solint that it was made with."
        )
    keys = {
        (float(t), int(f), int(s))
        for t, f, s in zip(old.times, old.fields, old.scans, strict=True)
    }  # fmt: skip
    for key in zip(new.times, new.fields, new.scans, strict=True):
        if (float(key[0]), int(key[1]), int(key[2])) in keys:
            raise InvalidSpec(
                f"caltable={place} already holds the solution of spw {new.spw}, field {key[1]}, "
                f"scan {key[2]} at that time; append other scans, or write a table of another name."
            )
    order = np.argsort(np.concatenate([old.times, new.times]), kind="stable")
    both = {
        item.name: np.concatenate([getattr(old, item.name), getattr(new, item.name)])[order]
        for item in fields(old)
        if item.name not in ("spw", "frequencies", "widths")
    }
    return Solutions(spw=old.spw, frequencies=old.frequencies, widths=old.widths, **both)


def _build(path: Path, ms: MeasurementSet, kind: str, solutions: Sequence[Solutions]) -> None:
    delays = all(not np.iscomplexobj(entry.values) for entry in solutions)
    _main_table(path, delays)
    root = Path(ms.subsets[0])
    for name, columns in _SUBTABLES.items():
        with opened(root / name) as source:
            # TYPE is a word of TaQL; a backslash makes any name a name.
            present = [f"\\{column}" for column in columns if column in source.colnames()]
            picked = source.query(columns=", ".join(present))
            picked.copy(str(path / name), deep=True).close()
    default_ms_subtable("HISTORY", str(path / "HISTORY")).close()
    _set_windows(path / "SPECTRAL_WINDOW", solutions)
    with opened(path, write=True) as handle:
        handle.putinfo({"type": "Calibration", "subType": kind, "readme": ""})
        handle.putkeyword("ParType", "Float" if delays else "Complex")
        handle.putkeyword("MSName", Path(ms.path).name)
        handle.putkeyword("VisCal", kind)
        handle.putkeyword("PolBasis", "unknown")
        handle.putkeyword("CASA_Version", _FORMAT)
        for name in (*_SUBTABLES, "HISTORY"):
            handle.putkeyword(name, f"Table: {path / name}")
        _fill(handle, solutions, delays)


def _main_table(path: Path, delays: bool) -> None:
    name, kind = ("FPARAM", "float") if delays else ("CPARAM", "complex")
    epoch = {"type": "epoch", "Ref": "UTC"}
    columns = [
        makescacoldesc("TIME", 0.0, keywords={"QuantumUnits": ["s"], "MEASINFO": epoch}),
        makescacoldesc("FIELD_ID", 0),
        makescacoldesc("SPECTRAL_WINDOW_ID", 0),
        makescacoldesc("ANTENNA1", 0),
        makescacoldesc("ANTENNA2", 0),
        makescacoldesc("INTERVAL", 0.0, keywords={"QuantumUnits": ["s"]}),
        makescacoldesc("SCAN_NUMBER", 0),
        makescacoldesc("OBSERVATION_ID", 0),
        makearrcoldesc(name, 0.0, ndim=-1, valuetype=kind),
        makearrcoldesc("PARAMERR", 0.0, ndim=-1, valuetype="float"),
        makearrcoldesc("FLAG", False, ndim=-1),
        makearrcoldesc("SNR", 0.0, ndim=-1, valuetype="float"),
        makearrcoldesc("WEIGHT", 0.0, ndim=-1, valuetype="float"),
    ]
    table(str(path), maketabdesc(columns), nrow=0, ack=False).close()


def _set_windows(path: Path, solutions: Sequence[Solutions]) -> None:
    """Give the windows the channels of their solutions."""
    with opened(path, write=True) as handle:
        for entry in solutions:
            cells: dict[str, Any] = {
                "CHAN_FREQ": entry.frequencies,
                "CHAN_WIDTH": entry.widths,
                "EFFECTIVE_BW": np.abs(entry.widths),
                "RESOLUTION": np.abs(entry.widths),
                "NUM_CHAN": len(entry.frequencies),
                "TOTAL_BANDWIDTH": float(np.abs(entry.widths).sum()),
            }
            for name, value in cells.items():
                handle.putcell(name, entry.spw, value)


def _fill(handle: Any, solutions: Sequence[Solutions], delays: bool) -> None:
    """Write a row for every antenna of every slot, the slots in the order of time, then of window."""
    slots = [(float(e.times[k]), e.spw, e, k) for e in solutions for k in range(len(e.times))]
    slots.sort(key=lambda slot: slot[:2])
    nant = solutions[0].values.shape[1]
    handle.addrows(len(slots) * nant)
    antennas = np.arange(nant, dtype=np.int32)
    dtype = np.float32 if delays else np.complex64
    for number, (time, spw, entry, k) in enumerate(slots):
        scalars = {
            "TIME": np.full(nant, time),
            "INTERVAL": np.full(nant, entry.intervals[k]),
            "FIELD_ID": _ids(nant, entry.fields[k]),
            "SPECTRAL_WINDOW_ID": _ids(nant, spw),
            "ANTENNA1": antennas,
            "ANTENNA2": _ids(nant, entry.refants[k]),
            "SCAN_NUMBER": _ids(nant, entry.scans[k]),
            "OBSERVATION_ID": _ids(nant, entry.observations[k]),
            "FPARAM" if delays else "CPARAM": entry.values[k].astype(dtype),
            "PARAMERR": entry.errors[k],
            "SNR": entry.snr[k],
            "WEIGHT": entry.weights[k],
            "FLAG": entry.flags[k],
        }
        for name, values in scalars.items():
            handle.putcol(name, values, number * nant, nant)


def _ids(count: int, value: Any) -> NDArray[np.int32]:
    return np.full(count, int(value), dtype=np.int32)
