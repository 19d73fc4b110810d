"""The folder of a run: journal, logs of workers, key. And the end of the interpreter."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from parallactic.backend import RunContext
from parallactic.errors import InvalidSpec
from parallactic.wire import auth
from parallactic.worker.records import LogRules

__all__ = ["RunFolder", "at_interpreter_exit"]


class RunFolder:
    """A folder that only this user can read. A temporary one is removed at the end, a named one is kept."""

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self.kept = path is not None
        if path is None:
            self.path = Path(tempfile.mkdtemp(prefix="parallactic-run-"))
            return
        self.path = Path(path).absolute()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidSpec(f"run_dir={str(path)!r} cannot be made: {error.strerror}.") from error
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise InvalidSpec(f"run_dir={str(path)!r} cannot be written to.")

    def context(self, name: str, *, insecure: bool, log: LogRules) -> RunContext:
        """Return what a backend must know, with a new key in a file of its own unless `insecure`."""
        key, key_file = b"", ""
        if not insecure:
            key = auth.new_key()
            descriptor, key_file = tempfile.mkstemp(prefix="key-", dir=self.path)
            with os.fdopen(descriptor, "wb") as file:
                file.write(key)
        return RunContext(name, self.path, key, key_file, log)

    def close(self, key_file: str) -> None:
        """Remove the key, and the folder if it is a temporary one."""
        if key_file:
            Path(key_file).unlink(missing_ok=True)
        if not self.kept:
            shutil.rmtree(self.path)


class _Closable(Protocol):
    def shutdown(self) -> None:
        """End."""


_open: weakref.WeakValueDictionary[int, _Closable] = weakref.WeakValueDictionary()
_numbers = itertools.count()


def at_interpreter_exit(closable: _Closable) -> None:
    """Shut `closable` down when the interpreter ends, if it still exists then; what came last ends first."""
    _open[next(_numbers)] = closable


def _close_all() -> None:
    while _open:
        try:
            closable = _open.pop(max(_open.keys()))
        except (KeyError, ValueError):
            continue  # It was collected meanwhile.
        closable.shutdown()


# `atexit` is too late: it runs after the threads were joined, and a run that waits for its threads would
# hang.
_register: Callable[[Callable[[], None]], None] = threading._register_atexit  # type: ignore[attr-defined]
_register(_close_all)
