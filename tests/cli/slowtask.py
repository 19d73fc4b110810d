"""A task that takes long, for the tests that interrupt the command: ``python slowtask.py slow OUT``."""

from __future__ import annotations

import os
import time
from pathlib import Path

from parallactic.cli import main
from parallactic.tasks.base import ExecutorLike, TaskResult, run_units, task, using


def nap(unit: int, folder: str, seconds: float) -> int:
    """Say who works, and sleep, until there is a file "enough" at the latest."""
    Path(folder, f"busy-{unit}-{os.getpid()}").touch()
    end = time.monotonic() + seconds
    while time.monotonic() < end and not Path(folder, "enough").exists():
        time.sleep(0.02)
    Path(folder, f"rested-{unit}").touch()
    return unit


@task
def slow(
    outputvis: str,
    *,
    units: int = 4,
    seconds: float = 60.0,
    writes: bool = False,
    executor: ExecutorLike = None,
) -> TaskResult:
    """Sleep in every worker, then write a product.

    Parameters
    ----------
    outputvis
        The product.
    units, seconds
        How many units, and the most that each takes.
    writes
        Whether the units claim to write in place.
    """
    folder = str(Path(outputvis).parent)
    with using(executor) as ex:
        claim = str if writes else None
        run_units(ex, nap, range(units), folder, seconds, label="nap", writes=claim)
    Path(outputvis).mkdir()
    return TaskResult(counts={"units": units}, products=[outputvis])


if __name__ == "__main__":
    main()
