"""What connects a run with its Dask cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Connection"]

_CLOSE_SECONDS = 5.0


@dataclass
class Connection:
    """A client of a Dask scheduler, and what must be closed at the end.

    Parameters
    ----------
    client
        The client, of this run alone.
    cluster
        The `OwnCluster`, if it belongs to this run.
    one_host
        Whether every process of the cluster is, and will be, on this host.
    workers
        How many workers of ours there are to be; None if others decide.
    resources
        What each Dask worker of a cluster of our own offers besides threads.
    dashboard
        The address by which the dashboard is served, if that is not the scheduler's.
    clean
        Called at the end.
    """

    client: Any
    cluster: Any = None
    one_host: bool = False
    workers: int | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    dashboard: str = ""
    clean: Callable[[], None] | None = None

    def close(self, seconds: float) -> None:
        """Hang up, and end a cluster of our own."""
        try:
            self.client.close(timeout=seconds)
            if self.cluster is not None:
                with contextlib.suppress(TimeoutError):
                    self.cluster.close(timeout=max(seconds, _CLOSE_SECONDS))
        finally:
            if self.clean is not None:
                self.clean()
