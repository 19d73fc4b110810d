"""Run a program on MPI without touching it: ``mpiexec -n N python -m parallactic.mpi script.py``.

Rank 0 runs the program with the backend ``mpi`` chosen; no line of it runs on the other ranks, which serve.
The program is named as for Python's own command: a file, ``-m module``, or ``-c command``.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

from parallactic import registry
from parallactic.worker.ranks import has_company

__all__ = ["main"]

_USAGE = "usage: mpiexec -n N python -m parallactic.mpi (FILE | -m MODULE | -c COMMAND) [ARGUMENT ...]\n"


def main() -> None:
    """Serve, or run the program that the command names."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help") or (words[0] in ("-m", "-c") and len(words) < 2):
        sys.stderr.write(_USAGE)
        sys.exit(2)
    os.environ.setdefault("PARALLACTIC_BACKEND", "mpi")
    if has_company():
        registry.enter("mpi")
    _run(words)


def _run(words: list[str]) -> None:
    if words[0] == "-m":
        sys.argv = words[1:]
        sys.path[0] = str(Path.cwd())
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        sys.path[0] = ""
        exec(compile(words[1], "<string>", "exec"), sys.modules["__main__"].__dict__)
    else:
        if not Path(words[0]).exists():
            sys.exit(f"parallactic: there is no file {words[0]!r}.")
        sys.argv = words
        sys.path[0] = str(Path(words[0]).absolute().parent)
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main()
