"""What all do: CASA by itself, CASA with our servers, and CASA with casampi's under MPI."""

from pathlib import Path
from types import ModuleType
from typing import Any

AVERAGED = 4
"""Channels that mstransform averages into one."""


def steps(casatasks: ModuleType, vis: str, caltable: str, folder: str, *, parallel: bool) -> dict[str, Any]:
    """Cut, flag, calibrate, average, subtract and image an observation; return the counts of flags."""
    here = Path(folder)
    mms = str(here / "obs.mms")
    casatasks.partition(vis=vis, outputvis=mms, separationaxis="scan", numsubms=4, flagbackup=False)
    casatasks.flagdata(vis=mms, mode="tfcrop", flagbackup=False)
    flags = {"tfcrop": casatasks.flagdata(vis=mms, mode="summary")}
    casatasks.setjy(vis=mms, standard="manual", fluxdensity=[2, 0, 0, 0], usescratch=True)
    casatasks.applycal(vis=mms, gaintable=[caltable], flagbackup=False)
    average = {"datacolumn": "corrected", "chanaverage": True, "chanbin": AVERAGED}
    casatasks.mstransform(vis=mms, outputvis=str(here / "averaged.mms"), **average)
    casatasks.uvcontsub(vis=mms, outputvis=str(here / "line.ms"), fitorder=1)
    casatasks.uvcontsub_old(vis=mms, fitspw="0,1", fitorder=1)
    image = {"imsize": 128, "cell": "20arcsec", "field": "0", "niter": 20, "parallel": parallel}
    casatasks.tclean(vis=mms, imagename=str(here / "image"), specmode="mfs", **image)
    casatasks.flagdata(vis=mms, mode="rflag", flagbackup=False)
    flags["rflag"] = casatasks.flagdata(vis=mms, mode="summary")
    return flags
