"""Whether a launcher of MPI started this process, read from the environment alone."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Launch", "has_company", "launch", "without_launcher"]

_LAUNCHERS = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "the mpiexec of Open MPI"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "the launcher of MVAPICH"),
    ("PMI_RANK", "PMI_SIZE", "an mpiexec that speaks PMI (MPICH, Intel MPI), or srun"),
    ("PMIX_RANK", "", "a launcher that speaks PMIx"),
    # Set by srun for the processes of a step, and not in a batch script.
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "srun without a PMI"),
)
_THEIRS = re.compile(r"(SLURM_STEP|OMPI|OPAL|PMIX|PMI|PRTE|HYDRA|MPIEXEC|MPIR|MV2_COMM)(_|$)|MPI_LOCALN?RANK")
_KEPT = re.compile(r"(OMPI|PRTE)_ALLOW_RUN_AS_ROOT")


class Launch(NamedTuple):
    """How this process was started.

    Parameters
    ----------
    rank
        Its number in the job, from 0.
    size
        How many processes were started; None if the launcher does not say.
    by
        The launcher, in words.
    """

    rank: int
    size: int | None
    by: str


def launch() -> Launch | None:
    """Return how this process was started; None for a process that no launcher of MPI started."""
    for rank, size, by in _LAUNCHERS:
        if os.environ.get(rank, "").isdigit() and (not rank.startswith("SLURM") or size in os.environ):
            known = os.environ.get(size) if size else None
            return Launch(int(os.environ[rank]), int(known) if known and known.isdigit() else None, by)
    return None


def has_company() -> bool:
    """Tell whether a launcher has started other processes together with this one."""
    started = launch()
    return started is not None and started.size != 1


def without_launcher(environment: Mapping[str, str]) -> dict[str, str]:
    """Leave out what a launcher told this process: a worker is no rank, and may start an MPI of its own."""
    return {
        name: value for name, value in environment.items() if _KEPT.match(name) or not _THEIRS.match(name)
    }
