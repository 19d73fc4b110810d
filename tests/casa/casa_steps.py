"""What both do: CASA by itself, and CASA with our servers."""

from pathlib import Path
from types import ModuleType
from typing import Any

AVERAGED = 4
"""Channels that mstransform averages into one."""


def steps(casatasks: ModuleType, vis: str, caltable: str, folder: str, *, parallel: bool) -> dict[str, Any]:
    """Cut, flag, calibrate, average and image an observation; return the counts of flags."""
    mms = str(Path(folder) / "obs.mms")
    casatasks.partition(vis=vis, outputvis=mms, separationaxis="scan", numsubms=4, flagbackup=False)
    casatasks.flagdata(vis=mms, mode="tfcrop", flagbackup=False)
    flags = casatasks.flagdata(vis=mms, mode="summary")
    casatasks.setjy(vis=mms, standard="manual", fluxdensity=[2, 0, 0, 0], usescratch=True)
    casatasks.applycal(vis=mms, gaintable=[caltable], flagbackup=False)
    average = {"datacolumn": "corrected", "chanaverage": True, "chanbin": AVERAGED}
    casatasks.mstransform(vis=mms, outputvis=str(Path(folder) / "averaged.mms"), **average)
    image = {"imsize": 128, "cell": "20arcsec", "field": "0", "niter": 20, "parallel": parallel}
    casatasks.tclean(vis=mms, imagename=str(Path(folder) / "image"), specmode="mfs", **image)
    return flags
