"""Dask's own adaptive scaling, for workers of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from distributed.deploy.adaptive import Adaptive

__all__ = ["Adapting"]


class Adapting(Adaptive):  # type: ignore[misc]
    """Dask decides how many Dask workers there are; those that are addressed or hold a state stay.

    Parameters
    ----------
    cluster
        An `OwnCluster`.
    load
        Returns the keys of tasks that wait, and the number of those that run.
    addressed
        Returns how many workers of ours are addressed, and must be there.
    may_rest
        Tells of a Dask worker, by its name, whether all of ours beside it may go.
    rest
        Called with the name of one that is to go, when they have.
    **options
        Those of Dask's class.
    """

    def __init__(
        self,
        cluster: Any,
        *,
        load: Callable[[], tuple[set[str], int]],
        addressed: Callable[[], int],
        may_rest: Callable[[str], bool],
        rest: Callable[[str], None],
        **options: Any,
    ) -> None:
        self._load, self._addressed, self._may_rest, self._rest = load, addressed, may_rest, rest
        self._waiting: set[str] = set()
        super().__init__(cluster, **options)

    @property
    def plan(self) -> set[str]:
        """Names of the Dask workers that there are to be."""
        names: set[str] = set(self.cluster.plan) - self.cluster.spared
        return names

    @property
    def requested(self) -> set[str]:
        """Names of those that were asked for."""
        names: set[str] = set(self.cluster.requested) - self.cluster.spared
        return names

    @property
    def observed(self) -> set[str]:
        """Names of those that have come."""
        names: set[str] = set(self.cluster.observed) - self.cluster.spared
        return names

    async def target(self) -> int:
        """Return how many Dask workers are needed now.

        Dask knows no more tasks than there may be workers: the others still wait in the client. So a task
        that has waited since the last look counts for a worker, however short it may be.
        """
        wanted: int = await super().target()
        waiting, running = self._load()
        still = waiting & self._waiting
        self._waiting = waiting
        busy = len(still) + running if still else 0
        return max(wanted, int(self.cluster.units(max(busy, self._addressed()))))

    async def workers_to_close(self, target: int) -> list[str]:
        """Return the names of those that may go."""
        names = await super().workers_to_close(target)
        return [name for name in names if name in self.observed and self._may_rest(name)]

    async def scale_up(self, n: int) -> None:
        """Have more."""
        await self.cluster.keep(n)

    async def scale_down(self, workers: Iterable[str]) -> None:
        """Have fewer: those that have not come yet first."""
        names = list(workers)
        here = self.observed
        await self.cluster.keep(len(self.plan) - len(names))
        for name in names:
            if name in here:
                self.cluster.spared.add(name)
                self._rest(name)
