"""Products are built aside and renamed when whole: nothing half-written is ever taken for a product."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from parallactic.errors import InvalidSpec, ParallacticError
from parallactic.measurementset.tables import file_error

__all__ = ["check_output", "staged"]


def check_output(path: str | os.PathLike[str], name: str = "output") -> Path:
    """Check that `path` can be made, and return it absolute.

    Parameters
    ----------
    path
        The product.
    name
        What the parameter is called, for the message.

    Raises
    ------
    InvalidSpec
        If it exists already, or its folder does not exist or may not be written.
    """
    target = Path(os.fspath(path)).expanduser().absolute()
    if not os.fspath(path).strip():
        raise InvalidSpec(f"{name} is empty; name the product to write.")
    if target.exists() or target.is_symlink():
        raise InvalidSpec(f"{name}={target} exists already; remove it or choose another name.")
    folder = target.parent
    if not folder.is_dir():
        raise InvalidSpec(f"{name}={target} cannot be written: the folder {folder} does not exist.")
    try:
        # Only trying tells: permissions mean nothing to root, and nothing on some network file systems.
        Path(mkdtemp(dir=folder, prefix=".try-")).rmdir()
    except OSError as error:
        raise InvalidSpec(
            f"{name}={target} cannot be written: the folder {folder} is not writable ({error.strerror})."
        ) from error
    return target


@contextmanager
def staged(path: str | os.PathLike[str], name: str = "output") -> Iterator[Path]:
    """Give a place beside `path` to build in; rename it to `path` at the end, remove it on any failure.

    Parameters
    ----------
    path
        The product, which must not exist.
    name
        What the parameter is called, for the message.

    Yields
    ------
    Path
        ``<path>.partial-xxxx`` in the same folder, not yet made; the body makes a folder or a file there.

    Raises
    ------
    InvalidSpec
        As `check_output`.
    ParallacticError
        If the disk is full or the operating system refuses.
    """
    target = check_output(path, name)
    partial = target.with_name(f"{target.name}.partial-{secrets.token_hex(4)}")
    try:
        yield partial
        if target.exists():
            raise ParallacticError(f"{target} was made by someone else meanwhile; it is left as it is.")
        partial.rename(target)
    except BaseException as error:
        remove(partial)
        if isinstance(error, OSError) and not isinstance(error, ParallacticError):
            raise file_error(target, error) from error
        raise


def remove(path: Path) -> None:
    """Remove a folder or file of our own if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()
