"""What can be set for Dask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from parallactic.backend import Duration, MemorySize, Settings

__all__ = ["DaskSettings"]


class DaskSettings(Settings):
    """What can be set for Dask."""

    threads: int = Field(
        default=1,
        ge=1,
        description="Threads of each worker; a Dask worker with more gets several workers beside it.",
    )
    scheduler: str | None = Field(
        default=None,
        description="Address of a scheduler that runs already, such as tcp://192.168.2.10:8786; "
        "by default $RASCIL_DASK_SCHEDULER, else a local cluster is started.",
    )
    scheduler_file: Path | None = Field(
        default=None, description="File in which a scheduler that runs already has written its address."
    )
    client: Any = Field(default=None, description="A distributed.Client that exists already.")
    cluster: Any = Field(
        default=None,
        description='"local" (the default), "slurm", "pbs", "ssh", or a Dask cluster object that exists.',
    )
    adaptive: tuple[int, int] | None = Field(
        default=None,
        description="Fewest and most workers of a cluster that is started here; Dask chooses by the load.",
    )
    memory_limit: MemorySize | None = Field(
        default=None,
        description="Memory of each worker, such as 8GB; one that takes more is ended. By default no limit.",
    )
    resources: dict[str, float] = Field(
        default_factory=dict,
        description="What each Dask worker offers to tasks that ask for it: {'GPU': 1, 'MEMORY': 64e9}.",
    )
    shared_memory: bool = Field(
        default=True, description="Hand large objects between processes of one host by reference."
    )
    local_directory: Path | None = Field(
        default=None, description="Folder on the workers' hosts for what Dask moves from memory to disk."
    )
    dashboard: str | bool = Field(
        default=True, description="Whether Dask's dashboard is served, or its address, such as :8787."
    )
    environment: dict[str, str] = Field(
        default_factory=dict, description="Variables added to the environment of workers."
    )
    connect_timeout: float = Field(
        default=10.0, gt=0, description="Seconds within which a scheduler that was named must answer."
    )

    # Batch jobs, and hosts

    walltime: Duration | None = Field(
        default=None, description="How long a batch job may run, such as 2h or 12:00:00; must be given."
    )
    memory: MemorySize | None = Field(
        default=None, description="Memory of a batch job, such as 16GB; must be given."
    )
    cores: int | None = Field(
        default=None, ge=1, description="Cores of a batch job; by default those of one worker."
    )
    processes: int | None = Field(
        default=None, ge=1, description="Dask workers of a batch job, which share its cores; 1 by default."
    )
    queue: str | None = Field(default=None, description="Queue of batch jobs; SLURM calls it partition.")
    account: str | None = Field(
        default=None, description="Account or project that batch jobs are charged to."
    )
    directives: list[str] = Field(
        default_factory=list, description="Further options of batch jobs, such as --constraint=ib."
    )
    death_timeout: float = Field(
        default=60.0, gt=0, description="Seconds after which a batch job ends that finds no scheduler."
    )
    shared_directory: Path | None = Field(
        default=None,
        description="Folder on a disk that all hosts mount, for certificates and logs of batch jobs; by "
        "default run_dir if that was given, else the working folder.",
    )
    hosts: list[str] | None = Field(default=None, description="Hosts that are reached by ssh.")
    ssh_options: dict[str, Any] = Field(
        default_factory=dict,
        description="What asyncssh.connect is told besides the host: username, port, client_keys and so on.",
    )
    interface: str | None = Field(
        default=None, description="Network of scheduler and Dask workers, such as ib0."
    )
    prologue: list[str] = Field(
        default_factory=list, description="Shell lines before Python there, such as module load python."
    )
    python: str | None = Field(default=None, description="Python there; by default this one.")

    @field_validator("hosts", "adaptive", mode="before")
    @classmethod
    def _between_commas(cls, value: Any) -> Any:
        # So that a variable of the environment can hold it.
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("prologue", "directives", mode="before")
    @classmethod
    def _lines(cls, value: Any) -> Any:
        return value.splitlines() if isinstance(value, str) else value

    @field_validator("adaptive")
    @classmethod
    def _in_order(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not (0 <= value[0] <= value[1] and value[1] >= 1):
            raise ValueError("must be a fewest and a most number of workers, such as (0, 20)")
        return value
