"""Both recipes of the demonstration on every cluster: the flags of serial bit for bit, and its images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray

from parallactic import registry
from parallactic.measurementset import MeasurementSet
from parallactic.pipeline.demo import main
from parallactic.testing.engine import require, selected_backends

_IMAGE_TOLERANCE = 1e-6
"""Of the peak: what the order of sums in the threads of ducc0 may change of a float32 image."""


def _flags(path: Path) -> list[NDArray[np.bool_]]:
    """Return FLAG of every sub-MS, in the order of their names."""
    import casacore.tables

    columns = []
    for subset in sorted(MeasurementSet(path).subsets):
        with casacore.tables.table(str(subset), ack=False) as table:
            columns.append(
                np.concatenate([table.getcell("FLAG", row).ravel() for row in range(table.nrows())])
            )
    return columns


def _images(folder: Path) -> dict[str, NDArray[np.float32]]:
    return {path.name: fits.getdata(path) for path in sorted(folder.glob("*.fits"))}


HALVES = {"evla": "evla/evla.mms", "simulated": "simulated/observation.mms"}
CLUSTERS = [name for name in selected_backends() if registry.load(name).capabilities.several_hosts]


def _reduce(half: str, folder: Path, backend: str, workers: int) -> Path:
    place = ["--output", str(folder), "--backend", backend, "--workers", str(workers)]
    assert main(["--only", half, *place]) == 0
    return folder


@pytest.fixture(scope="module", params=HALVES)
def alone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, evla_original: Path
) -> Iterator[tuple[str, Path]]:
    """Give a half of the demonstration, and what serial made of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARALLACTIC_CACHE", str(evla_original.parent))
        half = request.param
        yield half, _reduce(half, tmp_path_factory.mktemp("alone") / half, "serial", 1)


@pytest.mark.parametrize(
    "backend", CLUSTERS or [pytest.param("", marks=pytest.mark.skip("no cluster in BACKENDS"))]
)
def test_a_cluster_gives_the_flags_and_images_of_serial(
    alone: tuple[str, Path], tmp_path: Path, backend: str
) -> None:
    require(backend)
    half, expected_folder = alone
    folder = _reduce(half, tmp_path / half, backend, 2)
    multi_ms = HALVES[half]
    for expected, found in zip(_flags(expected_folder / multi_ms), _flags(folder / multi_ms), strict=True):
        assert expected.any()
        np.testing.assert_array_equal(found, expected)
    expected_images, found_images = _images(expected_folder / half), _images(folder / half)
    assert list(found_images) == list(expected_images)
    assert expected_images
    for name, expected_image in expected_images.items():
        peak = np.nanmax(np.abs(expected_image))
        np.testing.assert_allclose(
            found_images[name], expected_image, rtol=0, atol=_IMAGE_TOLERANCE * float(peak), err_msg=name
        )
