"""Opening casacore tables so that nothing stale is read and no casacore message reaches a person bare.

casacore keeps every open table in a cache by its path: a set that is deleted and made again under an open
table would be read as it was. So a table is opened for one operation and closed after it.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, TypeVar

from casacore.tables import table

from parallactic.errors import InvalidSpec, ParallacticError

__all__ = [
    "DTYPES",
    "DiskFull",
    "building",
    "ensure_room",
    "file_error",
    "glance",
    "is_table",
    "opened",
    "read_columns",
]

DTYPES = {
    "boolean": "bool",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "int64": "i8",
    "float": "f4",
    "double": "f8",
    "complex": "c8",
    "dcomplex": "c16",
}
"""numpy's name of each numeric ``valueType`` of casacore."""


_RESERVED = 8 * 2**20
_GLANCES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
"""Pauses between tries to read beside a writer, in seconds."""

T = TypeVar("T")


class DiskFull(ParallacticError):
    """There is no room left where something was to be written."""


def is_table(path: str | os.PathLike[str]) -> bool:
    """Tell whether a folder holds a casacore table."""
    return (Path(path) / "table.dat").is_file()


@contextmanager
def opened(path: str | os.PathLike[str], *, write: bool = False) -> Iterator[Any]:
    """Open the table at `path` for one operation, flush it if it was written, close it after.

    Raises
    ------
    InvalidSpec
        If there is no table at `path`, or it may not be written.
    ParallacticError
        If casacore fails while reading or writing.
    """
    name = os.fspath(path)
    if not is_table(name):
        raise InvalidSpec(f"{name} is not a casacore table: it has no table.dat.")
    if write and not os.access(Path(name) / "table.dat", os.W_OK):
        raise InvalidSpec(f"{name} may not be written by this user; change its permissions or copy it.")
    try:
        with table(name, readonly=not write, ack=False, lockoptions="auto") as handle:
            yield handle
            if write:
                # Closing would swallow a failed write of what is still in memory; flush reports it.
                handle.flush(True)
    except RuntimeError as error:
        if isinstance(error, ParallacticError):
            raise
        raise file_error(name, error) from error


def file_error(path: str | os.PathLike[str], error: Exception) -> ParallacticError:
    """Turn a failure of casacore or of the operating system into one sentence about `path`."""
    text = " ".join(str(error).split())
    name = os.fspath(path)
    full = os.strerror(errno.ENOSPC) in text or getattr(error, "errno", None) == errno.ENOSPC
    if full or ("write error" in text and _free(Path(name)) < _RESERVED):
        return DiskFull(f"the disk is full: {name} could not be written. Free some space and try again.")
    if os.strerror(errno.EFBIG) in text:
        return ParallacticError(f"{name} could not be written: a file grew beyond this process's limit.")
    if os.strerror(errno.EDQUOT) in text:
        return ParallacticError(f"{name} could not be written: the disk quota is used up.")
    return ParallacticError(f"casacore failed on {name}: {text}")


def glance(path: str | os.PathLike[str], read: Callable[[Any], T]) -> T:
    """Read what no task changes, names and times for example, without waiting for a writer.

    A lock would cost both a whole second whenever they meet: casacore's pause between two tries. So the table
    is read without one, and again if its files changed meanwhile; a writer who goes on for long is waited
    for.

    Parameters
    ----------
    path
        The table.
    read
        Called with the open table; what it returns is returned.

    Raises
    ------
    InvalidSpec
        If there is no table at `path`.
    ParallacticError
        If casacore fails while reading.
    """
    name = os.fspath(path)
    if not is_table(name):
        raise InvalidSpec(f"{name} is not a casacore table: it has no table.dat.")
    for pause in _GLANCES:
        before = _state(name)
        with suppress(RuntimeError):  # half of a table may look broken
            with table(name, ack=False, lockoptions="autonoread") as handle:
                value = read(handle)
            if _state(name) == before:
                return value
        time.sleep(pause)
    with opened(name) as handle:
        return read(handle)


def _state(path: str) -> list[tuple[str, int, int]]:
    """Return what changes whenever something of a table is written, its tiles apart."""
    found = []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith(("table.dat", "table.f")) and "_TSM" not in entry.name:
                stat = entry.stat()
                found.append((entry.name, stat.st_mtime_ns, stat.st_size))
    return sorted(found)


@contextmanager
def building(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Open a new table to fill it; give it up without harm if that fails.

    When the disk is full casacore writes once more while it closes a table, fails again and ends the process.
    So the table's data are cut off and the table is marked for deletion before it is closed; the caller
    removes it.

    Raises
    ------
    ParallacticError
        If casacore fails; `DiskFull` if there is no room.
    """
    name = os.fspath(path)
    handle = table(name, readonly=False, ack=False, lockoptions="auto")
    try:
        yield handle
        handle.flush(True)
    except BaseException as error:
        cause = file_error(name, error) if isinstance(error, RuntimeError | OSError) else None
        _abandon(handle, Path(name))
        if cause is None or isinstance(error, ParallacticError):
            raise
        raise cause from error
    handle.close()


def _abandon(handle: Any, path: Path) -> None:
    for file in path.glob("table.f*_TSM*"):
        os.truncate(file, 0)
    doomed = table(str(path), readonly=False, _delete=True, ack=False)
    for one in (doomed, handle):
        # The error that led here is the one to report.
        with suppress(RuntimeError):
            one.close()


def ensure_room(folder: str | os.PathLike[str], size: int) -> None:
    """Check that `size` bytes can be written in `folder`.

    Raises
    ------
    DiskFull
        If the disk, or the quota of this user, has no room for them.
    """
    place = Path(folder)
    free = _free(place)
    if free < size:
        raise DiskFull(
            f"the disk is full: {size / 1e6:,.1f} MB are needed in {place}, {free / 1e6:,.1f} MB are free. "
            "Free some space and try again."
        )
    try:
        # A quota is not in the free space that the system tells; a file of some size finds it out.
        with NamedTemporaryFile(dir=place, prefix=".room-") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, min(size, _RESERVED)))
    except OSError as error:
        raise file_error(place, error) from error


def _free(path: Path) -> int:
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    return shutil.disk_usage(there).free


def read_columns(path: str | os.PathLike[str], *columns: str) -> dict[str, Any]:
    """Read whole columns of a small table; arrays come as a list of cells.

    Parameters
    ----------
    path
        The table.
    columns
        Names of its columns.

    Returns
    -------
    dict
        Per column an array of scalars, or a list of cells (None where undefined), or None if the table has no
        such column.
    """
    with opened(path) as handle:
        return {name: _column(handle, name) for name in columns}


def _column(handle: Any, name: str) -> Any:
    if name not in handle.colnames():
        return None
    if handle.isscalarcol(name):
        return handle.getcol(name)
    return [handle.getcell(name, i) if handle.iscelldefined(name, i) else None for i in range(handle.nrows())]
