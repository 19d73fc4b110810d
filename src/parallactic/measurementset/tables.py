"""Opening casacore tables so that nothing stale is read and no casacore message reaches a person bare.

casacore keeps every open table in a cache by its path: a set that is deleted and made again under an open
table would be read as it was. So a table is opened for one operation and closed after it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from casacore.tables import table

from parallactic.errors import InvalidSpec, ParallacticError

__all__ = ["DTYPES", "file_error", "is_table", "opened", "read_columns"]

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
    text = str(error).strip().replace("\n", " ")
    name = os.fspath(path)
    full = os.strerror(errno.ENOSPC)
    if full in text or getattr(error, "errno", None) == errno.ENOSPC:
        return ParallacticError(
            f"the disk is full: {name} could not be written. Free some space and try again."
        )
    if os.strerror(errno.EFBIG) in text:
        return ParallacticError(f"{name} could not be written: a file grew beyond this process's limit.")
    if os.strerror(errno.EDQUOT) in text:
        return ParallacticError(f"{name} could not be written: the disk quota is used up.")
    return ParallacticError(f"casacore failed on {name}: {text}")


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
