"""Open MPI's mpiexec, beside this Python or on the path."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

#: What Open MPI wants before it starts as root, and more processes than there are cores.
SETTINGS = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_ALLOW_RUN_AS_ROOT": "1",
    "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
}
PROGRAMS = Path(sys.executable).parent
PATH = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"


@cache
def mpiexec() -> str:
    """Return its path; an empty string if there is none."""
    found = shutil.which("mpiexec", path=PATH)
    if found is None or "open" not in subprocess.check_output([found, "--version"], text=True).lower():
        return ""
    return found


def run_ranks(number: int, words: list[str], folder: Path, **own: str) -> subprocess.CompletedProcess[str]:
    """Run a command as so many ranks."""
    environment = os.environ | SETTINGS | {"OMP_NUM_THREADS": "1", "PATH": PATH} | own
    if Path(mpiexec()).parent == PROGRAMS:
        environment["OPAL_PREFIX"] = sys.prefix  # the package of Python; silences a notice
    return subprocess.run(
        [mpiexec(), "-n", str(number), *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
