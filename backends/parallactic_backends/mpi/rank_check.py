"""A small program that the diagnosis runs as MPI ranks, by its path; it imports nothing of Parallactic.

``python rank_check.py look | pair | death | spawn | child``; every rank prints one line of JSON or more.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

MARK = "parallactic-rank "
_ROUNDS = 200
_LARGE = 8 << 20
_LAST_WORDS = 0.5
"""Seconds from a rank's last message to its death, in which the message arrives on a busy machine too."""
_PATIENCE = 10.0


def tell(**content: Any) -> None:
    """Print one line in one write, so that lines of several ranks do not mix."""
    os.write(1, f"{MARK}{json.dumps(content)}\n".encode())


def look(mpi: Any) -> None:
    """Say which MPI this is."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    libraries = [line.split()[-1] for line in maps if "/libmpi" in line]
    levels = ("SINGLE", "FUNNELED", "SERIALIZED", "MULTIPLE")
    tell(
        rank=mpi.COMM_WORLD.Get_rank(),
        size=mpi.COMM_WORLD.Get_size(),
        host=mpi.Get_processor_name(),
        library=mpi.Get_library_version().strip("\0\n "),
        standard=".".join(map(str, mpi.Get_version())),
        threads=next(name for name in levels if getattr(mpi, f"THREAD_{name}") == mpi.Query_thread()),
        file=libraries[0] if libraries else "",
    )


def pair(mpi: Any) -> None:
    """Send and receive between ranks 0 and 1."""
    comm = mpi.COMM_WORLD
    rank = comm.Get_rank()
    if comm.Get_size() < 2 or rank > 1:
        return
    small, large = bytearray(8), bytearray(_LARGE)
    times = {}
    for name, buffer, rounds in (("small", small, _ROUNDS), ("large", large, 4)):
        begun = time.perf_counter()
        for _ in range(rounds):
            if rank == 0:
                comm.Send([buffer, mpi.BYTE], dest=1)
                comm.Recv([buffer, mpi.BYTE], source=1)
            else:
                comm.Recv([buffer, mpi.BYTE], source=0)
                comm.Send([buffer, mpi.BYTE], dest=0)
        times[name] = (time.perf_counter() - begun) / rounds
    if rank == 0:
        tell(microseconds=times["small"] * 1e6, bytes_per_second=2 * _LARGE / times["large"])


def death(mpi: Any) -> None:
    """Let rank 1 kill itself, and rank 0 say whether it lives and was told."""
    comm = mpi.COMM_WORLD
    comm.Set_errhandler(mpi.ERRORS_RETURN)
    if comm.Get_rank() == 1:
        comm.send(time.time() + _LAST_WORDS, dest=0)
        time.sleep(_LAST_WORDS)
        os.kill(os.getpid(), signal.SIGKILL)
    if comm.Get_rank() == 0 and comm.Get_size() > 1:
        planned = comm.recv(source=1)
        noticed = None
        while noticed is None and time.time() - planned < _PATIENCE:
            try:
                comm.iprobe(source=1, tag=9)
            except mpi.Exception:
                noticed = max(0.0, time.time() - planned)
            time.sleep(1e-3)
        tell(noticed=noticed)
    # MPI_Finalize would wait for the dead.
    os._exit(0)


def spawn(mpi: Any) -> None:
    """Start a rank from a plain process, and exchange a message with it."""
    begun = time.perf_counter()
    host, program, *arguments = json.loads(sys.argv[2])
    info = mpi.Info.Create()
    if host:
        info.Set("host", host)
    arguments += ["-m", "parallactic_backends.mpi.rank_check", "child"]
    comm = mpi.COMM_SELF.Spawn(program, arguments, maxprocs=1, info=info)
    comm.send("hello", dest=0)
    there = comm.recv(source=0)
    comm.Disconnect()
    tell(spawned=there, seconds=time.perf_counter() - begun)


def child(mpi: Any) -> None:
    """Answer the one who spawned this."""
    comm = mpi.Comm.Get_parent()
    comm.recv(source=0)
    comm.send(mpi.Get_processor_name(), dest=0)
    comm.Disconnect()


def main() -> None:
    """Do what the first argument says."""
    from mpi4py import MPI

    part = {"look": look, "pair": pair, "death": death, "spawn": spawn, "child": child}[sys.argv[1]]
    if part in (pair, death):
        look(MPI)
    part(MPI)


if __name__ == "__main__":
    main()
