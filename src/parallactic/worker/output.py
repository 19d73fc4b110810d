"""What tasks print: shown by the client, or turned into log records with what their C libraries print."""

from __future__ import annotations

import ctypes
import io
import os
import stat
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["Output"]

Show = Callable[[str, str], None]


class Output:
    """Takes the place of ``sys.stdout`` and ``sys.stderr`` in the process of a worker.

    Parameters
    ----------
    show
        Takes the name of a stream and whole lines (at the end of a task perhaps the beginning of one).
    native
        Whether to show as well what is written to the file descriptors 1 and 2 by others than Python: C
        libraries, programs that a task starts. It is read back from the file they lead to, when a task has
        ended. Both must then lead to one regular file.
    """

    def __init__(self, show: Show, *, native: bool = False) -> None:
        self._written = _Written() if native else None
        self._show = show
        self._streams = [
            _Tee(stream, show, name, self._written)
            for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr))
        ]
        sys.stdout, sys.stderr = self._streams

    def task_ended(self) -> None:
        """Show what is left of the task that has just ended."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if self._written is not None:
            for stream in self._streams:
                stream.flush()
            if text := self._written.by_others():
                self._show("stdout", text)


class _Written:
    """The file behind the descriptors 1 and 2, and which parts of it Python wrote."""

    def __init__(self) -> None:
        if not all(stat.S_ISREG(os.fstat(fd).st_mode) for fd in (1, 2)):
            raise RuntimeError("what C libraries print can only be read back from a regular file.")
        self._file = os.open("/proc/self/fd/1", os.O_RDONLY | os.O_CLOEXEC)
        self._seen = os.fstat(self._file).st_size
        self._own: list[tuple[int, int]] = []
        self._libc = ctypes.CDLL(None)
        self._pid = os.getpid()

    def by_python(self, write: Callable[[], None], content: bytes) -> None:
        """Write something, and note where it stands."""
        write()
        if os.getpid() != self._pid or not content:
            return
        end = os.fstat(self._file).st_size
        start = end - len(content)
        if os.pread(self._file, len(content), start) != content:
            # Another process has written since.
            begin = self._own[-1][1] if self._own else self._seen
            start = begin + os.pread(self._file, end - begin, begin).find(content)
        self._own.append((start, start + len(content)))

    def by_others(self) -> str:
        """Return what was written since the last call, but for what Python wrote."""
        self._libc.fflush(None)
        end = os.fstat(self._file).st_size
        parts, place = [], self._seen
        for start, stop in [*self._own, (end, end)]:
            if start > place:
                parts.append(os.pread(self._file, start - place, place))
            place = max(place, stop)
        self._seen, self._own = max(end, place), []
        return b"".join(parts).decode(errors="replace")


class _Tee(io.TextIOBase):
    """Write to the worker's log and show the same lines to the client."""

    def __init__(self, log: Any, show: Show, stream: str, written: _Written | None) -> None:
        self._log = log
        self._show = show
        self._stream = stream
        self._written = written
        self._line = ""
        self._pid = os.getpid()

    def write(self, text: str) -> int:
        if self._written is None:
            self._log.write(text)
        else:
            content = text.encode(self._log.encoding, self._log.errors)
            self._written.by_python(lambda: self._write_through(text), content)
        if os.getpid() != self._pid:
            # A process that a task has forked: the connection to the client is its parent's.
            return len(text)
        self._line += text
        done, newline, self._line = self._line.rpartition("\n")
        if newline:
            self._show(self._stream, done + newline)
        return len(text)

    def _write_through(self, text: str) -> None:
        self._log.write(text)
        self._log.flush()

    def flush(self) -> None:
        self._log.flush()
        if self._line and os.getpid() == self._pid:
            line, self._line = self._line, ""
            self._show(self._stream, line)

    def fileno(self) -> int:
        return int(self._log.fileno())

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return str(self._log.encoding)
