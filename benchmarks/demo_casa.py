"""The demo's two recipes by CASA's own tasks: what Parallactic's numbers are held against.

    .venv/bin/python benchmarks/demo_casa.py demo-output            # after `make demo`
    .venv/bin/python benchmarks/demo_casa.py demo-output --only evla

Needs the extra [casa]. It reads the simulated observation that the demo left in its output folder, and works
in a temporary folder, which it removes. The numbers are printed beside those of the demo's report.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from contestants import write_site_config
from rich.console import Console
from rich.table import Table

from parallactic.measurementset.simulation import Truth
from parallactic.pipeline.datasets import fetch_evla
from parallactic.pipeline.flagging import detections, flagged_fraction
from parallactic.pipeline.photometry import SkyImage

BEYOND = 12.8
EDGES = "*:0~3;60~63"


class Casa:
    """CASA's tasks, each call timed."""

    def __init__(self, folder: Path) -> None:
        os.environ |= write_site_config(folder)
        self.tasks = importlib.import_module("casatasks")
        self.tasks.casalog.setlogfile(str(folder / "casa.log"))
        self.seconds: dict[str, float] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        task = getattr(self.tasks, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return task(*args, **kwargs)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

        return call


def evla(casa: Casa) -> dict[str, str]:
    """Run the EVLA recipe, step by step as in examples/demo/evla.toml."""
    vis = "evla.mms"
    shutil.copytree(fetch_evla(), "evla.ms")
    casa.partition("evla.ms", vis, separationaxis="baseline", numsubms=2, datacolumn="data")
    common: dict[str, Any] = {"imsize": 256, "cell": "0.5arcsec", "weighting": "natural"}
    casa.tclean(vis, imagename="dirty", datacolumn="data", niter=0, **common)
    # On a multi-MS flagdata gives no counts: the check of tfcrop asks the plain set.
    commands = ["mode='tfcrop' datacolumn='DATA'", "mode='summary'"]
    found = casa.flagdata("evla.ms", mode="list", inpfile=commands, action="calculate", flagbackup=False)
    casa.setjy(vis, standard="manual", fluxdensity=[1.0, 0, 0, 0], usescratch=True)
    casa.bandpass(vis, "b.cal", solint="inf,8ch", solnorm=True, refant="4")
    casa.gaincal(vis, "g.cal", solint="inf", refant="4", calmode="ap", gaintable=["b.cal"])
    casa.applycal(vis, gaintable=["b.cal", "g.cal"], calwt=[False], flagbackup=False)
    casa.tclean(vis, imagename="image", niter=100, mask="circle[[128pix,128pix],6pix]", **common)
    for name in ("dirty", "image"):
        casa.exportfits(f"{name}.image", f"{name}.fits")
    dirty, cleaned = SkyImage.read("dirty.fits"), SkyImage.read("image.fits")
    peak, x, y = cleaned.peak()
    dynamic, rms = cleaned.dynamic_range(BEYOND)
    return {
        "peak": f"{peak:.4f}",
        "pixel of the peak": f"({x}, {y})",
        "deviation beyond 12.8 arcsec": f"{1e3 * rms:.3f}e-3",
        "dynamic range": f"{dynamic:.2f}",
        "dynamic range before calibration": f"{dirty.dynamic_range(BEYOND)[0]:.2f}",
        "flagged after all": f"{100 * flagged_fraction(vis):.3f} %",
        "tfcrop on data without interference": f"{100 * found['flagged'] / found['total']:.2f} %",
    }


def simulated(casa: Casa, source: Path) -> dict[str, str]:
    """Run the simulated recipe, step by step as in examples/demo/simulated.toml, on the same observation."""
    truth = Truth.load(source)
    vis = "observation.ms"
    shutil.copytree(source, vis)
    casa.flagdata(vis, mode="manual", spw=EDGES, flagbackup=False)
    casa.flagdata(vis, mode="tfcrop", combinescans=True, flagbackup=False)
    rates = {entry.name: entry.rate for entry in detections(vis, truth, slice(4, 60))}
    model = {"standard": "manual", "reffreq": "1463.5MHz", "usescratch": True}
    casa.setjy(vis, field="J1331+3030", fluxdensity=[15.0, 0.55, 1.25, 0.0], spix=-0.5, **model)
    casa.setjy(vis, field="J1310+3220", fluxdensity=[2.5, 0.03, -0.02, 0.0], spix=-0.2, **model)
    flux, both = (
        {"field": "J1331+3030", "refant": "ea01"},
        {"field": "J1331+3030,J1310+3220", "refant": "ea01"},
    )
    casa.gaincal(vis, "p.cal", solint="int", calmode="p", spw="0:24~40,1:24~40", **flux)
    casa.bandpass(vis, "b.cal", solint="inf", solnorm=True, gaintable=["p.cal"], **flux)
    casa.gaincal(
        vis, "g.cal", solint="inf", calmode="ap", gaintable=["b.cal"], interp=["nearest,linearflag"], **both
    )
    casa.applycal(
        vis,
        field="TARGET",
        gaintable=["b.cal", "g.cal"],
        gainfield=["J1331+3030", "J1310+3220"],
        interp=["nearest,linearflag", "linear"],
        calwt=[False],
        flagbackup=False,
    )
    casa.tclean(
        vis, imagename="target", field="TARGET", imsize=320, cell="2.5arcsec", weighting="briggs", robust=0.5,
        niter=2000, nsigma=3.0,
    )  # fmt: skip
    casa.exportfits("target.image", "target.fits")
    image = SkyImage.read("target.fits")
    frequencies = np.concatenate(truth.instrument.frequencies)
    fluxes, places = [], []
    for entry in truth.observation.fields[-1].sources:
        expected = entry.i * float(entry.scale(frequencies, truth.observation.reffreq).mean())
        fit, (x, y) = image.fit(entry.l, entry.m), image.pixel(entry.l, entry.m)
        fluxes.append(abs(fit.flux / expected - 1.0))
        places.append(float(np.hypot(fit.x - x, fit.y - y)))
    return {
        "largest error of a flux": f"{100 * max(fluxes):.2f} %",
        "largest error of a position": f"{max(places):.3f} pixel",
        "all interference: found": f"{100 * rates['interference']:.2f} %",
        "clean data: false": f"{100 * rates['clean']:.2f} %",
    }


def ours(report: Path) -> dict[str, str]:
    """Return what the demo's report says, by name."""
    found: dict[str, str] = {}
    if report.is_file():
        for section in json.loads(report.read_text())["sections"]:
            found |= {bar["name"]: bar["value"] for bar in section["bars"]}
            for table in section["tables"]:
                if table["title"].startswith("Parallactic and CASA"):
                    found |= {row[0]: row[1] for row in table["rows"]}
                if table["title"].startswith("Interference"):
                    found |= {row[0]: row[2] for row in table["rows"]}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path, help="the demo's output folder")
    parser.add_argument("--only", choices=("evla", "simulated"))
    options = parser.parse_args()
    demo = options.demo.absolute()
    source = demo / "simulated" / "observation.ms"
    if options.only != "evla" and not source.is_dir():
        print(f"{source} is not there; run make demo first.", file=sys.stderr)
        return 2
    here, own = Path.cwd(), ours(demo / "report.json")
    numbers: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            casa = Casa(Path(folder))
            if options.only != "simulated":
                numbers |= evla(casa)
            if options.only != "evla":
                numbers |= simulated(casa, source)
        finally:
            os.chdir(here)
    table = Table(title="The demo by CASA's tasks, and by Parallactic")
    for name in ("", "CASA", "Parallactic"):
        table.add_column(name, justify="right" if name else "left")
    for name, value in numbers.items():
        table.add_row(name, value, own.get(name, ""))
    console = Console()
    console.print(table)
    console.print(", ".join(f"{name} {seconds:.1f} s" for name, seconds in casa.seconds.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
