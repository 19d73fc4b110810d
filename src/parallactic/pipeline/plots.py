"""Pictures of images, solutions and flags, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse

from parallactic.pipeline.photometry import SkyImage
from parallactic.pipeline.solutions import Solutions

__all__ = ["Mark", "Panel", "plot_bandpass", "plot_flags", "plot_gains", "plot_images"]

Mark = tuple[float, float, str]
"""Where to put a circle: east and north of the phase centre in arcseconds, and its label."""


@dataclass(frozen=True)
class Panel:
    """One image of a picture.

    Parameters
    ----------
    title
        Above it.
    image
        What to draw.
    unit, factor
        Label of the colours, and what the image is multiplied by to be in that unit.
    """

    title: str
    image: SkyImage
    unit: str = "mJy/beam"
    factor: float = 1e3


_DPI = 110
_INK = "#333333"


def _figure(width: float, height: float, title: str) -> Figure:
    # Not through pyplot: no global state, so that a report may be written from any thread.
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12)
    return figure


def plot_images(
    path: str | Path,
    panels: Sequence[Panel],
    *,
    title: str,
    marks: Sequence[Mark] = (),
    extent: float | None = None,
) -> Path:
    """Draw images of the sky side by side, with their beams, and circles where sources are known to be.

    Parameters
    ----------
    path
        The PNG file.
    panels
        The images.
    title
        Of the whole.
    marks
        Circles to draw on every panel.
    extent
        Half the width of what is shown, in arcseconds. None: the whole image.
    """
    figure = _figure(5.6 * len(panels) + 0.4, 5.3, title)
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, panel in zip(row, panels, strict=True):
        _image(axes, figure, panel, marks, extent)
    return _save(figure, path)


def _image(axes: Axes, figure: Figure, panel: Panel, marks: Sequence[Mark], extent: float | None) -> None:
    image, factor = panel.image, panel.factor
    ny, nx = image.data.shape
    (x0, y0), cell = image.centre, image.cell
    edges = [(x0 + 0.5) * cell, (x0 + 0.5 - nx) * cell, -(y0 + 0.5) * cell, (ny - y0 - 0.5) * cell]
    low, high = -4.0 * image.noise() * factor, image.peak()[0] * factor
    # Faint emission and sidelobes show beside the peak: the square root of the value above a negative floor.
    shown = axes.imshow(
        image.data * factor,
        origin="lower",
        extent=(edges[0], edges[1], edges[2], edges[3]),
        cmap="inferno",
        norm=PowerNorm(0.5, vmin=low, vmax=high),
        interpolation="nearest",
    )
    for east, north, label in marks:
        axes.plot(east, north, "o", ms=16, mfc="none", mec="#6fe3ff", mew=1.2)
        style: dict[str, Any] = {"textcoords": "offset points", "color": "#6fe3ff", "fontsize": 9}
        axes.annotate(label, (east, north), (11, 9), **style)
    reach = extent or 0.5 * cell * min(nx, ny)
    axes.set(xlim=(reach, -reach), ylim=(-reach, reach))
    if image.beam:
        major, minor, angle = image.beam
        place = (0.88 * reach, -0.88 * reach)
        # The picture's x grows to the west, so the angle from north through east turns to the left.
        axes.add_patch(Ellipse(place, minor, major, angle=-angle, fc="none", ec="white", lw=1.2))
        shape = f'beam {major:.2f}" × {minor:.2f}"'
        axes.annotate(shape, place, (16, -4), textcoords="offset points", color="white", fontsize=8)
    axes.set_facecolor("#202020")
    axes.set(xlabel="East of the phase centre (arcsec)", ylabel="North of the phase centre (arcsec)")
    axes.set_title(panel.title, fontsize=10)
    bar = figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.02)
    bar.set_label(panel.unit)


def plot_gains(
    path: str | Path,
    solutions: Solutions,
    *,
    title: str,
    truth: Sequence[tuple[npt.NDArray[np.float64], npt.NDArray[np.complex128]]] | None = None,
) -> Path:
    """Draw amplitude and phase of gains against time, a column for every spectral window and feed.

    Solutions of one time alone are drawn against the antennas.

    Parameters
    ----------
    path
        The PNG file.
    solutions
        A gain table.
    title
        Of the whole.
    truth
        For every window, times in seconds of MJD (ntime,) and true gains (ntime, nant, nfeed), drawn as thin
        lines, in phase relative to the same reference antenna.
    """
    spws, nfeed = solutions.spws, solutions.values.shape[-1]
    columns = [(spw, feed) for spw in spws for feed in range(nfeed)]
    figure = _figure(min(4.2 * len(columns), 17.0), 6.2, title)
    grid = figure.subplots(2, len(columns), squeeze=False, sharex=True, sharey="row")
    start = solutions.time.min()
    moment = bool(np.all(solutions.time == start))
    for column, (spw, feed) in enumerate(columns):
        top, bottom = grid[0, column], grid[1, column]
        for antenna, colour in _colours(solutions.antennas):
            rows = (solutions.spw == spw) & (solutions.antenna == antenna)
            rows &= ~solutions.flag[:, 0, feed]
            along = solutions.antenna[rows] if moment else (solutions.time[rows] - start) / 60.0
            values = solutions.values[rows, 0, feed]
            top.plot(along, np.abs(values), "o", ms=4, color=colour)
            bottom.plot(along, np.degrees(np.angle(values)), "o", ms=4, color=colour)
            if truth is not None and not moment:
                times, gains = truth[spw]
                line = gains[:, antenna, feed] * np.exp(-1j * np.angle(gains[:, solutions.reference, feed]))
                top.plot((times - start) / 60.0, np.abs(line), "-", lw=0.7, color=colour)
                bottom.plot((times - start) / 60.0, _unbroken(np.angle(line)), "-", lw=0.7, color=colour)
        top.set_title(f"spw {spw}, {_feed(feed, nfeed)}", fontsize=10)
        bottom.set(
            xlabel="Antenna ID (colours: names)" if moment else "Time since the first solution (min)",
            ylim=(-185, 185),
            yticks=range(-180, 181, 90),
        )
    grid[0, 0].set_ylabel("Amplitude")
    grid[1, 0].set_ylabel("Phase (degrees)")
    _legend(figure, solutions)
    return _save(figure, path)


def _feed(feed: int, count: int) -> str:
    """Name a feed; a table of solutions does not say whether it is circular or linear."""
    return f"feed {('R/X', 'L/Y')[feed]}" if count == 2 else "both feeds"


def _unbroken(phase: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return phases in degrees, with a gap where they jump from one side of the circle to the other."""
    degrees = np.degrees(phase)
    degrees[1:][np.abs(np.diff(degrees)) > 180.0] = np.nan
    return np.asarray(degrees, dtype=np.float64)


