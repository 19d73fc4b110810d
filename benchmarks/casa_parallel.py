"""Unmodified casatasks by themselves, on our servers, and on casampi's under MPI, in one run.

    python benchmarks/casa_parallel.py                    # about ten minutes on two cores
    python benchmarks/casa_parallel.py --quick            # a small set; shows that all of it works
    python benchmarks/casa_parallel.py --casampi FOLDER   # also casampi, from its unpacked wheel
    python benchmarks/casa_parallel.py --slow             # also without fast polling

Needs the extra [casa]. CASA by itself works on the plain set, with as many OpenMP threads as it likes; the
others work on a multi-MS, with one server for each core. Every contestant has a process and a copy of its
own. They run one after the other, again and again, and the medians are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contestants import open_mpi, write_site_config
from rich.console import Console
from rich.table import Table

from parallactic.measurementset.simulation import simulate, standard_observation

SERIAL, CASAMPI = "CASA by itself", "casampi"


def tasks(casatasks: Any, vis: str, *, parallel: bool, quick: bool) -> dict[str, Callable[[], Any]]:
    """Return what is timed, by name."""
    image = {"datacolumn": "data", "field": "TARGET", "specmode": "mfs", "parallel": parallel}
    image |= {"imsize": 256 if quick else 2048, "cell": "3arcsec", "weighting": "briggs"}
    clean = image | {"niter": 200, "cycleniter": 100, "mask": "circle[[50%,50%],25%]", "pblimit": -1}
    wide = image | {"gridder": "wproject", "wprojplanes": 8 if quick else 32}

    def flagdata(mode: str) -> Callable[[], Any]:
        return lambda: casatasks.flagdata(vis=vis, mode=mode, flagbackup=False)

    return {
        "flagdata tfcrop": flagdata("tfcrop"),
        "flagdata rflag": flagdata("rflag"),
        "applycal": lambda: casatasks.applycal(vis=vis, gaintable=["gain.cal"], flagbackup=False),
        "mstransform, 4 channels to 1": lambda: casatasks.mstransform(
            vis=vis, outputvis="averaged.ms", datacolumn="data", chanaverage=True, chanbin=4
        ),
        "tclean mfs, dirty": lambda: casatasks.tclean(vis=vis, imagename="dirty", niter=0, **image),
        "tclean mfs, 200 iterations": lambda: casatasks.tclean(vis=vis, imagename="clean", **clean),
        "tclean mfs, w-projection, dirty": lambda: casatasks.tclean(vis=vis, imagename="w", niter=0, **wide),
    }


def contest(kind: str, plain: str, multi: str, backend: str, quick: bool) -> None:
    """Be one contestant: do the tasks in the working folder, and write how long they took."""
    if kind not in (SERIAL, CASAMPI):
        from parallactic.casa import enable

        enable(backend=backend, fast_polling=kind.endswith("fast polling"))
    import casatasks

    if kind != SERIAL:
        from casampi.MPICommandClient import MPICommandClient  # type: ignore[import-not-found]

        MPICommandClient().start_services()
    vis = "obs.ms" if kind == SERIAL else "obs.mms"
    source = plain if kind == SERIAL else multi
    shutil.copytree(source, vis, symlinks=True)
    casatasks.gaincal(vis=plain, caltable="gain.cal", solint="inf", refant="0", minsnr=0, field="0")
    seconds = {}
    for name, task in tasks(casatasks, vis, parallel=kind != SERIAL, quick=quick).items():
        begin = time.perf_counter()
        task()
        seconds[name] = time.perf_counter() - begin
    Path("seconds.json").write_text(json.dumps(seconds))


def run(kind: str, folder: Path, sets: tuple[Path, Path], arguments: argparse.Namespace) -> dict[str, float]:
    """Run one contestant in a process and a folder of its own."""
    folder.mkdir()
    words = [sys.executable, str(Path(__file__).absolute()), "--contestant", kind, *map(str, sets)]
    words += ["--backend", arguments.backend, *(["--quick"] if arguments.quick else [])]
    environment = os.environ | write_site_config(sets[0].parent)
    environment.pop("OMP_NUM_THREADS", None)
    if kind == CASAMPI:
        words = ["mpiexec", "-n", str(1 + (os.cpu_count() or 1)), *words]
        environment |= open_mpi() | {"PYTHONPATH": str(arguments.casampi)}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{kind} failed:\n{done.stderr[-3000:]}")
    seconds: dict[str, float] = json.loads((folder / "seconds.json").read_text())
    shutil.rmtree(folder)
    return seconds


def make_sets(folder: Path, quick: bool) -> tuple[Path, Path]:
    """Simulate the observation, and cut it into a multi-MS with a sub-MS for each core."""
    os.environ |= write_site_config(folder)
    plain, multi = folder / "obs.ms", folder / "obs.mms"
    size: dict[str, Any] = {} if quick else {"nantennas": 27, "nchan": 64, "target_integrations": 30}
    simulate(plain, standard_observation(**size))
    cut = "casatasks.partition(*sys.argv[1:3], numsubms=int(sys.argv[3]), separationaxis='baseline')"
    code = f"import sys, casatasks; {cut}"
    cores = str(max(2, os.cpu_count() or 1))
    subprocess.run([sys.executable, "-c", code, str(plain), str(multi), cores], cwd=folder, check=True)
    return plain, multi


def main() -> None:
    """Compare them, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backend", default="multiprocessing")
    parser.add_argument("--slow", action="store_true", help="also without fast polling")
    parser.add_argument("--casampi", type=lambda text: Path(text).absolute())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--contestant", nargs=3, metavar=("KIND", "PLAIN", "MULTI"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        kind, plain, multi = arguments.contestant
        contest(kind, plain, multi, arguments.backend, arguments.quick)
        return
    fast = f"{arguments.backend}, fast polling"
    kinds = [SERIAL, fast]
    kinds += [arguments.backend] if arguments.slow else []
    kinds += [CASAMPI] if arguments.casampi else []
    rounds: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory(prefix="casa-parallel-") as name:
        sets = make_sets(Path(name), arguments.quick)
        for number in range(1 if arguments.quick else arguments.rounds):
            for kind in kinds:
                rounds[kind].append(run(kind, Path(name) / f"run{number}", sets, arguments))
    medians = {
        kind: {task: statistics.median(each[task] for each in done) for task in done[0]}
        for kind, done in rounds.items()
    }
    table = Table("seconds", *kinds, "serial / fast polling")
    for task in medians[SERIAL]:
        values = [medians[kind][task] for kind in kinds]
        table.add_row(task, *(f"{value:.2f}" for value in values), f"{values[0] / values[1]:.2f}")
    Console(width=120).print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(rounds, indent=1))


if __name__ == "__main__":
    main()
