from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from sky import ARCSEC, C, Point, observe

from parallactic.errors import InvalidSpec
from parallactic.kernels.imaging import ImageGeometry, Visibilities, density, imaging_weight
from parallactic.kernels.imaging.weighting import Weighting, briggs_factor

GEOMETRY = ImageGeometry(64, 48, 12 * ARCSEC, 15 * ARCSEC)


@pytest.fixture(scope="module")
def vis() -> Visibilities:
    vis = observe([Point(0, 0, 1.0)], GEOMETRY, rows=400)
    weight = vis.weight.copy()
    weight[::7] = 0
    return replace(vis, weight=weight)


def plain(vis: Visibilities, scheme: str, robust: float) -> npt.NDArray[np.float64]:
    """The formulae of Briggs's thesis, one visibility at a time."""
    nx, ny = GEOMETRY.shape
    grid: dict[tuple[int, int], float] = {}

    def cell(row: int, channel: int, sign: int) -> tuple[int, int]:
        u, v = sign * vis.uvw[row, :2] * vis.frequency[channel] / C
        return int(np.floor(u * nx * GEOMETRY.cell_x + nx / 2)), int(
            np.floor(v * ny * GEOMETRY.cell_y + ny / 2)
        )

    def on_grid(place: tuple[int, int]) -> bool:
        return 0 <= place[0] < nx and 0 <= place[1] < ny

    rows, channels = vis.weight.shape
    for row in range(rows):
        for channel in range(channels):
            for sign in (1, -1):
                place = cell(row, channel, sign)
                if on_grid(place):
                    grid[place] = grid.get(place, 0.0) + float(vis.weight[row, channel])
    f2 = (5 * 10**-robust) ** 2 / (sum(w * w for w in grid.values()) / sum(grid.values()))
    out = np.zeros(vis.weight.shape)
    for row in range(rows):
        for channel in range(channels):
            omega, place = float(vis.weight[row, channel]), cell(row, channel, 1)
            if omega > 0 and on_grid(place):
                out[row, channel] = omega / (grid[place] if scheme == "uniform" else 1 + grid[place] * f2)
    return out


@pytest.mark.parametrize(
    ("scheme", "robust"), [("uniform", 0.0), ("briggs", -1.0), ("briggs", 0.5), ("briggs", 2.0)]
)
def test_weights_follow_the_formula(vis: Visibilities, scheme: Weighting, robust: float) -> None:
    expected = plain(vis, scheme, robust)
    assert 0 < np.count_nonzero(expected) < np.count_nonzero(vis.weight)  # some lie off the grid
    weight = imaging_weight(vis, density(vis, GEOMETRY), GEOMETRY, scheme, robust)
    np.testing.assert_allclose(weight, expected, rtol=1e-6)  # single precision


def test_natural_weights_are_those_of_the_data(vis: Visibilities) -> None:
    assert imaging_weight(vis, None, GEOMETRY, "natural") is vis.weight


def test_uniform_weights_sum_to_one_in_a_cell_of_either_half_plane(vis: Visibilities) -> None:
    weight = imaging_weight(vis, density(vis, GEOMETRY), GEOMETRY, "uniform")
    cells = density(replace(vis, weight=weight), GEOMETRY)
    # Both a visibility and its conjugate fall on the grid, so that a cell holds what was divided by it.
    np.testing.assert_allclose(cells[cells > 0.5].min(), 1.0, rtol=0.5)
    assert weight.sum() <= np.count_nonzero(density(vis, GEOMETRY))


def test_briggs_runs_from_uniform_to_natural(vis: Visibilities) -> None:
    grid = density(vis, GEOMETRY)
    uniform = imaging_weight(vis, grid, GEOMETRY, "uniform")
    on = uniform > 0
    strong = imaging_weight(vis, grid, GEOMETRY, "briggs", -2.0)[on] / uniform[on]
    weak = imaging_weight(vis, grid, GEOMETRY, "briggs", 2.0)[on] / vis.weight[on]
    # W f² is about (5 · 10^∓2)²: 2.5e5 and 2.5e-3.
    assert strong.std() / strong.mean() < 1e-3
    assert 1 - weak.min() < 0.02


def test_densities_of_blocks_add_up(vis: Visibilities) -> None:
    parts = [
        replace(vis, uvw=vis.uvw[s], values=vis.values[s], weight=vis.weight[s])
        for s in (slice(0, 150), slice(150, None))
    ]
    np.testing.assert_allclose(sum(density(p, GEOMETRY) for p in parts), density(vis, GEOMETRY), rtol=1e-12)


def test_an_empty_grid_gives_no_factor() -> None:
    assert briggs_factor(np.zeros((4, 4)), 0.5) == 0.0


@pytest.mark.parametrize(
    ("scheme", "robust", "grid", "words"),
    [
        ("briggs", 3.0, True, "between -2"),
        ("radial", 0.0, True, "unknown"),
        ("uniform", 0.0, False, "density"),
    ],
)
def test_what_cannot_be_is_said(
    vis: Visibilities, scheme: str, robust: float, grid: bool, words: str
) -> None:
    with pytest.raises(InvalidSpec, match=words):
        imaging_weight(vis, density(vis, GEOMETRY) if grid else None, GEOMETRY, scheme, robust)  # type: ignore[arg-type]
