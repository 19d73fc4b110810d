"""What the doctor finds out by tasks on the workers: hosts, versions, speed, and what each of them offers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parallactic.backend import Check
from parallactic.cli.doctor_folder import check_folder
from parallactic.cli.doctor_host import check_host
from parallactic.cli.doctor_ports import check_ports
from parallactic.cli.doctor_tasks import echo, measure, resolve, versions, who
from parallactic.errors import ParallacticError
from parallactic.executor import Executor

__all__ = ["Crew", "examine"]

_ROUNDS = 20
_SLOW = 0.1
_LARGE = 8_000_000


@dataclass(frozen=True)
class Crew:
    """The workers, and how long they may take for one thing.

    Parameters
    ----------
    executor
        What they work for.
    members
        What each said of itself: number, host, process, cores, versions.
    seconds
        Limit for one round of tasks.
    """

    executor: Executor
    members: Sequence[dict[str, Any]]
    seconds: float

    @property
    def hosts(self) -> list[str]:
        """Their hosts, each once."""
        return list(dict.fromkeys(member["host"] for member in self.members))

    def one_of_each_host(self) -> list[dict[str, Any]]:
        """Return one worker of every host."""
        return list({member["host"]: member for member in reversed(self.members)}.values())[::-1]

    def on(self, number: int, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function on one worker and return its value."""
        return self.executor.target(number).submit(function, *args).result(self.seconds)

    def name(self, member: dict[str, Any]) -> str:
        """Return how a worker is called in a sentence."""
        return f"worker {member['worker']} on {member['host']}"


def examine(executor: Executor, folder: Path, seconds: float, host: dict[str, Any]) -> Iterator[Check]:
    """Yield what the workers of an executor have and see.

    Parameters
    ----------
    executor
        With the workers to be looked at.
    folder
        The folder that all must see.
    seconds
        How long they may take to start, and then for each round of tasks.
    host
        What was measured on the client's host, and under ``name`` what it is called.
    """
    if not executor.capabilities.targets:
        yield Check(
            "workers",
            "warning",
            f"backend {executor.backend!r} addresses no single worker: only this host was examined",
            "run the doctor inside a task or a job of it.",
        )
        return
    try:
        everyone = executor.target("all").submit(who).result(seconds)
    except NotInTime:
        yield Check(
            "workers",
            "failure",
            f"not all {executor.max_workers} workers answered within {seconds:.0f} s{_last_words(executor)}",
            "if they only start slowly give them longer: --timeout 300.",
        )
        return
    except ParallacticError as error:
        yield Check("workers", "failure", str(error), "the other lines may say why.")
        return
    crew = Crew(executor, everyone, seconds)
    count = len(everyone)
    yield Check(
        "workers",
        "ok",
        f"{count} worker{'s' if count > 1 else ''} on {', '.join(crew.hosts)}",
    )
    for check in (
        _versions,
        lambda crew: _host_names(crew, host["name"]),
        _round_trip,
        lambda crew: check_folder(crew, folder),
        lambda crew: check_ports(crew, host["name"]),
        lambda crew: _resources(crew, host),
    ):
        try:
            yield from check(crew)
        except NotInTime:
            yield Check(
                "workers",
                "failure",
                f"one that had answered before did not answer within {seconds:.0f} s{_last_words(executor)}",
                "a file system or a name server may hang: ls the folder, ping the hosts by name.",
            )
        except ParallacticError as error:
            yield Check("workers", "failure", str(error), "try again; if it happens again, report it.")


def _last_words(executor: Executor) -> str:
    """Return the last line of every log of a worker that has one."""
    logs = sorted(executor.run_dir.glob("worker-*.log"))
    texts = {log.name: log.read_text(encoding="utf-8", errors="replace").strip() for log in logs}
    return "".join(f"; {name} ends with {text.splitlines()[-1]!r}" for name, text in texts.items() if text)


def _versions(crew: Crew) -> Iterator[Check]:
    own = versions()
    different = []
    for member in crew.members:
        for name, theirs in member["versions"].items():
            if theirs != own[name]:
                different.append((name, f"{crew.name(member)} has {name} {theirs}, this process {own[name]}"))
    if not different:
        yield Check("versions", "ok", ", ".join(f"{name} {number}" for name, number in own.items()))
        return
    breaking = any(name in ("Python", "parallactic") for name, _ in different)
    yield Check(
        "versions",
        "failure" if breaking else "warning",
        "; ".join(text for _, text in different),
        "use one environment everywhere: functions and arrays travel between these versions.",
    )


def _host_names(crew: Crew, here: str) -> Iterator[Check]:
    names = list(dict.fromkeys([here, *crew.hosts]))
    views = {"this process": resolve(names)}
    for member in crew.one_of_each_host():
        views[crew.name(member)] = crew.on(member["worker"], resolve, names)
    unknown = [
        f"{viewer} cannot resolve {name!r} ({found})"
        for viewer, view in views.items()
        for name, found in view.items()
        if isinstance(found, str)
    ]
    several = len(names) > 1
    if unknown:
        yield Check(
            "host names",
            "failure" if several else "warning",
            "; ".join(dict.fromkeys(unknown)),
            "put the name and its address into /etc/hosts or the name server: MPI and schedulers use names.",
        )
        return
    own = views["this process"]
    loops = [name for name in names if all(str(address).startswith("127.") for address in own[name])]
    found = ", ".join(f"{name} is {' '.join(own[name])}" for name in names)
    if several and loops:
        yield Check(
            "host names",
            "warning",
            found,
            f"{', '.join(loops)} resolves to this host's loopback, where others reach nothing: "
            "correct /etc/hosts.",
        )
    else:
        yield Check("host names", "ok", found)


def _round_trip(crew: Crew) -> Iterator[Check]:
    number = crew.members[-1]["worker"]
    times = []
    for _ in range(_ROUNDS):
        begun = time.perf_counter()
        crew.on(number, echo, None)
        times.append(time.perf_counter() - begun)
    block = np.arange(_LARGE // 8, dtype=np.float64)
    begun = time.perf_counter()
    same = np.array_equal(crew.on(number, echo, block), block)
    large = time.perf_counter() - begun
    if not same:
        yield Check("messages", "failure", "an array came back changed", "report it: this must not happen.")
        return
    median = statistics.median(times)
    found = f"a small task takes {median * 1e3:.2g} ms, 8 MB there and back {large * 1e3:.0f} ms"
    if median > _SLOW:
        yield Check("messages", "warning", found, "let each task do more: many small ones will wait.")
    else:
        yield Check("messages", "ok", found)


def _resources(crew: Crew, host: dict[str, Any]) -> Iterator[Check]:
    for member in crew.one_of_each_host():
        there = [other for other in crew.members if other["host"] == member["host"]]
        workers = len({other["pid"] for other in there})
        local = member["host"] == host["name"]
        measured = crew.on(member["worker"], measure)
        for check in check_host(measured, workers, member["cores"]):
            name = check.name if local else f"{check.name} of {member['host']}"
            yield Check(name, check.state, check.found, check.advice)
