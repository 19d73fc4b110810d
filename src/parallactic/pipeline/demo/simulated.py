"""The simulated half: what the recipe made of an observation of which everything is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from parallactic.measurementset.simulation import Truth
from parallactic.pipeline.flagging import Detection, detections, flags_by_time_and_channel
from parallactic.pipeline.outcome import RunResult
from parallactic.pipeline.photometry import SkyImage
from parallactic.pipeline.plots import Panel, plot_bandpass, plot_flags, plot_gains, plot_images
from parallactic.pipeline.report import Bar, Picture, Section, Table
from parallactic.pipeline.solutions import Solutions

Complex = npt.NDArray[np.complex128]
Float = npt.NDArray[np.float64]

__all__ = ["FLUX_BAR", "POSITION_BAR", "simulated_section"]

FLUX_BAR = 0.02
"""By how much a flux may differ from the truth, relative to it."""

WITHOUT_EDGES = slice(4, 60)
"""The channels that the recipe does not flag by hand."""

POSITION_BAR = 0.05
"""By how many pixels a position may differ from the truth."""


def simulated_section(result: RunResult) -> Section:
    """Measure the products of ``examples/demo/simulated.toml``, draw them, and hold them against the truth.

    Parameters
    ----------
    result
        The finished run.
    """
    folder = result.output
    truth = Truth.load(folder / "observation.ms")
    section = Section(
        title="Simulated observation: calibrators and target",
        text=(
            "A flux calibrator, a phase calibrator and a target with four sources off its centre, two of "
            "them polarised, in two spectral windows. Antennas have gains that drift, a bandpass, delays and "
            "leakage; there are noise and interference. The target is imaged with the calibrators' "
            "solutions alone."
        ),
        products=[
            (folder / "target.image.fits", "Cleaned image of the target"),
            (folder / "dirty.image.fits", "Image before flagging and calibration"),
            (folder / "observation.ms.truth.json", "What was put in"),
            (folder / "gains.cal", "Gains, a table that CASA's applycal reads"),
            (folder / "observation.mms", "Calibrated data, a multi-MS that CASA opens"),
            (result.logs / "run.log", "Log"),
        ],
    )
    _sources(section, folder, truth)
    _solutions(section, folder, truth)
    _interference(section, folder, truth)
    return section


def _sources(section: Section, folder: Path, truth: Truth) -> None:
    dirty, image = SkyImage.read(folder / "dirty.image.fits"), SkyImage.read(folder / "target.image.fits")
    observation = truth.observation
    sources = observation.fields[-1].sources
    frequencies = np.concatenate(truth.instrument.frequencies)
    rows, flux_errors, distances = [], [], []
    for number, source in enumerate(sources, start=1):
        # All channels weigh alike in the image, so that it shows the mean over them.
        expected = source.i * float(source.scale(frequencies, observation.reffreq).mean())
        fit = image.fit(source.l, source.m)
        x, y = image.pixel(source.l, source.m)
        flux_errors.append(fit.flux / expected - 1.0)
        distances.append(float(np.hypot(fit.x - x, fit.y - y)))
        polarised = 100.0 * float(np.sqrt(source.q**2 + source.u**2 + source.v**2)) / source.i
        rows.append(
            (
                str(number),
                f"{source.l:+.1f}, {source.m:+.1f}",
                f"{polarised:.1f} %",
                f"{expected:.4f}",
                f"{fit.flux:.4f}",
                f"{100 * flux_errors[-1]:+.2f} %",
                f"{distances[-1]:.3f}",
            )
        )
    header = ("source", "offset (″)", "polarised", "true (Jy)", "found (Jy)", "error", "off (pixel)")
    section.tables.append(Table("Sources of the target, fitted with the beam", header, rows))
    worst_flux, worst_place = max(abs(error) for error in flux_errors), max(distances)
    section.bars += [
        Bar(
            "largest error of a flux",
            f"{100 * worst_flux:.2f} %",
            f"within {100 * FLUX_BAR:g} %",
            worst_flux <= FLUX_BAR,
        ),
        Bar(
            "largest error of a position",
            f"{worst_place:.3f} pixel",
            f"within {POSITION_BAR:g} pixel",
            worst_place <= POSITION_BAR,
        ),
    ]
    marks = [(source.l, source.m, f"{number}") for number, source in enumerate(sources, start=1)]
    panels = [Panel("Before flagging and calibration", dirty), Panel("Flagged, calibrated, cleaned", image)]
    picture = plot_images(folder / "images.png", panels, title="Simulated target", marks=marks)
    noise = 1e3 * image.noise()
    section.pictures.append(
        Picture(
            picture,
            f"The target; circles mark where the sources were put. Noise of the image {noise:.2f} mJy.",
        )
    )


def _solutions(section: Section, folder: Path, truth: Truth) -> None:
    gains, bandpass = Solutions.read(folder / "gains.cal"), Solutions.read(folder / "bandpass.cal")
    true = [(truth.times, truth.instrument.gains[spw] * _shared(truth, bandpass, spw)) for spw in gains.spws]
    amplitude, phase = _gain_errors(gains, truth, [values for _, values in true])
    section.tables.append(
        Table(
            "Gains against the truth, over all scans of the calibrators",
            ("", "median error", "95 % within"),
            [
                ("amplitude", *(f"{100 * value:.2f} %" for value in np.percentile(amplitude, [50, 95]))),
                ("phase", *(f"{value:.2f}°" for value in np.percentile(phase, [50, 95]))),
            ],
        )
    )
    section.pictures += [
        Picture(
            plot_gains(folder / "gains.png", gains, title="Simulated gains", truth=true),
            "Solved gains (points) and the true ones (lines), phases relative to the reference antenna.",
        ),
        Picture(
            plot_bandpass(folder / "bandpass.png", bandpass, title="Simulated bandpass, delays included"),
            "Bandpass of the flux calibrator; slopes of the phases are delays, gaps are flagged channels.",
        ),
    ]


def _shared(truth: Truth, bandpass: Solutions, spw: int) -> Complex:
    """Return what the solved bandpass left to the gains, (nant, nfeed): its normalisation is a convention.

    The true bandpass and delay, relative to the phase of the reference antenna, over the solved bandpass, in
    the mean over the good channels.
    """
    instrument = truth.instrument
    true = instrument.diagonal(spw, slice(0, 1))[0] / instrument.gains[spw, 0][:, None]
    true *= np.exp(-1j * np.angle(true[bandpass.reference]))
    shared = np.full((true.shape[0], true.shape[2]), np.nan, dtype=np.complex128)
    for row in np.flatnonzero(bandpass.spw == spw):
        antenna = bandpass.antenna[row]
        good = ~bandpass.flag[row]
        ratio = np.where(good, true[antenna] / np.where(good, bandpass.values[row], 1.0), 0.0)
        shared[antenna] = ratio.sum(axis=0) / good.sum(axis=0)
    return shared


def _gain_errors(gains: Solutions, truth: Truth, true: list[Complex]) -> tuple[Float, Float]:
    """Return relative errors of amplitudes, and errors of phases in degrees, of all good solutions."""
    ratio = np.empty(gains.values[:, 0].shape, dtype=np.complex128)
    for row, step in enumerate(truth.at(gains.time)):
        expected = true[gains.spw[row]][step]
        turn = np.exp(-1j * np.angle(expected[gains.reference]))
        ratio[row] = gains.values[row, 0] / (expected[gains.antenna[row]] * turn)
    good = ~gains.flag[:, 0] & np.isfinite(ratio)
    return np.abs(np.abs(ratio[good]) - 1.0), np.abs(np.degrees(np.angle(ratio[good])))


def _interference(section: Section, folder: Path, truth: Truth) -> None:
    found = detections(folder / "observation.mms", truth, WITHOUT_EDGES)
    section.tables.append(
        Table(
            "Interference, strength in units of the noise of one visibility, without the edges of the band",
            ("", "visibilities", "flagged"),
            [(_named(entry), f"{entry.visibilities:,}", f"{100 * entry.rate:.2f} %") for entry in found],
        )
    )
    panels = []
    for spw, code in enumerate(truth.rfi):
        frequencies = truth.instrument.frequencies[spw]
        panels.append((f"Interference put in, spw {spw}", (code > 0).mean(axis=2), frequencies))
        _, fraction = flags_by_time_and_channel(folder / "observation.mms", spw)
        panels.append((f"Flagged, spw {spw}", fraction, frequencies))
    section.pictures.append(
        Picture(
            plot_flags(
                folder / "flags.png", panels, title="Simulated interference and flags", rows=len(truth.rfi)
            ),
            "Where interference was put in, and where data are flagged, by channel and integration.",
        )
    )


def _named(entry: Detection) -> str:
    return {"interference": "all interference: found", "clean": "clean data: false"}.get(
        entry.name, entry.name
    )
