"""What an executor must not leave behind: processes, threads, descriptors, temporary files."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from parallactic.testing.waiting import settles

__all__ = ["Snapshot", "private_temporary_folder", "shared_memory"]


@dataclass(frozen=True)
class Snapshot:
    """What this process holds at one moment."""

    children: frozenset[psutil.Process]
    threads: frozenset[threading.Thread]
    descriptors: Counter[str]
    files: frozenset[str]

    @classmethod
    def take(cls) -> Snapshot:
        """Look around."""
        return cls(
            frozenset(psutil.Process().children(recursive=True)),
            frozenset(thread for thread in threading.enumerate() if thread.name.startswith("parallactic")),
            _descriptors(),
            _temporary_files(),
        )

    def left(self) -> str:
        """Tell what is there now and was not there then; an empty string if nothing is."""
        now = Snapshot.take()
        found = []
        if processes := [_name(child) for child in now.children - self.children if _alive(child)]:
            found.append(f"processes {processes}")
        if threads := [thread.name for thread in now.threads - self.threads if thread.is_alive()]:
            found.append(f"threads {threads}")
        if descriptors := now.descriptors - self.descriptors:
            found.append(f"file descriptors {dict(descriptors)}")
        if files := now.files - self.files:
            found.append(f"temporary files {sorted(files)}")
        return "; ".join(found)

    def assert_nothing_left(self, seconds: float = 5.0) -> None:
        """Fail if something is left after `seconds`; what is on its way out may take its time."""
        if settles(lambda: not self.left(), 0.05):
            return
        gc.collect()
        settles(lambda: not self.left(), seconds)
        left = self.left()
        assert not left, f"left behind: {left}"


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE or os.getpid() == process.ppid())
    except psutil.NoSuchProcess:
        return False


def _name(process: psutil.Process) -> str:
    try:
        return f"{process.pid}: {' '.join(process.cmdline())[:80]}"
    except psutil.Error:
        return str(process.pid)


def _descriptors() -> Counter[str]:
    """Count open descriptors by what they are; sockets, pipes and events have numbers that say nothing."""
    kinds: Counter[str] = Counter()
    for entry in os.scandir("/proc/self/fd"):
        try:
            target = Path(entry.path).readlink()
        except OSError:
            continue  # the descriptor of this listing itself
        name = str(target)
        kinds[name if name.startswith(("/", "anon_inode")) else name.partition(":")[0]] += 1
    return kinds


def _temporary_files() -> frozenset[str]:
    return frozenset(entry.path for entry in os.scandir(tempfile.gettempdir()))


@contextlib.contextmanager
def private_temporary_folder() -> Iterator[None]:
    """Let this process and those it starts put temporary files into a folder of their own.

    Whatever lies there afterwards is theirs, though others use the temporary folder of this host meanwhile.
    """
    variable, attribute = os.environ.get("TMPDIR"), tempfile.tempdir
    folder = tempfile.mkdtemp(prefix="plx-")
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    try:
        yield
    finally:
        tempfile.tempdir = attribute
        if variable is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = variable
        shutil.rmtree(folder)


def shared_memory(own: Iterable[int] = ()) -> frozenset[str]:
    """Return the names of this user's shared memory, but for what others use at the moment.

    Others are all living processes but `own`: tests that run beside this one may have servers.
    """
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return frozenset()
    names = {entry.name for entry in os.scandir(folder) if entry.stat().st_uid == os.getuid()}
    for pid in set(psutil.pids()) - set(own):
        names -= _used_by(pid)
    return frozenset(names)


def _used_by(pid: int) -> set[str]:
    """Return the names in /dev/shm that a process has mapped or opened, itself or something below."""
    place = Path("/proc", str(pid))
    try:
        used = (place / "maps").read_text(errors="replace").splitlines()
        used += [str(entry.readlink()) for entry in (place / "fd").iterdir()]
    except OSError:
        return set()  # another user's, or gone meanwhile
    return {line.partition("/dev/shm/")[2].split("/")[0] for line in used if "/dev/shm/" in line}
