"""Both recipes of the demonstration on MPI servers: the flags of serial bit for bit, and its images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray

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


@pytest.mark.parametrize(
    ("half", "multi_ms"), [("evla", "evla/evla.mms"), ("simulated", "simulated/observation.mms")]
)
def test_mpi_servers_give_the_flags_and_images_of_serial(
    tmp_path: Path, evla_original: Path, monkeypatch: pytest.MonkeyPatch, half: str, multi_ms: str
) -> None:
    if "mpi" not in selected_backends():
        pytest.skip("mpi is not in the matrix of this run; see BACKENDS of make test")
    require("mpi")
    monkeypatch.setenv("PARALLACTIC_CACHE", str(evla_original.parent))
    for backend, workers in (("serial", 1), ("mpi", 2)):
        place = ["--output", str(tmp_path / backend), "--backend", backend, "--workers", str(workers)]
        assert main(["--only", half, *place]) == 0
    alone, served = tmp_path / "serial", tmp_path / "mpi"
    for expected, found in zip(_flags(alone / multi_ms), _flags(served / multi_ms), strict=True):
        assert expected.any()
        np.testing.assert_array_equal(found, expected)
    expected_images, found_images = _images(alone / half), _images(served / half)
    assert list(found_images) == list(expected_images)
    assert expected_images
    for name, expected_image in expected_images.items():
        peak = np.nanmax(np.abs(expected_image))
        np.testing.assert_allclose(
            found_images[name], expected_image, rtol=0, atol=_IMAGE_TOLERANCE * float(peak), err_msg=name
        )
