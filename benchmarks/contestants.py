"""What the contestants of the benchmarks find around them: CASA offline, and Open MPI for casampi."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["open_mpi", "write_site_config"]

_SITE_CONFIG = """\
import os, casacore
measurespath = os.path.join(os.path.dirname(casacore.__file__), "data")
datapath = [measurespath]
measures_auto_update = data_auto_update = False
nologfile = nogui = nologger = agg = True
casaconfig_verbose = 0
"""


def write_site_config(folder: Path) -> dict[str, str]:
    """Set up CASA offline, and return the variable that tells it."""
    config = folder / "casasiteconfig.py"
    config.write_text(_SITE_CONFIG)
    return {"CASASITECONFIG": str(config)}


def open_mpi() -> dict[str, str]:
    """Return the variables with which the Open MPI of this environment runs here, as root and crowded too."""
    return {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_ALLOW_RUN_AS_ROOT": "1",
        "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        "OPAL_PREFIX": sys.prefix,
        "OMP_NUM_THREADS": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
