"""On which hosts servers are spawned: a hostfile, or the list of a PBS job."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from socket import getfqdn

from parallactic.errors import InvalidSpec
from parallactic.worker.namespace import hostname

__all__ = ["Host", "is_here", "place", "read_hosts"]

_OPTION = re.compile(r"(slots|max[-_]slots)\s*=\s*(\S+)")


@dataclass(frozen=True)
class Host:
    """A host, and how many servers it takes.

    Parameters
    ----------
    name
        As the launcher reaches it.
    slots
        Servers it gets before any host gets more.
    most
        Servers it takes at most; None means any number.
    """

    name: str
    slots: int = 1
    most: int | None = None


def read_hosts(hostfile: Path | None) -> list[Host]:
    """Read a hostfile of Open MPI's form, else the file that PBS or Torque names in ``$PBS_NODEFILE``.

    Raises
    ------
    InvalidSpec
        If the file cannot be read, or a line of it cannot be understood.
    """
    path = hostfile or (Path(os.environ["PBS_NODEFILE"]) if os.environ.get("PBS_NODEFILE") else None)
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSpec(f"the hostfile {str(path)!r} cannot be read: {error}.") from error
    hosts = [
        host
        for number, line in enumerate(lines, 1)
        if (host := _host(line, f"{path}, line {number}")) is not None
    ]
    if not hosts:
        raise InvalidSpec(f"the hostfile {str(path)!r} names no host.")
    return _merged(hosts)


def _host(line: str, place: str) -> Host | None:
    text = line.partition("#")[0].strip()
    if not text:
        return None
    options: dict[str, int] = {}
    for name, value in _OPTION.findall(text):
        if not value.isdecimal() or int(value) < 1:
            raise InvalidSpec(f"{place}: {name}={value} must be a number of at least 1.")
        options[name.replace("_", "-")] = int(value)
    words = _OPTION.sub("", text).split()
    if len(words) != 1:
        raise InvalidSpec(
            f"{place}: {text!r} is not understood; a line is: HOST slots=N max-slots=M, "
            "the last two if wanted."
        )
    slots, most = options.get("slots", 1), options.get("max-slots")
    if most is not None and most < slots:
        raise InvalidSpec(f"{place}: max-slots={most} is less than slots={slots}.")
    return Host(words[0], slots, most)


def _merged(hosts: list[Host]) -> list[Host]:
    """Add up the lines of each host: PBS repeats a host once for every processor."""
    slots: Counter[str] = Counter()
    most: dict[str, int | None] = {}
    for host in hosts:
        slots[host.name] += host.slots
        before = most.get(host.name, 0)
        most[host.name] = None if host.most is None or before is None else before + host.most
    return [Host(name, slots[name], most[name]) for name in slots]


def is_here(name: str) -> bool:
    """Tell whether a host of a list is this one."""
    return name in ("localhost", "127.0.0.1", "::1", hostname(), hostname().partition(".")[0], getfqdn())


def place(hosts: list[Host], workers: int | None) -> list[str]:
    """Return the host of each server: slots first, in the order of the file, then one more each in turn.

    Raises
    ------
    InvalidSpec
        If the hosts do not take so many.
    """
    wanted = workers or sum(host.slots for host in hosts)
    placed = [host.name for host in hosts for _ in range(host.slots)][:wanted]
    filled = Counter(placed)
    while len(placed) < wanted:
        open_hosts = [host for host in hosts if host.most is None or filled[host.name] < host.most]
        if not open_hosts:
            raise InvalidSpec(
                f"workers={wanted} do not fit: the hostfile has room for {len(placed)}; "
                "raise its max-slots or ask for fewer."
            )
        for host in open_hosts[: wanted - len(placed)]:
            placed.append(host.name)
            filled[host.name] += 1
    return placed
