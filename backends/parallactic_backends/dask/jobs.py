"""A cluster of batch jobs, through dask-jobqueue."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import logging
import math
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from distributed.core import Status
from distributed.deploy.spec import ProcessInterface

from parallactic.errors import BackendUnavailable
from parallactic.worker.supervisor import tail
from parallactic_backends.dask.own import OwnCluster
from parallactic_backends.dask.settings import DaskSettings


@contextlib.contextmanager
def _handlers_left_alone() -> Iterator[None]:
    """Keep a library from setting a handler of its own for Ctrl-C, which only the main thread could."""
    set_handler = signal.signal
    signal.signal = lambda *_: None
    try:
        yield
    finally:
        signal.signal = set_handler


with _handlers_left_alone():
    from dask_jobqueue.pbs import PBSCluster, PBSJob
    from dask_jobqueue.slurm import SLURMCluster, SLURMJob

__all__ = [
    "JOB_CLUSTERS",
    "JobCluster",
    "PbsJobs",
    "SlurmJobs",
    "clock",
    "job_offers",
    "job_options",
    "new_job_name",
]

_log = logging.getLogger(__name__)
_ASK_SECONDS = 10.0
_CAUSE_SECONDS = 0.8
_REFUSED = re.compile(r"stderr:\n(.*)", re.DOTALL)

#: Memory that a Dask worker does not manage itself must not make it pause for ever: the limit of a job is the
#: batch system's to watch, and workers of ours are processes of their own.
_UNPAUSED = (
    "export DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE=False",
    "export DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE=False",
)


_ADDRESS = """\
PARALLACTIC_HOST=$({python} -c 'import socket
s = socket.socket(socket.AF_INET6 if ":" in "{scheduler}" else socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("{scheduler}", 80))
print(s.getsockname()[0])')"""
"""A shell line: the address of this host by which it reaches the scheduler. Nothing is sent."""


class JobCluster(OwnCluster):
    """What both batch systems have in common. A unit is a job.

    Attributes
    ----------
    commands
        What must be there to submit.
    job_name_of_run
        What all jobs of the run are called, and none of another.
    """

    commands: ClassVar[Sequence[str]]
    system: ClassVar[str]
    kind = "a job"
    job_name_of_run: str
    logs: Path
    _guard: subprocess.Popen[bytes] | None = None

    @classmethod
    def missing(cls) -> str:
        """Say which command of the batch system is not there."""
        absent = [command for command in cls.commands if shutil.which(command) is None]
        if not absent:
            return ""
        return (
            f"{' and '.join(absent)} not found: run this where {cls.system} jobs can be submitted, "
            "or choose another cluster."
        )

    def guard(self, folder: Path | None) -> None:
        """Have all jobs of the run cancelled when this process ends, however that happens.

        A small shell waits for the end of its input, which comes with the end of this process. It also
        removes a temporary folder, with the certificates.
        """
        script = f'read word; {self.cancel_all()}; [ -z "$3" ] || rm -rf -- "$3"'
        self._guard = subprocess.Popen(
            ["sh", "-c", script, "sh", self.job_name_of_run, getpass.getuser(), str(folder or "")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @classmethod
    def cancel_all(cls) -> str:
        """Return the shell line that cancels the jobs named $1 of the user $2."""
        raise NotImplementedError

    def close(self, timeout: float | None = None) -> Any:
        """End all jobs and the scheduler; what the batch system did not hear is said once more."""
        try:
            return super().close(timeout)
        finally:
            self._disband()

    def _disband(self) -> None:
        # dask-jobqueue leaves the removal of the certificates to the garbage collector.
        for part in ("ca_file", "cert", "key"):
            written = self.__dict__.pop(f"_job_{part}", None)
            if written is not None:
                written.close()
        if self._guard is not None:
            assert self._guard.stdin is not None
            self._guard.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guard.wait(_ASK_SECONDS)
            self._guard = None

    def comes_back(self, unit: str) -> bool:
        """Tell whether the job has several Dask workers: a nanny starts them again."""
        return bool(self.new_spec and self.new_spec["options"]["processes"] > 1)

    def refusal(self, error: Exception) -> BackendUnavailable:
        """Return the error with the batch system's own words."""
        found = _REFUSED.search(str(error))
        words = found[1].strip() if found else str(error)
        return BackendUnavailable(f"{self.system} did not take a job for Dask workers: {words}")

    def last_words(self, job: str) -> str:
        """Return the last lines that a job wrote."""
        texts = [tail(str(path), 1500).strip() for path in sorted(self.logs.glob(f"*{job}*"))]
        return "\n".join(text for text in texts if text) or "Its log is empty."

    async def alive(self) -> set[str] | None:
        """Return the numbers of all jobs of the run that wait or run; None if nobody answers.

        One question for all jobs, however many.
        """
        raise NotImplementedError

    _asked = 0.0

    async def dead(self, units: dict[str, Any]) -> dict[str, str]:
        """Return the jobs among these that are no more, with their last lines."""
        now = time.monotonic()
        if now - self._asked < min(_ASK_SECONDS, 2.0 + 0.1 * len(units)):
            return {}
        self._asked = now
        alive = await self.alive()
        if alive is None:
            return {}
        return {
            name: self.last_words(process.job_id)
            for name, process in units.items()
            if process.job_id is not None and process.job_id not in alive
        }


async def _ask(*command: str) -> str | None:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    out, _ = await process.communicate()
    return out.decode() if process.returncode == 0 else None


class _Closing(ProcessInterface):  # type: ignore[misc]
    """Mixed into a job class of dask-jobqueue, which does not tell that its job was closed."""

    async def close(self) -> None:
        """Cancel the job."""
        await super().close()
        self.status = Status.closed


class _SlurmJob(_Closing, SLURMJob):
    pass


class _PbsJob(_Closing, PBSJob):
    pass


class SlurmJobs(JobCluster, SLURMCluster):
    """Jobs of SLURM."""

    job_cls = _SlurmJob
    commands = ("sbatch", "squeue", "scancel")
    system = "SLURM"

    @classmethod
    def cancel_all(cls) -> str:
        """Return the shell line that cancels the jobs named $1 of the user $2."""
        return 'scancel --name="$1" --user="$2"'

    async def alive(self) -> set[str] | None:
        """Ask squeue once."""
        words = ("--noheader", "--format=%A", f"--name={self.job_name_of_run}", f"--user={getpass.getuser()}")
        out = await _ask("squeue", *words)
        return None if out is None else set(out.split())

    async def cause(self, name: str) -> tuple[str, str]:
        """Ask squeue how the job of a Dask worker has ended, for as long as it is about to."""
        process = self.workers.get(self.unit_of(name))
        if process is None or process.job_id is None:
            return "", ""
        end = time.monotonic() + _CAUSE_SECONDS
        while True:
            words = ("--noheader", "--states=all", "--format=%T %r", f"--jobs={process.job_id}")
            state, _, reason = (await _ask("squeue", *words) or "").strip().partition(" ")
            ending = _CAUSES.get(f"{state} {reason}") or _CAUSES.get(state) or _CAUSES.get(reason)
            if ending is not None or time.monotonic() > end:
                break
            await asyncio.sleep(0.1)
        cause, text = ending or ("", "")
        return cause, f"its SLURM job {process.job_id} {text}" if text else ""


#: By the state of a job, by its reason, or by both. While a job is being cleaned up SLURM shows no more than
#: the reason, and there is none if somebody cancelled it.
_CAUSES = {
    "COMPLETING None": ("signal", "was cancelled or preempted"),
    "NonZeroExitCode": ("exit", "failed"),
    "TIMEOUT": ("walltime", "reached its walltime"),
    "TimeLimit": ("walltime", "reached its walltime"),
    "CANCELLED": ("signal", "was cancelled"),
    "PREEMPTED": ("preempted", "was preempted"),
    "NODE_FAIL": ("node_fail", "lost its node"),
    "NodeDown": ("node_fail", "lost its node"),
    "OUT_OF_MEMORY": ("oom", "took more memory than it had asked for"),
    "FAILED": ("exit", "failed"),
    "COMPLETED": ("exit", "has ended"),
}


class PbsJobs(JobCluster, PBSCluster):
    """Jobs of PBS and Torque."""

    job_cls = _PbsJob
    commands = ("qsub", "qselect", "qdel")
    system = "PBS"

    @classmethod
    def cancel_all(cls) -> str:
        """Return the shell line that cancels the jobs named $1 of the user $2."""
        return 'qselect -N "$1" -u "$2" | xargs -r qdel'

    async def alive(self) -> set[str] | None:
        """Ask qselect once."""
        out = await _ask("qselect", "-N", self.job_name_of_run, "-u", getpass.getuser())
        return None if out is None else {line.partition(".")[0] for line in out.split()}


JOB_CLUSTERS: dict[str, type[JobCluster]] = {"slurm": SlurmJobs, "pbs": PbsJobs}


def clock(seconds: float) -> str:
    """Write a time as batch systems want it, rounded up to whole minutes as they do."""
    minutes = math.ceil(seconds / 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"


def new_job_name() -> str:
    """Return a name that no other run has; PBS takes 15 characters."""
    return f"plx-{uuid.uuid4().hex[:8]}"


def job_offers(settings: DaskSettings, cores: int, processes: int) -> dict[str, float]:
    """Return the resources of each Dask worker of a job: its share, and what the settings add."""
    share = {"CORES": float(cores // processes), "MEMORY": float((settings.memory or 0) // processes)}
    return share | settings.resources


def job_options(
    settings: DaskSettings, cores: int, processes: int, logs: Path, scheduler: str
) -> dict[str, Any]:
    """Return what dask-jobqueue's clusters are told about each job; `scheduler` is the host of that."""
    assert settings.walltime is not None
    words = ["--no-dashboard"]
    prologue = [*_UNPAUSED, *settings.prologue]
    python = settings.python or sys.executable
    if settings.interface is None:
        # A Dask worker listens on the network by which it reaches the scheduler, and on no other.
        prologue.append(_ADDRESS.format(python=python, scheduler=scheduler))
        words += ["--host", '"$PARALLACTIC_HOST"', "--dashboard-address", '"$PARALLACTIC_HOST:0"']
    offers = " ".join(f"{name}={amount:g}" for name, amount in job_offers(settings, cores, processes).items())
    words += ["--resources", shlex.quote(offers)]
    return {
        "cores": cores,
        "processes": processes,
        "memory": f"{settings.memory}B",
        "walltime": clock(settings.walltime),
        "queue": settings.queue,
        "account": settings.account,
        "interface": settings.interface,
        "local_directory": str(settings.local_directory) if settings.local_directory else None,
        "job_script_prologue": prologue,
        "job_extra_directives": settings.directives,
        "python": python,
        # With a nanny several Dask workers share a job; without, the job ends with its only one.
        "nanny": processes > 1,
        "death_timeout": math.ceil(settings.death_timeout),
        "worker_extra_args": words,
        "log_directory": str(logs),
    }
