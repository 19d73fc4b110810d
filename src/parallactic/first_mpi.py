"""Which MPI library comes first into this process: that of mpi4py, not the one inside CASA's package.

casatools loads an Open MPI of its own, of another version, and a process keeps the first library of a name.
With CASA's, mpi4py cannot spawn servers that have the other one. So that of mpi4py is loaded, but not
initialised, when casatools is about to be imported; CASA's code runs with either.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType

__all__ = ["load_before_casa"]


class _BeforeCasa:
    """A finder of modules that finds none: it is asked before casatools is loaded."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> None:
        """Load MPI if casatools is next."""
        if name == "casatools":
            _load()


def load_before_casa() -> None:
    """Have the MPI library of mpi4py loaded before that of CASA, from now on."""
    if "casatools" not in sys.modules and _BeforeCasa not in sys.meta_path:
        sys.meta_path.insert(0, _BeforeCasa)


def _load() -> None:
    import ctypes
    from importlib.util import find_spec

    try:
        # The extension module, without running it: it brings the library that it is linked with.
        found = find_spec("mpi4py.MPI")
        if found is not None and found.origin:
            ctypes.CDLL(found.origin)
    except (ImportError, RuntimeError, OSError):
        # No mpi4py, or no library for it: CASA's is then in nobody's way.
        return
