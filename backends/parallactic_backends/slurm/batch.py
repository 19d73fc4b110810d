"""Jobs as submitit writes and submits them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from submitit import SlurmExecutor
from submitit.core.utils import FailedJobError, FailedSubmissionError

from parallactic.errors import SubmitError
from parallactic_backends.slurm.pilot import Meeting, be_pilot
from parallactic_backends.slurm.settings import SlurmSettings
from parallactic_backends.slurm.states import QueueAway, is_away

__all__ = ["Batch"]

_DIRECT = ("account", "partition", "qos", "cpus_per_task", "gres", "constraint", "exclude", "nodelist",
           "mail_type", "mail_user")  # fmt: skip
_ADDED = ("reservation", "threads_per_core")


class Batch:
    """Submits jobs with the settings of a run.

    Parameters
    ----------
    settings
        Those of the run.
    folder
        The run's own on the shared disk.
    name
        What jobs are called.
    """

    def __init__(self, settings: SlurmSettings, folder: Path, name: str) -> None:
        python = shlex.quote(settings.python or sys.executable)
        # -P: a file of the current folder must not stand in for a module of the library.
        self._executor = SlurmExecutor(folder, python=f"{settings.prefix} {python} -P".strip())
        self._executor.update_parameters(**_parameters(settings, name))

    def submit(self, meeting: Meeting, workers: Sequence[tuple[int, int]]) -> list[tuple[str, Path]]:
        """Submit a pilot for each worker and epoch, as an array if there are several.

        Returns
        -------
        list of (str, Path)
            The number of each job, and its log.

        Raises
        ------
        QueueAway
            If the controller does not answer.
        SubmitError
            If sbatch refuses; with its words.
        """
        try:
            if len(workers) == 1:
                jobs = [self._executor.submit(be_pilot, meeting, *workers[0])]
            else:
                with self._executor.batch():
                    jobs = [self._executor.submit(be_pilot, meeting, *worker) for worker in workers]
        except (FailedJobError, FailedSubmissionError) as error:
            if is_away(str(error)):
                raise QueueAway(_words(error)) from error
            raise SubmitError(f"sbatch refused the jobs: {_words(error)}") from error
        return [(job.job_id, Path(job.paths.stderr)) for job in jobs]


def _words(error: Exception) -> str:
    """Return what sbatch said, of all that submitit tells."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [
        line.removeprefix("sbatch:").removeprefix(" error:").strip() for line in lines if "sbatch:" in line
    ]
    return " ".join(said or lines[-1:] or [repr(error)])


def _parameters(settings: SlurmSettings, name: str) -> dict[str, Any]:
    found = {key: getattr(settings, key) for key in _DIRECT if getattr(settings, key) is not None}
    added: dict[str, Any] = {
        key.replace("_", "-"): getattr(settings, key) for key in _ADDED if getattr(settings, key) is not None
    }
    assert settings.time is not None
    added["time"] = _clock(settings.time)
    if settings.mem is not None:
        added["mem"] = f"{-(-settings.mem // 2**20)}M"
    if settings.mem_per_cpu is not None:
        added["mem-per-cpu"] = f"{-(-settings.mem_per_cpu // 2**20)}M"
    added["requeue" if settings.requeue else "no-requeue"] = True
    if settings.exclusive:
        found["exclusive"] = True
    for line in settings.extra:
        key, _, value = line.strip().removeprefix("#SBATCH").strip().removeprefix("--").partition("=")
        added[key] = value or True
    limits = [f"ulimit -{letter} {value}" for letter, value in settings.ulimit.items()]
    binding = [f"--cpu-bind={settings.cpu_bind}"] if settings.cpu_bind else []
    return found | {
        "job_name": settings.job_name or name,
        "setup": [*limits, *settings.prologue],
        # A pilot is one task: srun would start another daemon for it, and costs seconds at the end.
        "use_srun": bool(binding),
        "srun_args": ["--cpus-per-task", str(settings.cpus_per_task), *binding],
        "array_parallelism": settings.array_limit or 1_000_000,
        "signal_delay_s": 60,
        "wckey": None,
        "additional_parameters": added,
    }


def _clock(seconds: float) -> str:
    whole = max(60, round(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
