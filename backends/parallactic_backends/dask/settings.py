"""What can be set for Dask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from parallactic.backend import MemorySize, Settings

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
        description='"local" (the default), or a Dask cluster object that exists already.',
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
