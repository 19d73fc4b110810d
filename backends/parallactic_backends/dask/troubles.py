"""What goes wrong in a Dask worker, and would be told by its own log alone: memory and disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from distributed import Status

__all__ = ["Troubles"]

_SPILL = logging.getLogger("distributed.spill")
_GB = 1e9


class Troubles(logging.Handler):
    """Watches over one Dask worker.

    Parameters
    ----------
    worker
        The Dask worker.
    tell
        Called with a sentence for the client's log.
    """

    def __init__(self, worker: Any, tell: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._worker = worker
        self._tell = tell
        self._full = False
        _SPILL.addHandler(self)

    def look(self) -> None:
        """Tell when Dask itself pauses the worker, and when it goes on."""
        full = self._worker.status is Status.paused
        if full == self._full:
            return
        self._full = full
        used = self._worker.monitor.get_process_memory() / _GB
        limit = (self._worker.memory_manager.memory_limit or 0) / _GB
        if full:
            self._tell(
                f"Dask has paused its worker {self._worker.address}, which itself uses {used:.2f} of "
                f"{limit:.2f} GB: it gets no tasks without a target until that is less. Results that it "
                "holds are freed with their futures."
            )
        else:
            self._tell(f"Dask's worker {self._worker.address} goes on: it uses {used:.2f} of {limit:.2f} GB.")

    def emit(self, record: logging.LogRecord) -> None:
        """Learn from Dask's log that a result could not be moved to disk; it tells so once a minute."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, OSError):
            self._tell(
                f"the Dask worker {self._worker.address} cannot write to its local directory "
                f"{self._worker.local_directory}: {error.strerror or error}. Results stay in its memory; "
                "make room there, or name a larger disk by --local-directory."
            )

    def close(self) -> None:
        """Watch no more."""
        _SPILL.removeHandler(self)
        super().close()