def plot_bandpass(path: str | Path, solutions: Solutions, *, title: str) -> Path:
    """Draw amplitude and phase of a bandpass against frequency, a column for every window and feed."""
    spws, nfeed = solutions.spws, solutions.values.shape[-1]
    columns = [(spw, feed) for spw in spws for feed in range(nfeed)]
    figure = _figure(min(4.2 * len(columns), 17.0), 6.2, title)
    grid = figure.subplots(2, len(columns), squeeze=False, sharey="row", sharex=False)
    for column, (spw, feed) in enumerate(columns):
        top, bottom = grid[0, column], grid[1, column]
        for antenna, colour in _colours(solutions.antennas):
            for row in np.flatnonzero((solutions.spw == spw) & (solutions.antenna == antenna)):
                good = ~solutions.flag[row, :, feed]
                frequency = solutions.frequencies[spw] / 1e9
                values = np.where(good, solutions.values[row, :, feed], np.nan)[: len(frequency)]
                style: dict[str, Any] = {"marker": ".", "ms": 3, "lw": 0.8, "color": colour}
                top.plot(frequency, np.abs(values), **style)
                bottom.plot(frequency, _unbroken(np.angle(values)), **style)
        top.set_title(f"spw {spw}, {_feed(feed, nfeed)}", fontsize=10)
        bottom.set_xlabel("Frequency (GHz)")
        for axes in (top, bottom):
            axes.ticklabel_format(axis="x", useOffset=False)
            axes.locator_params(axis="x", nbins=4)
    grid[0, 0].set_ylabel("Amplitude")
    grid[1, 0].set_ylabel("Phase (degrees)")
    _legend(figure, solutions)
    return _save(figure, path)


def plot_flags(
    path: str | Path,
    panels: Sequence[tuple[str, npt.NDArray[np.float64], npt.NDArray[np.float64]]],
    *,
    title: str,
    rows: int = 1,
    names: Sequence[str] = (),
) -> Path:
    """Draw fractions of flagged data as pictures of channel against integration, or against antenna.

    Parameters
    ----------
    path
        The PNG file.
    panels
        Title, fraction (ntime or nant, nchan) from 0 to 1, NaN without data, and the channels' frequencies
        in Hz.
    title
        Of the whole.
    rows
        How many rows of panels, filled row by row.
    names
        Of the antennas, if the fractions are theirs.
    """
    columns = -(-len(panels) // rows)
    figure = _figure(min(5.0 * columns + 0.8, 17.0), 3.4 * rows + 0.5, title)
    grid = figure.subplots(rows, columns, squeeze=False)
    shown: Any = None
    for axes, (name, fraction, frequencies) in zip(grid.flat, panels, strict=False):
        step = (frequencies[-1] - frequencies[0]) / max(len(frequencies) - 1, 1) / 2e9
        shown = axes.imshow(
            100.0 * fraction,
            origin="lower",
            aspect="auto",
            extent=(frequencies[0] / 1e9 - step, frequencies[-1] / 1e9 + step, -0.5, len(fraction) - 0.5),
            cmap="viridis",
            vmin=0.0,
            vmax=100.0,
            interpolation="nearest",
        )
        axes.set_title(name, fontsize=10)
        axes.set(xlabel="Frequency (GHz)", ylabel="Antenna" if names else "Integration")
        if names:
            axes.set_yticks(range(len(names)), names)
        axes.ticklabel_format(axis="x", useOffset=False)
        axes.locator_params(axis="x", nbins=5)
    for axes in grid.flat[len(panels) :]:
        axes.axis("off")
    figure.colorbar(shown, ax=grid, fraction=0.03, pad=0.01).set_label(
        "% flagged" if names else "% of the baselines' data"
    )
    return _save(figure, path)


def _colours(antennas: Sequence[int]) -> list[tuple[int, Any]]:
    wheel = colormaps["turbo"]
    last = max(len(antennas) - 1, 1)
    return [(antenna, wheel(0.05 + 0.9 * place / last)) for place, antenna in enumerate(antennas)]


def _legend(figure: Figure, solutions: Solutions) -> None:
    handles = [
        Line2D([], [], marker="o", ls="", ms=5, color=colour, label=solutions.names[antenna] or str(antenna))
        for antenna, colour in _colours(solutions.antennas)
    ]
    columns = min(len(handles), int(figure.get_figwidth() / 0.75))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def _save(figure: Figure, path: str | Path) -> Path:
    for axes in figure.axes:
        axes.tick_params(labelsize=8, colors=_INK)
    figure.savefig(path, metadata={"Software": "parallactic"})
    return Path(path)
