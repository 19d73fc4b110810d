"""A task of one's own: the mean amplitude of every scan. docs/writing-a-task.md explains it."""

from dataclasses import dataclass, field
from typing import Unpack

import numpy as np

from parallactic.measurementset import MeasurementSet, Selection
from parallactic.tasks.base import ExecutorLike, SelectionParameters, TaskResult, run_units, task, using


@dataclass
class Amplitudes(TaskResult):
    """Mean amplitude of each scan."""

    mean: dict[int, float] = field(default_factory=dict)


def work(unit: tuple[int, np.ndarray], vis: str) -> tuple[int, float, int]:
    """Sum the amplitudes of one scan; runs on a worker."""
    scan, rows = unit
    ms = MeasurementSet(vis)
    data, flags = ms.read(rows, "DATA"), ms.read(rows, "FLAG")
    good = np.abs(data)[~flags]
    return scan, float(good.sum(dtype=np.float64)), good.size


@task
def meanamplitude(
    vis: str, *, executor: ExecutorLike = None, **selection: Unpack[SelectionParameters]
) -> Amplitudes:
    """Average the amplitudes of every scan.

    Parameters
    ----------
    vis
        The MeasurementSet.
    executor
        Where it runs.
    """
    ms = MeasurementSet(vis)
    rows = ms.select(Selection(**selection)).rows
    scans = ms.index.scan[rows]
    units = [(int(scan), rows[scans == scan]) for scan in np.unique(scans)]
    with using(executor) as ex:
        partials = run_units(ex, work, units, vis, label="mean amplitude")
    return Amplitudes(mean={scan: total / count for scan, total, count in partials})
