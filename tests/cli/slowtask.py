"""A task that takes long, for the tests that interrupt the command: ``python slowtask.py slow OUT``."""

from __future__ import annotations

import os
import time
from pathlib import Path

from parallactic.cli import main
from parallactic.tasks.base import ExecutorLike, TaskResult, run_units, task, using


def nap(unit: int, folder: str, seconds: float) -> int:
    """Say who works, and sleep without the GIL's help."""
    Path(folder, f"busy-{unit}-{os.getpid()}").touch()
    time.sleep(seconds)
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
        How many units, and how long each takes.
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
