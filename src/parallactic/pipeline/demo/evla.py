"""The real half: what the recipe made of the EVLA's J1008+0730, against what CASA makes of it."""

from __future__ import annotations

from dataclasses import dataclass

from parallactic.pipeline.flagging import flagged_fraction, flags_by_antenna_and_channel
from parallactic.pipeline.outcome import RunResult
from parallactic.pipeline.photometry import SkyImage
from parallactic.pipeline.plots import Panel, plot_bandpass, plot_flags, plot_gains, plot_images
from parallactic.pipeline.report import Bar, Picture, Section, Table
from parallactic.pipeline.solutions import Solutions

__all__ = ["BEYOND", "CASA", "Reference", "evla_section"]

BEYOND = 12.8
"""What lies further from the centre than this, in arcseconds, is noise and what calibration left."""


@dataclass(frozen=True)
class Reference:
    """The numbers of another package on the same data: ``benchmarks/demo_casa.py`` measures them."""

    name: str
    peak: float
    dynamic_range: float
    flagged: float
    tfcrop: float


CASA = Reference("CASA 6.7.0.31", peak=1.004, dynamic_range=170.37, flagged=0.2169, tfcrop=0.0246)


def evla_section(result: RunResult) -> Section:
    """Measure the products of ``examples/demo/evla.toml``, draw them, and hold them against the bars.

    Parameters
    ----------
    result
        The finished run.
    """
    folder = result.output
    dirty, cleaned = (SkyImage.read(folder / f"{name}.image.fits") for name in ("dirty", "cleaned"))
    peak, x, y = cleaned.peak()
    dynamic, rms = cleaned.dynamic_range(BEYOND)
    before, _ = dirty.dynamic_range(BEYOND)
    flagged = flagged_fraction(folder / "evla.mms")
    found = result["interference"]
    false = found.changed / found.total
    centre = (round(cleaned.centre[0]), round(cleaned.centre[1]))
    bars = [
        Bar("peak", f"{peak:.4f}", "1.00 ± 0.02", abs(peak - 1.0) <= 0.02),
        Bar("pixel of the peak", f"({x}, {y})", f"the centre, {centre}", (x, y) == centre),
        Bar(
            f'dynamic range (peak / deviation beyond {BEYOND:g}")',
            f"{dynamic:.1f}",
            "no worse than CASA's 169",
            dynamic >= 169.0,
        ),
        Bar("flagged after all", f"{100 * flagged:.2f} %", "no more than CASA's 21.7 %", flagged <= 0.217),
    ]
    numbers = Table(
        "Parallactic and CASA on the same data",
        ("", "Parallactic", CASA.name),
        [
            ("peak", f"{peak:.4f}", f"{CASA.peak:.4f}"),
            (
                "deviation beyond 12.8 arcsec",
                f"{1e3 * rms:.2f}e-3",
                f"{1e3 * CASA.peak / CASA.dynamic_range:.2f}e-3",
            ),
            ("dynamic range", f"{dynamic:.2f}", f"{CASA.dynamic_range:.2f}"),
            ("dynamic range before calibration", f"{before:.1f}", "6.1"),
            ("flagged after all", f"{100 * flagged:.2f} %", f"{100 * CASA.flagged:.2f} %"),
            ("tfcrop on data without interference", f"{100 * false:.2f} %", f"{100 * CASA.tfcrop:.2f} %"),
        ],
    )
    section = Section(
        title="EVLA, J1008+0730 at 36.3 GHz",
        text=(
            "A real observation of a point source, calibrated on itself: bandpass by 8 channels, then one "
            "complex gain for every antenna and polarisation. Nothing in it fixes the scale, so that the "
            "source is taken as 1. Before calibration there is nothing at the centre."
        ),
        bars=bars,
        tables=[numbers],
        products=[
            (folder / "cleaned.image.fits", "Cleaned image"),
            (folder / "dirty.image.fits", "Image before calibration"),
            (folder / "gains.cal", "Gains, a table that CASA's applycal reads"),
            (folder / "evla.mms", "Calibrated data, a multi-MS that CASA opens"),
            (result.logs / "run.log", "Log"),
        ],
    )
    section.pictures.append(
        Picture(
            plot_images(
                folder / "images.png",
                [
                    Panel("Before calibration", dirty, "10⁻³ of the correlator's scale per beam"),
                    Panel("Calibrated and cleaned", cleaned, "10⁻³ of the source's flux per beam"),
                ],
                title="EVLA J1008+0730",
            ),
            "The field before calibration, and after it and CLEAN; the colours follow the square root.",
        )
    )
    section.pictures.append(
        Picture(
            plot_bandpass(
                folder / "bandpass.png",
                Solutions.read(folder / "bandpass.cal"),
                title="EVLA bandpass, 8 channels a step",
            ),
            "Bandpass of every antenna relative to the reference antenna; gaps are flagged solutions.",
        )
    )
    section.pictures.append(
        Picture(
            plot_gains(folder / "gains.png", Solutions.read(folder / "gains.cal"), title="EVLA gains"),
            "Gains of every antenna: one solution for the ten-second scan.",
        )
    )
    antennas, fraction = flags_by_antenna_and_channel(folder / "evla.mms", 0)
    solutions = Solutions.read(folder / "bandpass.cal")
    panel = ("After calibration", fraction, solutions.frequencies[0])
    names = [solutions.names[antenna] or str(antenna) for antenna in antennas]
    section.pictures.append(
        Picture(
            plot_flags(folder / "flags.png", [panel], title="EVLA, fraction of flagged data", names=names),
            "Flagged data by antenna and channel: what has no solution is flagged by apply.",
        )
    )
    return section
