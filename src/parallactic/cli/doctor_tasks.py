"""What the doctor runs on workers: small functions that look around and return plain values."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import psutil

from parallactic.worker.namespace import namespace, worker
from parallactic.worker.ranks import without_launcher

__all__ = [
    "addresses_of",
    "call_back",
    "echo",
    "filesystem_of",
    "hold_lock",
    "look_at_folder",
    "measure",
    "release_lock",
    "resolve",
    "take_lock",
    "try_lock",
    "versions",
    "who",
]

_PACKAGES = ("parallactic", "numpy", "cloudpickle")
"""Packages whose versions must agree between the client and its workers."""

Kind = Literal["read", "write"]


def who() -> dict[str, Any]:
    """Return which worker this is, and with what it runs."""
    info = worker()
    return {
        "worker": info.id,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "cores": info.cores,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that must agree."""
    found = {"Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def echo(value: Any) -> Any:
    """Return what was sent."""
    return value


# Host


def measure() -> dict[str, Any]:
    """Return what this process may use of its host, in bytes and counts."""
    memory = psutil.virtual_memory()
    shared = Path("/dev/shm")
    usage = shutil.disk_usage(shared) if shared.is_dir() else None
    temporary = Path(tempfile.gettempdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {
        "memory": memory.total,
        "available": memory.available,
        "memory_limit": memory_limit(),
        "open_files": (soft, hard),
        "processes": resource.getrlimit(resource.RLIMIT_NPROC)[0],
        "shared_memory": None if usage is None else (usage.total, usage.free),
        "temporary": str(temporary),
        "temporary_free": shutil.disk_usage(temporary).free,
        "cores": len(psutil.Process().cpu_affinity() or [0]),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
    }


def memory_limit(
    root: Path = Path("/sys/fs/cgroup"), entries: Path = Path("/proc/self/cgroup")
) -> int | None:
    """Return the least limit of memory that a cgroup sets for this process, in bytes, None without one.

    Parameters
    ----------
    root
        Where cgroups are mounted.
    entries
        The file that names those of this process.
    """
    if not entries.exists():
        return None
    limits = []
    for line in entries.read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory") and "memory" not in controllers.split(","):
            continue
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        top = root / "memory" if controllers else root
        folder = top / path.lstrip("/")
        # A parent's limit binds as well; in a container the own path may not exist, the top does.
        for place in (folder, *folder.parents):
            file = place / name
            if file.is_file() and (text := file.read_text(encoding="utf-8").strip()) != "max":
                limits.append(int(text))
            if place == top:
                break
    # Without a limit cgroup v1 says a number near 2^63.
    return min((limit for limit in limits if limit < 1 << 60), default=None)


def resolve(names: Sequence[str]) -> dict[str, list[str] | str]:
    """Return the addresses of each name, or what the resolver says where there are none."""
    found: dict[str, list[str] | str] = {}
    for name in names:
        try:
            found[name] = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(name, None)})
        except OSError as error:
            found[name] = error.strerror or str(error)
    return found


def addresses_of() -> list[tuple[str, str]]:
    """Return interface and address of every network interface that is up; the loopback only if alone."""
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    found = [
        (name, address.address)
        for name, addresses in psutil.net_if_addrs().items()
        for address in addresses
        if name in up and address.family == socket.AF_INET
    ]
    outside = [(name, address) for name, address in found if not address.startswith("127.")]
    return outside or found


def call_back(addresses: Sequence[tuple[str, int]], seconds: float) -> dict[str, str]:
    """Connect to each address of the client; return what went wrong, an empty string where it answered."""
    outcome = {}
    for host, port in addresses:
        token = os.urandom(32)
        try:
            with socket.create_connection((host, port), timeout=seconds) as connection:
                connection.sendall(token)
                answer = connection.recv(32, socket.MSG_WAITALL)
            outcome[host] = "" if answer == sha256(token).digest() else "somebody else answers there"
        except OSError as error:
            outcome[host] = error.strerror or str(error)
    return outcome


# Folder


def filesystem_of(folder: Path) -> str:
    """Return the type of file system a folder lies on, ``unknown`` if the host does not say."""
    folder = folder.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if folder.is_relative_to(part.mountpoint)]
    # The last of those mounted on one point is what is seen.
    deepest = max((len(part.mountpoint) for part in mounts), default=0)
    return next((part.fstype for part in reversed(mounts) if len(part.mountpoint) == deepest), "unknown")


def look_at_folder(folder: str, token: str, answer: str, seconds: float) -> dict[str, Any]:
    """Read what the client has written into a folder, and write an answer beside it.

    Parameters
    ----------
    folder
        The folder that the client has made.
    token
        What the client wrote into ``client``.
    answer
        What to write, and under which name.
    seconds
        How long to wait for the file to appear.

    Returns
    -------
    dict
        ``problem`` (empty if all is well), ``waited`` in seconds, ``filesystem``.
    """
    place = Path(folder)
    begun = time.monotonic()
    problem = "the file of the client is not there"
    while True:
        try:
            problem = (
                "" if (place / "client").read_text(encoding="utf-8") == token else "there is another file"
            )
        except FileNotFoundError:
            if not place.parent.is_dir():
                problem = f"there is no folder {place.parent}"
        except OSError as error:
            problem = f"it cannot be read: {error.strerror}"
        waited = time.monotonic() - begun
        if not problem or waited > seconds:
            break
        time.sleep(0.05)
    if not problem:
        try:
            (place / answer).write_text(answer, encoding="utf-8")
        except OSError as error:
            problem = f"it cannot be written: {error.strerror}"
    return {"problem": problem, "waited": waited, "filesystem": filesystem_of(place.parent)}


# Locks. casacore locks bytes of the file table.lock by fcntl: shared to read, alone to write.


def take_lock(file: Any, kind: Kind) -> str:
    """Lock the first byte of an open file without waiting; return ``granted``, ``refused`` or the error."""
    how = fcntl.LOCK_SH if kind == "read" else fcntl.LOCK_EX
    try:
        fcntl.lockf(file, how | fcntl.LOCK_NB, 1, 0)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return "refused"
        return f"{errno.errorcode.get(error.errno or 0, '?')}: {error.strerror}"
    return "granted"


def hold_lock(path: str, kind: Kind) -> str:
    """Take a lock and keep it in this worker's namespace."""
    file = Path(path).open("r+b")  # noqa: SIM115  (it stays open: closing it would end the lock)
    namespace()["_doctor_lock"] = file
    return take_lock(file, kind)


def release_lock() -> None:
    """Give back what `hold_lock` took."""
    namespace().pop("_doctor_lock").close()


_TRY = """
import sys
sys.path[:] = {path!r}
from parallactic.cli.doctor_tasks import take_lock
with open(sys.argv[1], "r+b") as file:
    print(take_lock(file, sys.argv[2]))
"""


def try_lock(path: str, kind: Kind, holder: tuple[str, int], seconds: float) -> str:
    """Take a lock, give it back, and return the outcome.

    Parameters
    ----------
    path, kind
        Which lock.
    holder
        Host and process that hold another. The locks of one process do not exclude each other, so if it is
        this one a child tries.
    seconds
        How long the child may take.
    """
    if holder != (socket.gethostname(), os.getpid()):
        with Path(path).open("r+b") as file:
            return take_lock(file, kind)
    child = subprocess.run(
        [sys.executable, "-c", _TRY.format(path=sys.path), path, kind],
        env=without_launcher(os.environ),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return child.stdout.strip()
