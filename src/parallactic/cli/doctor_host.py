"""What the doctor says of one host: Python, packages, memory, files, threads."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from parallactic import __version__
from parallactic.backend import Check

__all__ = ["check_host", "check_python", "missing_of_extras"]

GB = 1e9
_LEAST_MEMORY = 1 * GB
_LEAST_FILES = 4096
_LEAST_PROCESSES = 1024
_LEAST_SHARED = 0.25 * GB
_LEAST_TEMPORARY = 1 * GB
_LONGEST_TEMPORARY = 60
"""Letters: below it come the names of sockets, and a path of a socket has 107 at most."""


def missing_of_extras() -> dict[str, list[str]]:
    """Return for every extra of this distribution the packages that are not installed."""
    missing: dict[str, list[str]] = {}
    for line in requires("parallactic") or []:
        match = re.match(r"([A-Za-z0-9._-]+).*;.*extra == ['\"]([\w-]+)['\"]", line)
        if match is None or match[2] in ("all", "dev"):
            continue
        absent = missing.setdefault(match[2], [])
        if not _wanted(line):
            continue
        try:
            version(match[1])
        except PackageNotFoundError:
            absent.append(match[1])
    return missing


def _wanted(line: str) -> bool:
    """Return whether a requirement holds for this Python."""
    bound = re.search(r"python_version < ['\"](\d+)\.(\d+)['\"]", line)
    return bound is None or sys.version_info[:2] < (int(bound[1]), int(bound[2]))


def check_python() -> Iterator[Check]:
    """Yield what this Python is and which extras it has."""
    yield Check("Python", "ok", f"{platform.python_version()}, {sys.executable}; Parallactic {__version__}")
    missing = missing_of_extras()
    there = [name for name, absent in missing.items() if not absent]
    found = f"installed: {', '.join(there) or 'none'}"
    lacking = [f"{name} ({', '.join(absent)})" for name, absent in missing.items() if absent]
    if lacking:
        found += f"; not installed: {', '.join(lacking)}"
    if missing.get("tasks"):
        advice = "pip install 'parallactic[tasks]': without it there is the Executor alone."
        yield Check("extras", "warning", found, advice)
    else:
        advice = "pip install 'parallactic[NAME]' for those that you need." if lacking else ""
        yield Check("extras", "ok", found, advice)


def check_host(measured: Mapping[str, Any], workers: int = 0, threads: int = 1) -> Iterator[Check]:
    """Yield what a host offers.

    Parameters
    ----------
    measured
        What `measure` returned there.
    workers
        How many workers run on it.
    threads
        How many threads each may use.
    """
    yield _memory(measured, workers)
    soft, hard = measured["open_files"]
    text = "unlimited" if hard < 0 else f"{hard}"
    yield Check(
        "open files",
        "warning" if 0 <= hard < _LEAST_FILES else "ok",
        f"at most {soft}, and {text} if a process asks for more",
        f"ulimit -n {_LEAST_FILES} or more: a multi-MS of 100 parts and large arrays need one each, and more."
        if 0 <= hard < _LEAST_FILES
        else "",
    )
    if 0 <= measured["processes"] < _LEAST_PROCESSES:
        yield Check(
            "processes",
            "warning",
            f"at most {measured['processes']} processes and threads",
            f"ulimit -u {_LEAST_PROCESSES} or more; libraries with many threads fail to start otherwise.",
        )
    yield _shared_memory(measured)
    yield _temporary(measured)
    yield _threads(measured, workers, threads)


def _memory(measured: Mapping[str, Any], workers: int) -> Check:
    total, limit = measured["memory"], measured["memory_limit"]
    usable = min(total, limit or total)
    share = usable / max(workers, 1)
    found = f"{total / GB:.1f} GB, {measured['available'] / GB:.1f} GB free"
    if limit is not None and limit < total:
        found += f", limited to {limit / GB:.1f} GB for this job or container"
    if workers:
        found += f": {share / GB:.1f} GB for each worker"
    if share < _LEAST_MEMORY or measured["available"] < _LEAST_MEMORY:
        return Check(
            "memory", "warning", found, "fewer workers, or more memory: flagging needs about 1 GB each."
        )
    return Check("memory", "ok", found)


def _shared_memory(measured: Mapping[str, Any]) -> Check:
    shared = measured["shared_memory"]
    if shared is None:
        return Check(
            "shared memory", "warning", "there is no /dev/shm", "mount it: MPI passes messages through it."
        )
    total, free = shared
    found = f"/dev/shm has {total / GB:.2f} GB, {free / GB:.2f} GB free"
    if free < _LEAST_SHARED:
        advice = "docker run --shm-size=2g, or remove what fills it: MPI passes messages through it."
        return Check("shared memory", "warning", found, advice)
    return Check("shared memory", "ok", found)


def _temporary(measured: Mapping[str, Any]) -> Check:
    path, free = measured["temporary"], measured["temporary_free"]
    found = f"{path}, {free / GB:.1f} GB free"
    if len(path) > _LONGEST_TEMPORARY:
        advice = "export TMPDIR=/tmp: sockets lie there, and the system allows their paths 107 letters."
        return Check("temporary folder", "warning", found, advice)
    if free < _LEAST_TEMPORARY:
        return Check(
            "temporary folder", "warning", found, "make room, or let TMPDIR name a folder on a larger disk."
        )
    return Check("temporary folder", "ok", found)


def _threads(measured: Mapping[str, Any], workers: int, threads: int) -> Check:
    cores = measured["cores"]
    found = f"{cores} usable cores"
    if workers:
        found += f"; workers here: {workers}, of {threads} thread{'s' if threads != 1 else ''}"
        if workers * threads > cores:
            advice = f"{max(1, cores // threads)} workers use all cores; more of them wait for each other."
            return Check("threads", "warning", found, advice)
    elif measured["threads"]:
        found += f", OMP_NUM_THREADS={measured['threads']}"
    return Check("threads", "ok", found)
