"""The words of the help: what stands on the first page, and a real command or two for every task."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["EXAMPLES", "LINES", "PAGE", "PAGE_END", "RUN", "RUN_END"]

PAGE = """[bold]Radio-astronomy tasks on whatever you have: one process, many cores, a cluster.[/]

Give a MeasurementSet to a [bold]task[/], or write the tasks into a [bold]recipe[/] and run it whole.
"""

PAGE_END = """[bold]Begin here[/]

[cyan]parallactic simulate sky.ms[/]                   an observation to try things on

[cyan]parallactic partition sky.ms sky.mms[/]          cut it into parts to work on at once

[cyan]parallactic flag sky.mms --mode tfcrop -j 4[/]   find interference with four workers

[cyan]parallactic flag --help[/]                       every parameter of a task

[cyan]parallactic run recipe.toml --dry-run[/]         the plan of a recipe before it runs

[bold]Where things run[/]

On local processes, unless [cyan]--backend[/], [cyan]PARALLACTIC_BACKEND[/] or [cyan]parallactic.toml[/] says
otherwise; [cyan]parallactic backends[/] tells what there is. Parameters have CASA's names and defaults.
The pages docs/command.md and docs/recipe.md go on from here.
"""

RUN = """Run a recipe: a TOML file of inputs and steps.

Everything is checked before the first step starts. Products and logs go to the recipe's output folder; a step
that fails stops the run, and says which of its units failed and why.
"""

RUN_END = """[bold]For example[/]

[cyan]parallactic run recipe.toml --dry-run[/]

[cyan]parallactic run recipe.toml --backend multiprocessing --workers 4[/]

[cyan]parallactic run recipe.toml --set vis=mine.ms --set flag.timecutoff=5.0[/]

[cyan]parallactic run recipe.toml --steps calibrate: --overwrite[/]
"""

LINES: Mapping[str, tuple[str, str]] = {
    "simulate": ("Data", "Make an observation whose sources, gains, noise and interference are known."),
    "partition": (
        "Data",
        "Cut a MeasurementSet into a multi-MS, so that its parts can be worked on at once.",
    ),
    "flag": ("Flagging", "Flag bad data: by hand, by limits, or by looking for interference."),
    "setmodel": ("Calibration", "Write the model of a calibrator: what an ideal instrument would have seen."),
    "calibrate": ("Calibration", "Solve for gains and bandpasses into a table that CASA reads too."),
    "apply": ("Calibration", "Apply calibration tables to the data."),
    "tclean": ("Imaging", "Make images: dirty, or cleaned."),
}
"""Panel and line of each task on the first page; written here so that the page imports no task."""

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "simulate": ("parallactic simulate sky.ms",),
    "partition": (
        "parallactic partition obs.ms obs.mms",
        "parallactic partition obs.ms obs.mms --separationaxis scan --numsubms 8 --workers 4",
        "parallactic partition obs.ms target.mms --field 3C286 --chanbin 4",
    ),
    "flag": (
        "parallactic flag obs.mms --mode manual --antenna ea05 --scan '1,3~5'",
        "parallactic flag obs.mms --mode tfcrop --timecutoff 4 --freqcutoff 3",
        "parallactic flag obs.mms --mode summary --json",
    ),
    "setmodel": ("parallactic setmodel obs.mms --field 3C286 --fluxdensity 14.9,0,0,0",),
    "calibrate": (
        "parallactic calibrate obs.mms bandpass.cal --gaintype B --refant ea05",
        "parallactic calibrate obs.mms gain.cal --gaintype G --refant ea05 --gaintable bandpass.cal",
    ),
    "apply": ("parallactic apply obs.mms --gaintable bandpass.cal --gaintable gain.cal",),
    "tclean": (
        "parallactic tclean obs.mms image/dirty --imsize 512 --cell 0.5arcsec",
        "parallactic tclean obs.mms image/clean --imsize 512 --cell 0.5arcsec --niter 1000",
    ),
}
"""Real commands for each task; the tests check that every one of them is understood."""
