"""What the Dask workers of a cluster offer, and what the wishes of a task are in Dask's words."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from parallactic.backend import TaskSpec
from parallactic.errors import InvalidSpec

__all__ = ["RESOURCES", "Choosy", "Offer", "Supply"]

RESOURCES = {"gpus": "GPU", "cores": "CORES", "memory": "MEMORY"}
"""What an option of a task is called among the resources of Dask workers."""


PATIENCE = 30.0
"""Seconds that a task waits for a Dask worker with what it needs, after the last of them has gone."""


@dataclass(frozen=True)
class Offer:
    """What one Dask worker has.

    Parameters
    ----------
    host
        As in its address.
    threads
        How many.
    memory
        Bytes; 0 if it is not known.
    resources
        Those it was started with.
    """

    host: str
    threads: int
    memory: int
    resources: Mapping[str, float]

    def has(self, wishes: Mapping[str, float]) -> bool:
        """Tell whether it is enough for a task."""
        return all(self.resources.get(name, 0) >= amount for name, amount in wishes.items())


class Supply:
    """What all Dask workers have. Any thread may ask.

    A resource that Dask workers were started with is counted by Dask, for each of them. Cores and memory that
    none of them names are counted by the client, for all together.

    Parameters
    ----------
    own
        The resources of each Dask worker that the run itself starts, also of those still to come.
    """

    def __init__(self, own: Mapping[str, float]) -> None:
        self._own = dict(own)
        self._offers: dict[str, Offer] = {}
        self._lock = threading.Lock()

    def joined(self, address: str, threads: int, memory: int, resources: Mapping[str, float]) -> None:
        """Learn of a Dask worker, or of what it has now."""
        offer = Offer(urlsplit(address).hostname or address, threads, memory, dict(resources))
        with self._lock:
            self._offers[address] = offer

    def left(self, address: str) -> bool:
        """Learn that a Dask worker is gone; return whether it was known."""
        with self._lock:
            return self._offers.pop(address, None) is not None

    def _all(self) -> list[Offer]:
        with self._lock:
            return list(self._offers.values())

    def places(self, threads: int) -> int:
        """Count the places for workers of so many threads; there is always one."""
        return max(1, sum(max(1, offer.threads // threads) for offer in self._all()))

    @property
    def memory(self) -> int:
        """Bytes that all tasks may use together; 0 if a Dask worker does not tell."""
        each = [int(offer.resources.get("MEMORY", offer.memory)) for offer in self._all()]
        # That of one which is still to come counts already: Dask has a task wait for it.
        return max(sum(each), int(self._own.get("MEMORY", 0))) if all(each) else 0

    @property
    def cores(self) -> int:
        """Threads of all Dask workers; at least those of one that is still to come."""
        return max(sum(offer.threads for offer in self._all()), int(self._own.get("CORES", 0)))

    def _wishes(self, spec: TaskSpec, offers: list[Offer]) -> dict[str, float]:
        wishes = {}
        for option, name in RESOURCES.items():
            amount = getattr(spec, option)
            counted = name == "GPU" or name in self._own or any(name in offer.resources for offer in offers)
            if amount and counted:
                wishes[name] = float(amount)
        return wishes

    def wishes(self, spec: TaskSpec) -> dict[str, float]:
        """Return the resources that Dask must set aside for a task."""
        if not (spec.gpus or spec.cores or spec.memory):
            return {}
        return self._wishes(spec, self._all())

    def has(self, wishes: Mapping[str, float]) -> bool:
        """Tell whether there is, or will be, a Dask worker that has as much."""
        own = Offer("", 0, 0, self._own)
        return any(offer.has(wishes) for offer in [own, *self._all()])

    def refuse(self, spec: TaskSpec, address: str | None = None) -> None:
        """Refuse what no Dask worker can give.

        Parameters
        ----------
        spec
            The wishes.
        address
            The Dask worker to which the task is addressed; None if any will do.

        Raises
        ------
        InvalidSpec
            With what was asked for and what there is.
        """
        offers = self._all()
        wishes = self._wishes(spec, offers)
        one = self._offers.get(address) if address else None
        known = [one] if one is not None else [Offer("", 0, 0, self._own), *offers]
        if wishes and not any(offer.has(wishes) for offer in known):
            most = {name: max(offer.resources.get(name, 0) for offer in known) for name in wishes}
            who = "no Dask worker has" if one is None else f"the Dask worker {address} has not"
            raise InvalidSpec(
                f"a task asks for {_words(wishes)}, which {who}; the most there is of each: {_words(most)}. "
                f"Start Dask workers with --resources '{_words(wishes)}', or set resources of backend 'dask' "
                "for a cluster that it starts itself."
            )
        self._refuse_size(spec, wishes, offers)

    def _refuse_size(self, spec: TaskSpec, wishes: Mapping[str, float], offers: list[Offer]) -> None:
        """Refuse what no host has, where Dask does not count it."""
        threads: dict[str, int] = defaultdict(int)
        memory: dict[str, int] = defaultdict(int)
        for offer in offers:
            threads[offer.host] += offer.threads
            memory[offer.host] += offer.memory
        if spec.cores and "CORES" not in wishes and len(threads) > 1 and spec.cores > max(threads.values()):
            raise InvalidSpec(
                f"a task asks for cores={spec.cores}, but no host of the Dask cluster has more than "
                f"{max(threads.values())} threads of Dask workers; ask for fewer."
            )
        known = "MEMORY" not in wishes and len(threads) > 1 and all(offer.memory for offer in offers)
        if spec.memory and known and spec.memory > max(memory.values()):
            raise InvalidSpec(
                f"a task asks for {spec.memory / 1e9:.1f} GB of memory, but no host of the Dask cluster has "
                f"more than {max(memory.values()) / 1e9:.1f} GB for its Dask workers; ask for less."
            )


class Choosy:
    """A task that not every Dask worker can take.

    Parameters
    ----------
    wishes
        The resources it needs.
    """

    def __init__(self, wishes: Mapping[str, float]) -> None:
        self._wishes = wishes
        self._since: float | None = None

    def waits_in_vain(self, supply: Supply) -> bool:
        """Tell whether there has been nobody for it for a while."""
        if supply.has(self._wishes):
            self._since = None
        elif self._since is None:
            self._since = time.monotonic()
        return self._since is not None and time.monotonic() - self._since > PATIENCE

    def __str__(self) -> str:
        return _words(self._wishes)


def _words(resources: Mapping[str, float]) -> str:
    return " ".join(f"{name}={amount:g}" for name, amount in resources.items())
