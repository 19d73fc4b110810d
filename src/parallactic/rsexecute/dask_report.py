"""Dask's own report of how a run performed."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["DaskReport"]


class DaskReport:
    """What Dask's scheduler remembers from now on: profile, task stream, transfers, memory.

    Parameters
    ----------
    client
        A ``distributed.Client``.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._report: Any = import_module("distributed").performance_report(mode="inline")
        with client.as_current():
            self._report.__enter__()

    @staticmethod
    def can_be_drawn() -> bool:
        """Tell whether the library is here that Dask draws with."""
        return find_spec("bokeh") is not None

    def write(self, name: str | os.PathLike[str]) -> Path:
        """Write ``<name>_profile.html``, as of now; may be called again."""
        path = Path(f"{os.fspath(name)}_profile.html")
        self._report.filename = str(path)
        with self._client.as_current():
            self._report.__exit__(None, None, None)
        return path
