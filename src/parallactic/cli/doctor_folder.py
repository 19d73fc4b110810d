"""Whether a folder is one and the same for all workers, and whether locks in it hold between them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, TypeVar

from parallactic.backend import Check
from parallactic.cli.doctor_tasks import filesystem_of, hold_lock, look_at_folder, release_lock, try_lock
from parallactic.worker.ranks import without_launcher

if TYPE_CHECKING:
    from parallactic.cli.doctor_workers import Crew

__all__ = ["check_folder"]

T = TypeVar("T")

_IN_MEMORY = ("tmpfs", "ramfs")
_PATIENCE = 5.0
"""Seconds after which a file that others wrote counts as not there; NFS caches for 3 to 60 s, mostly 3."""
_LATE = 1.0
_NOT_SHARED = (
    "give --folder a folder on the disk that all hosts mount, and keep data there; in a container bind it "
    "(singularity exec --bind, docker run -v)."
)
_NO_LOCKS = (
    "casacore cannot lock tables there. NFS: run rpc.statd, no option nolock; Lustre: mount with -o flock; "
    "else use another file system."
)


def check_folder(crew: Crew, folder: Path) -> Iterator[Check]:
    """Yield whether all workers see the folder, and whether locks work there."""
    try:
        place = Path(within(crew.seconds, mkdtemp, prefix=".parallactic-doctor-", dir=folder))
    except TimeoutError:
        yield Check(
            "folder",
            "failure",
            f"{folder} does not answer within {crew.seconds:.0f} s",
            "its file server may be down: ls the folder, ask who runs it.",
        )
        return
    except OSError as error:
        yield Check(
            "folder",
            "failure",
            f"{folder} cannot be written by this process: {error.strerror}",
            "choose with --folder one where you may write, or mount it for writing.",
        )
        return
    try:
        visible = _visible(crew, folder, place)
        yield visible
        if visible.state == "failure":
            yield Check("locks", "warning", "not tried: the folder is not the same everywhere", _NOT_SHARED)
        else:
            yield _locks(crew, place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def within(seconds: float, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Return what a function returns; a call into a file system may never.

    Raises
    ------
    TimeoutError
        If it takes longer.
    """
    outcome: list[T] = []
    problem: list[Exception] = []

    def run() -> None:
        try:
            outcome.append(function(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  (raised again below, on the thread that waits)
            problem.append(error)

    thread = threading.Thread(target=run, name="parallactic-doctor", daemon=True)
    thread.start()
    thread.join(seconds)
    if problem:
        raise problem[0]
    if not outcome:
        raise TimeoutError
    return outcome[0]


def _visible(crew: Crew, folder: Path, place: Path) -> Check:
    token = os.urandom(8).hex()
    (place / "client").write_text(token, encoding="utf-8")
    answers = {
        member["worker"]: crew.executor.target(member["worker"]).submit(
            look_at_folder, str(place), token, f"worker-{member['worker']}", _PATIENCE
        )
        for member in crew.members
    }
    looks = {number: future.result(crew.seconds + _PATIENCE) for number, future in answers.items()}
    problems: dict[str, list[dict[str, Any]]] = {}
    for member in crew.members:
        if problem := looks[member["worker"]]["problem"]:
            problems.setdefault(problem, []).append(member)
    if problems:
        told = "; ".join(
            f"{', '.join(crew.name(member) for member in members)}: {problem}"
            for problem, members in problems.items()
        )
        return Check("folder", "failure", f"{folder} is not shared by all workers. {told}", _NOT_SHARED)
    absent, late = _answers(place, [f"worker-{number}" for number in looks])
    if absent:
        return Check(
            "folder",
            "failure",
            f"{folder}: this process does not see what {', '.join(absent)} wrote",
            _NOT_SHARED,
        )
    late = max(late, *(look["waited"] for look in looks.values()))
    kinds = sorted({filesystem_of(folder), *(look["filesystem"] for look in looks.values())})
    free = shutil.disk_usage(folder).free / 1e9
    found = f"{folder} ({', '.join(kinds)}, {free:.0f} GB free) is the same for this process and all workers"
    if late > _LATE:
        return Check(
            "folder",
            "warning",
            f"{found}, but a new file appears only after {late:.1f} s",
            "mount it with a shorter attribute cache (NFS: actimeo=1), or expect waits at steps of a recipe.",
        )
    if any(kind in _IN_MEMORY for kind in kinds):
        return Check(
            "folder",
            "warning",
            f"{found}; it lies in memory",
            "products there take memory from the workers, and are gone after a restart.",
        )
    return Check("folder", "ok", found)


def _answers(place: Path, names: Sequence[str]) -> tuple[list[str], float]:
    """Wait for files; return the names of those that do not come, and how long the last took."""
    begun = time.monotonic()
    while True:
        absent = [name for name in names if not (place / name).exists()]
        waited = time.monotonic() - begun
        if not absent or waited > _PATIENCE:
            return absent, waited
        time.sleep(0.05)


# Locks


class _Client:
    """The part of this process: a child holds the lock, since a call for a lock may hang."""

    name = "this process"

    def __init__(self, path: Path, seconds: float) -> None:
        self._path, self._seconds = path, seconds
        self._child: subprocess.Popen[str] | None = None

    def hold(self, kind: str) -> str:
        """Take a lock in a child and keep it."""
        code = (
            "import sys\n"
            f"sys.path[:] = {sys.path!r}\n"
            "from parallactic.cli.doctor_tasks import take_lock\n"
            "file = open(sys.argv[1], 'r+b')\n"
            "print(take_lock(file, sys.argv[2]), flush=True)\n"
            "sys.stdin.read()\n"
        )
        self._child = subprocess.Popen(
            [sys.executable, "-c", code, str(self._path), kind],
            env=without_launcher(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._child.stdout is not None
        return within(self._seconds, self._child.stdout.readline).strip()

    @property
    def process(self) -> tuple[str, int]:
        """Host and process that hold the lock."""
        assert self._child is not None
        return socket.gethostname(), self._child.pid

    def release(self) -> None:
        """End the child, and its lock with it."""
        if self._child is not None:
            try:
                self._child.communicate(timeout=self._seconds)
            except subprocess.TimeoutExpired:
                self._child.kill()
            self._child = None


class _Worker:
    """A worker's part: it holds the lock in its namespace."""

    def __init__(self, crew: Crew, member: dict[str, Any], path: Path) -> None:
        self._crew, self._member, self._path = crew, member, path
        self.name = crew.name(member)
        self.process = (member["host"], member["pid"])

    def hold(self, kind: str) -> str:
        """Take a lock and keep it."""
        outcome: str = self._crew.on(self._member["worker"], hold_lock, str(self._path), kind)
        return outcome

    def release(self) -> None:
        """Give it back."""
        self._crew.on(self._member["worker"], release_lock)

    def attempt(self, kind: str, holder: tuple[str, int]) -> str:
        """Take a lock and give it back."""
        outcome: str = self._crew.on(
            self._member["worker"], try_lock, str(self._path), kind, holder, self._crew.seconds
        )
        return outcome


def _locks(crew: Crew, place: Path) -> Check:
    """Lock as casacore does, readers together and a writer alone: this process and a worker, two workers."""
    path = place / "table.lock"
    path.write_bytes(bytes(64))
    workers = [_Worker(crew, member, path) for member in crew.one_of_each_host()]
    others = [_Worker(crew, member, path) for member in crew.members]
    second = workers[1] if len(workers) > 1 else others[1] if len(others) > 1 else None
    pairs: list[tuple[_Client | _Worker, _Worker]] = [(_Client(path, crew.seconds), one) for one in workers]
    if second is not None:
        pairs.append((others[0], second))
    for holder, other in pairs:
        try:
            problem = _pair(holder, other)
        except TimeoutError:
            problem = f"{holder.name} and {other.name}: a call for a lock did not come back"
        if problem:
            return Check("locks", "failure", problem, _NO_LOCKS)
    told = f"hold between this process and workers on {', '.join(crew.hosts)}"
    if second is not None:
        told += f", and between {others[0].name} and {second.name}"
    return Check("locks", "ok", f"fcntl locks, as casacore uses them, {told}")


def _pair(holder: _Client | _Worker, other: _Worker) -> str:
    """Return what is wrong with locks between two, an empty string if nothing."""
    try:
        taken = holder.hold("read")
        if taken != "granted":
            return f"{holder.name} cannot lock a file: {taken}"
        shared = other.attempt("read", holder.process)
        if shared != "granted":
            return f"{other.name} cannot read-lock what {holder.name} read-locks: {shared}"
        excluded = other.attempt("write", holder.process)
        if excluded != "refused":
            return (
                f"{other.name} may write-lock what {holder.name} read-locks ({excluded}): "
                "locks do not hold between them"
            )
    finally:
        holder.release()
    freed = other.attempt("write", holder.process if isinstance(holder, _Worker) else ("", 0))
    return "" if freed == "granted" else f"{other.name} cannot lock what {holder.name} has released: {freed}"
