"""Work on twelve scans, on whatever servers there are: nothing here names MPI.

PARALLACTIC_BACKEND=mpi python scans.py                     this process spawns its servers
PARALLACTIC_BACKEND=mpi mpiexec -n 3 python scans.py        rank 0 runs this, ranks 1 and 2 serve
mpiexec -n 3 python -m parallactic.mpi scans.py             the same; no line of this runs on a server
"""

# With the second line of the three, ranks other than the first go no further than this import: they serve.
import parallactic as plx  # isort: skip

import numpy as np


def noise(scan: int) -> tuple[int, float, str]:
    """Return the rms of a scan, and where it was computed."""
    visibilities = np.random.default_rng(scan).standard_normal(200_000)
    here = plx.worker()
    return scan, float(visibilities.std()), f"worker {here.id} on {here.host}"


with plx.Executor() as ex:
    found = list(ex.map(noise, range(12)))
    for scan, rms, where in found:
        assert abs(rms - 1) < 0.01  # 6 times its error, 1 / sqrt(2 n)
        print(f"scan {scan:2d}: {rms:.4f} ({where})")
    print(f"{len(found)} scans on {ex.max_workers} workers of backend {ex.backend}")
