"""An MPI rank that serves: it becomes an agent.

As a program it is what the client spawns; `serve_world` is what the ranks of an MPI job do when they import
the library.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from parallactic.errors import BackendUnavailable
from parallactic_backends.mpi.launch import finalize, import_mpi, remove_private_folder
from parallactic_backends.mpi.link import MpiLink
from parallactic_backends.relay.hello import Hello, Probe
from parallactic_backends.relay.link import LinkLost, Report, Way
from parallactic_backends.relay.polling import serve

__all__ = ["main", "serve_world"]


def _serve(mpi: Any, comm: Any) -> bool:
    """Serve rank 0 of `comm` until it says goodbye; a client that dies ends this process.

    Returns
    -------
    bool
        Whether MPI can end in good order, which takes all ranks of the job.
    """
    # Ctrl-C at a terminal is the client's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    comm.Set_errhandler(mpi.ERRORS_RETURN)
    link = MpiLink(mpi, comm, 0)
    probe = Probe()
    link.post(Way.AGENT, Report.HELLO, Hello.own(probe).encode())
    try:
        in_order = serve(link)
    except LinkLost:
        # MPI cannot end in good order without the client.
        remove_private_folder()
        os._exit(1)
    probe.close()
    return in_order


def serve_world() -> None:
    """Serve as a rank of the job; the process ends here.

    Raises
    ------
    BackendUnavailable
        If MPI cannot be used.
    """
    mpi = import_mpi()
    if _serve(mpi, mpi.COMM_WORLD):
        finalize(mpi)
    sys.stdout.flush()
    sys.stderr.flush()
    # The script that imported the library must not go on, whatever it does with SystemExit.
    os._exit(0)


def main() -> int:
    """Serve as a rank that was spawned."""
    try:
        mpi = import_mpi(spawned=True)
    except BackendUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    parent = mpi.Comm.Get_parent()
    if parent == mpi.COMM_NULL:
        sys.stderr.write("this program is started by the backend mpi of Parallactic, not by hand.\n")
        return 2
    _serve(mpi, parent)
    parent.Disconnect()
    finalize(mpi)
    return 0
