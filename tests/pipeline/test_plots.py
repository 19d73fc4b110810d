"""Pictures are drawn, with what they are asked to show."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from parallactic.pipeline.photometry import SkyImage
from parallactic.pipeline.plots import Panel, plot_bandpass, plot_flags, plot_gains, plot_images
from parallactic.pipeline.solutions import Solutions


def share_of(path: Path, colour: str) -> float:
    """Return the share of the picture's pixels that have a colour."""
    picture = imread(path)[..., :3]
    return float((np.abs(picture - to_rgb(colour)).max(axis=2) < 0.02).mean())


@pytest.fixture
def image() -> SkyImage:
    random = np.random.default_rng(1)
    data = 1e-3 * random.standard_normal((64, 64))
    data[40, 20] = 0.5
    return SkyImage(data, 2.0, (32.0, 32.0), (6.0, 4.0, 30.0), 10.0, 20.0, 1.4e9)


@pytest.fixture
def solutions() -> Solutions:
    time = np.repeat([0.0, 600.0, 1200.0], 4)
    antenna = np.tile(np.arange(4, dtype=np.int32), 3)
    values = np.exp(1j * antenna * time / 1000.0)[:, None, None] * np.ones((1, 1, 2))
    return Solutions(
        time, np.zeros(12, np.int32), antenna, values, np.zeros((12, 1, 2), bool), ("a", "b", "c", ""),
        (np.array([1.4e9]),), 0,
    )  # fmt: skip


def test_marks_are_drawn_where_sources_are(tmp_path: Path, image: SkyImage) -> None:
    plain = plot_images(tmp_path / "a.png", [Panel("one", image)], title="T")
    marked = plot_images(tmp_path / "b.png", [Panel("one", image)], title="T", marks=[(24.0, 16.0, "1")])
    assert share_of(plain, "#6fe3ff") == 0.0
    assert share_of(marked, "#6fe3ff") > 1e-4
    two = plot_images(tmp_path / "c.png", [Panel("one", image), Panel("two", image)], title="T", extent=30.0)
    assert imread(two).shape[1] > 1.8 * imread(plain).shape[1]


def test_an_image_with_holes_is_drawn(tmp_path: Path, image: SkyImage) -> None:
    data = image.data.copy()
    data[:, :20] = np.nan
    holed = dataclasses.replace(image, data=data, beam=None)
    picture = plot_images(tmp_path / "a.png", [Panel("holed", holed)], title="T")
    assert share_of(picture, "#202020") > 0.1


def test_gains_show_the_truth_beside_the_solutions(tmp_path: Path, solutions: Solutions) -> None:
    times = np.linspace(0.0, 1200.0, 50)
    true = np.exp(1j * np.arange(4)[None, :, None] * times[:, None, None] / 1000.0) * np.ones((1, 1, 2))
    plain = plot_gains(tmp_path / "a.png", solutions, title="G")
    both = plot_gains(tmp_path / "b.png", solutions, title="G", truth=[(times, true)])
    ink = [float((imread(path)[..., :3] < 0.9).any(axis=2).mean()) for path in (plain, both)]
    assert ink[1] > ink[0]
    single = dataclasses.replace(solutions, time=np.zeros(12))
    plot_gains(tmp_path / "c.png", single, title="G")
    assert imread(tmp_path / "c.png").shape == imread(plain).shape


def test_a_bandpass_has_gaps_where_it_is_flagged(tmp_path: Path, solutions: Solutions) -> None:
    grid = np.linspace(1.4e9, 1.5e9, 40)
    band = dataclasses.replace(
        solutions,
        values=np.ones((12, 40, 2), complex),
        flag=np.zeros((12, 40, 2), bool),
        frequencies=(grid,),
    )
    flagged = dataclasses.replace(band, flag=np.broadcast_to((np.arange(40) > 19)[:, None], (12, 40, 2)))
    whole, half = (
        plot_bandpass(tmp_path / name, entry, title="B")
        for name, entry in (("a.png", band), ("b.png", flagged))
    )
    assert imread(whole).shape == imread(half).shape
    ink = [float((np.ptp(imread(path)[..., :3], axis=2) > 0.3).mean()) for path in (whole, half)]
    assert ink[1] < 0.8 * ink[0]


def test_flags_fill_their_share_of_the_picture(tmp_path: Path) -> None:
    fraction = np.zeros((20, 32))
    grid = np.linspace(1.4e9, 1.43e9, 32)
    none = plot_flags(tmp_path / "a.png", [("p", fraction, grid)], title="F")
    fraction[:, :16] = 1.0
    half = plot_flags(tmp_path / "b.png", [("p", fraction, grid)], title="F")
    yellow, violet = "#fde725", "#440154"
    assert share_of(none, violet) > 0.4
    assert share_of(half, violet) == pytest.approx(share_of(none, violet) / 2, rel=0.05)
    assert share_of(half, yellow) > share_of(none, yellow) + 0.2
    plot_flags(tmp_path / "c.png", [("p", fraction[:3], grid)] * 3, title="F", rows=2, names=("a", "b", "c"))
    assert imread(tmp_path / "c.png").size
