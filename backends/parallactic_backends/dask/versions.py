"""Whether the scheduler and the workers of a cluster have the versions that the client has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distributed.versions import get_versions

__all__ = ["Difference", "compare", "versions_of"]

_OUR_OWN = "parallactic"
_BREAKING = (_OUR_OWN, "python", "dask", "distributed")
"""What the library and Dask exchange is pickled by these, and changes from one release to the next."""

_ALSO = ("cloudpickle", "msgpack", "numpy")


@dataclass(frozen=True)
class Difference:
    """A version that differs from the client's.

    Parameters
    ----------
    package
        Of what.
    here
        The client's version.
    there
        What is there instead, and with whom.
    """

    package: str
    here: str
    there: Mapping[str, tuple[str, ...]]

    @property
    def breaking(self) -> bool:
        """Whether nothing can run before it is put right."""
        return self.package in _BREAKING

    def __str__(self) -> str:
        told = []
        for version, where in self.there.items():
            who = where[0] if len(where) == 1 else f"{where[0]} and {len(where) - 1} more"
            told.append(f"{version or 'not installed'} in the {who}")
        return f"{self.package} is {', '.join(told)}; here it is {self.here}"


def versions_of(client: Any, seconds: float) -> dict[str, Any]:
    """Return what the scheduler and the workers of a client's cluster say of their versions.

    Raises
    ------
    TimeoutError
        If one of them does not answer.
    """
    scheduler = client.scheduler
    told = {"scheduler": client.sync(scheduler.versions, packages=[_OUR_OWN], callback_timeout=seconds)}
    workers = client.sync(
        scheduler.broadcast,
        msg={"op": "versions", "packages": [_OUR_OWN]},
        on_error="ignore",
        callback_timeout=seconds,
    )
    return told | {f"worker {address}": versions for address, versions in workers.items() if versions}


def compare(told: Mapping[str, Any]) -> list[Difference]:
    """Return how the versions of a cluster differ from those of this process."""
    own = _short(get_versions(packages=[_OUR_OWN])["packages"])
    theirs = {where: _short(versions["packages"]) for where, versions in told.items()}
    found = []
    for package in (*_BREAKING, *_ALSO):
        there: dict[str, tuple[str, ...]] = {}
        for where, versions in theirs.items():
            # A scheduler runs no tasks: of libraries for these it needs none.
            if versions[package] != own[package] and (package != "numpy" or where != "scheduler"):
                there[versions[package]] = (*there.get(versions[package], ()), where)
        if there:
            found.append(Difference(package, own[package], there))
    return found


def _short(packages: Mapping[str, str | None]) -> dict[str, str]:
    """Return versions as text; of Python's the two numbers that matter."""
    short = {package: packages.get(package) or "" for package in (*_BREAKING, *_ALSO)}
    return short | {"python": ".".join(short["python"].split(".")[:2])}
