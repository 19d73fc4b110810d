"""What can be set for SLURM: everything of sbatch that a reduction needs, checked before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from parallactic.backend import Duration, MemorySize, Settings
from parallactic.errors import InvalidSpec

__all__ = ["SlurmSettings"]


def _lines(value: object) -> object:
    return value.splitlines() if isinstance(value, str) else value


Lines = Annotated[tuple[str, ...], BeforeValidator(_lines)]


class SlurmSettings(Settings):
    """What can be set for SLURM. Names are those of sbatch, with underscores."""

    time: Duration | None = Field(
        default=None,
        description="Time limit of each job, such as 2h or 1:30:00. Required: no default of a site is right.",
    )
    account: str | None = Field(default=None, description="Account that is charged.")
    partition: str | None = Field(default=None, description="Partition; by default the site's.")
    qos: str | None = Field(default=None, description="Quality of service.")
    cpus_per_task: int = Field(default=1, ge=1, description="CPUs of each worker.")
    mem: MemorySize | None = Field(default=None, description="Memory of each job on a node, such as 8GB.")
    mem_per_cpu: MemorySize | None = Field(default=None, description="Memory for each CPU, in place of mem.")
    gres: str | None = Field(default=None, description="Generic resources, such as gpu:2.")
    constraint: str | None = Field(default=None, description="Features that nodes must have.")
    reservation: str | None = Field(default=None, description="Reservation to run in.")
    exclude: str | None = Field(default=None, description="Nodes not to use, such as n[1-3].")
    nodelist: str | None = Field(default=None, description="Nodes to use.")
    exclusive: bool = Field(default=False, description="Share no node with other jobs.")
    cpu_bind: str | None = Field(default=None, description="How srun binds tasks to CPUs, such as cores.")
    threads_per_core: int | None = Field(default=None, ge=1, description="Hardware threads used of a core.")
    requeue: bool = Field(default=False, description="Let SLURM put a preempted job into the queue again.")
    job_name: str | None = Field(default=None, description="Name of the jobs; by default the run's.")
    mail_type: str | None = Field(default=None, description="When to send mail, such as END,FAIL.")
    mail_user: str | None = Field(default=None, description="To whom.")
    array_limit: int | None = Field(default=None, ge=1, description="Jobs of an array that run at once.")
    extra: Lines = Field(
        default=(), description="More options of sbatch, one each, such as --nice=100; checked by sbatch."
    )
    prologue: Lines = Field(
        default=(), description="Shell lines run before the worker, such as module load python."
    )
    prefix: str = Field(
        default="", description="Command put before Python, such as: singularity exec IMAGE.sif"
    )
    python: str | None = Field(
        default=None, description="Python on the compute nodes; by default the client's, by its path."
    )
    ulimit: dict[str, int | Literal["unlimited"]] = Field(
        default_factory=dict, description="Limits of the shell by their letter, such as {n: 65536}."
    )
    environment: dict[str, str] = Field(
        default_factory=dict, description="Variables added to the environment of workers."
    )
    interface: str | None = Field(
        default=None, description="Network interface or address at which workers reach this host."
    )
    folder: Path = Field(
        default=Path("~/.parallactic/slurm"),
        description="Folder on a disk that all nodes share, for scripts, logs and the key of a run.",
    )
    drain: Duration = Field(
        default=60.0,
        description="How long before its limit a job begins nothing more; its worker moves to another.",
    )
    poll: float = Field(default=2.0, gt=0, description="Seconds between two looks at the queue.")

    @model_validator(mode="after")
    def _agree(self) -> SlurmSettings:
        if self.mem is not None and self.mem_per_cpu is not None:
            raise InvalidSpec("mem and mem_per_cpu exclude each other; give one of them.")
        return self
