"""A client on MPI that starts another program, which is a client on MPI too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from parallactic.testing.engine import require

_INNER = (
    "import os, parallactic as plx\nwith plx.Executor('mpi', workers=1) as ex: ex.submit(os.getpid).result()"
)
_OUTER = f"""\
import os, subprocess, sys
import parallactic as plx
with plx.Executor("mpi", workers=1) as ex:
    ex.submit(os.getpid).result()
    subprocess.run([sys.executable, "-c", {_INNER!r}], check=True)
with plx.Executor("mpi", workers=2) as ex:
    print(len(set(ex.target("all").submit(os.getpid).result())))
"""


def test_a_client_leaves_the_memory_of_another_alone(tmp_path: Path) -> None:
    """The inner one inherits where the outer keeps its shared memory, which new servers still need."""
    require("mpi")
    script = tmp_path / "outer.py"
    script.write_text(_OUTER)
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout.strip()) == (0, "2"), ended.stderr
