"""The job script that a request becomes."""

from __future__ import annotations

import math
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from parallactic.cli.submit_request import Request

__all__ = ["Dialect", "job_script"]

Dialect = Literal["torque", "pbspro"]

_MPI = """\
# One rank for each processor that PBS has reserved, and one for the client, which mostly waits.
ranks=$(($(grep -c . "$PBS_NODEFILE") + 1))
options=(--hostfile "$PBS_NODEFILE" -n "$ranks")
version=$(mpiexec --version 2>&1 || true)
case $version in
*"Open MPI"* | *OpenRTE*)
    # More ranks than processors; no rank is tied to one, for its tasks run beside it.
    options+=(--oversubscribe --bind-to none)
    # Other hosts get no variables by themselves.
    for name in PARALLACTIC_BACKEND OMP_NUM_THREADS TERM COLUMNS PATH PYTHONPATH LD_LIBRARY_PATH; do
        if [ -n "${!name:-}" ]; then options+=(-x "$name"); fi
    done
    # From version 5 on the others outlive a rank that dies.
    if [[ $version =~ "Open MPI) "([0-9]+) && ${BASH_REMATCH[1]} -ge 5 ]]; then
        options+=(--with-ft ulfm)
    fi
    ;;
esac
"""


def job_script(request: Request, dialect: Dialect, source: str, arguments: Sequence[str]) -> str:
    """Return a job script for PBS.

    Parameters
    ----------
    request
        What the job asks for.
    dialect
        Torque and PBS Pro (OpenPBS) write resources differently.
    source
        Name of the request file, for the comment.
    arguments
        The words after ``parallactic`` that run in the job; empty: the request's own command.
    """
    lines = ["#!/bin/bash", f"# A {_NAMES[dialect]} job, made by parallactic submit from {_plain(source)}."]
    lines += [f"#PBS {line}" for line in _directives(request, dialect, arguments)]
    lines += [
        "set -euo pipefail",
        f"cd {shlex.quote(str(request.folder))}",
        ': "${PBS_NODEFILE:?is not set: submit this script with qsub}"',
        "",
    ]
    if request.prologue:
        # Modules' own scripts use variables that are not set.
        lines += ["set +u", request.prologue, "set -u", ""]
    lines += ["export PARALLACTIC_BACKEND=mpi", "export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}"]
    lines += [
        "# The output goes into a file, whatever terminal MPI pretends.",
        "export TERM=dumb COLUMNS=120",
    ]
    if arguments:
        python = request.python or sys.executable
        words = [*request.prefix, python, "-m", "parallactic", *arguments]
        beside = Path(python).parent
        if not request.prefix and (beside / "mpiexec").exists():
            lines += [
                "",
                "# The launcher of this Python's MPI before any other.",
                f"export PATH={shlex.quote(str(beside))}:$PATH",
            ]
        lines += ["", _MPI + f'exec mpiexec "${{options[@]}}" {shlex.join(words)}']
    else:
        lines += ["", "exec " + shlex.join([*request.prefix, *request.command])]
    return "\n".join(lines) + "\n"


_NAMES = {"torque": "Torque", "pbspro": "PBS Pro"}


def _plain(text: str) -> str:
    """Return a name that ends no line of comment."""
    return re.sub(r"[^\x20-\x7e]", "?", text)


def _directives(request: Request, dialect: Dialect, arguments: Sequence[str]) -> list[str]:
    lines = [f"-N {request.name or _job_name(request, arguments)}", "-S /bin/bash"]
    if dialect == "torque":
        lines += [f"-l nodes={request.nodes}:ppn={request.cores}", f"-l mem={request.memory}mb"]
    else:
        each = math.ceil(request.memory / request.nodes)
        lines += [f"-l select={request.nodes}:ncpus={request.cores}:mpiprocs={request.cores}:mem={each}mb"]
    if request.walltime:
        lines.append(f"-l walltime={request.walltime}")
    for letter, value in (("q", request.queue), ("A", request.account), ("m", request.mail)):
        if value:
            lines.append(f"-{letter} {value}")
    if request.stdout is not None:
        lines.append(f"-o {request.stdout}")
    if request.stderr is not None and request.stderr != request.stdout:
        lines.append(f"-e {request.stderr}")
    if request.stderr == request.stdout:
        # One file for both: two would overwrite each other.
        lines.append("-j oe")
    return lines


def _job_name(request: Request, arguments: Sequence[str]) -> str:
    """Return a name that PBS takes, after the recipe or the command."""
    named = arguments[1] if len(arguments) > 1 else request.command[-1] if request.command else "parallactic"
    plain = re.sub(r"[^\w.+-]", "_", Path(named).stem, flags=re.ASCII)
    return (plain if re.match("[A-Za-z]", plain) else f"plx_{plain}")[:15]
