"""One image, whatever runs it: the blocks are cut from the data, and added in a fixed order."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tclean_checks import CELL, Field, read

from parallactic import Executor
from parallactic.measurementset import MeasurementSet
from parallactic.measurementset.selection import Selection
from parallactic.tasks import partition, tclean
from parallactic.tasks.tclean import plan

CALL = {
    "imsize": 128, "cell": f"{CELL}arcsec", "weighting": "briggs", "niter": 200, "cycleniter": 70,
    "pblimit": -1.0, "datacolumn": "data",
}  # fmt: skip
KINDS = ("psf", "residual", "model", "image", "mask", "sumwt", "pb")


@pytest.fixture(scope="module", autouse=True)
def many_blocks() -> Iterator[None]:
    """Cut the small set of the tests into a dozen blocks (on the client, where blocks are cut)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "_LARGEST_BLOCK", 4000)
        yield


@pytest.fixture(scope="module")
def expected(
    field: Field, serial: Executor, many_blocks: None, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, np.ndarray]:
    """The image of the plain set by the serial backend."""
    return image(field.path, serial, tmp_path_factory.mktemp("serial"))


def image(path: Path, executor: Executor, folder: Path) -> dict[str, np.ndarray]:
    summary = tclean(str(path), f"{folder}/im", executor=executor, **CALL)
    assert summary.counts["blocks"] >= 10
    assert summary.counts["major cycles"] >= 3
    return {kind: read(folder / f"im.{kind}.fits") for kind in KINDS}


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_serial_and_any_number_of_workers_agree(
    field: Field, expected: dict[str, np.ndarray], tmp_path: Path, workers: int
) -> None:
    with Executor(backend="multiprocessing", workers=workers) as ex:
        found = image(field.path, ex, tmp_path)
    peak = expected["image"].max()
    for kind in KINDS:
        # The promise is 1e-6 of the peak. Threads of the gridder add in no fixed order, but in double
        # precision: 1e-14. So nearly every pixel has the same bits, and CLEAN the same components.
        assert np.abs(found[kind] - expected[kind]).max() <= 1e-6 * peak, kind
        assert np.mean(found[kind] != expected[kind]) < 0.01, kind
    np.testing.assert_array_equal(found["model"] != 0, expected["model"] != 0)


@pytest.mark.parametrize("axis", ["scan", "spw", "baseline"])
def test_a_multi_ms_gives_the_image_of_its_ms(
    field: Field, serial: Executor, expected: dict[str, np.ndarray], tmp_path: Path, axis: str
) -> None:
    partition(str(field.path), str(tmp_path / "field.mms"), separationaxis=axis, executor=serial)
    found = image(tmp_path / "field.mms", serial, tmp_path)
    for kind in KINDS:
        # The same blocks of the same data: the promise of 1e-6 of the peak holds here too.
        assert np.abs(found[kind] - expected[kind]).max() <= 1e-6 * expected["image"].max(), kind
    np.testing.assert_array_equal(found["model"] != 0, expected["model"] != 0)


def test_blocks_hold_every_row_once(field: Field) -> None:
    from parallactic.kernels.imaging import ImageGeometry

    ms = MeasurementSet(field.path)
    planned = plan.plan_imaging(ms, ms.select(Selection()), ImageGeometry(64, 64, 1e-5, 1e-5), "")
    for place in (0, 1):
        rows = np.concatenate([block.rows[place] for block in planned.blocks])
        assert sorted(rows) == sorted(np.flatnonzero(ms.index.ddid == place))
    assert all(len(block.bands) == 2 for block in planned.blocks)
    ends = [ms.index.time[block.rows[0]].max() for block in planned.blocks]
    starts = [ms.index.time[block.rows[0]].min() for block in planned.blocks]
    assert all(start >= end for start, end in zip(starts[1:], ends[:-1], strict=True))


def test_flags_written_as_rows_or_as_channels_drop_the_same(
    field: Field, serial: Executor, tmp_path: Path
) -> None:
    from casacore.tables import table

    for name in ("rows", "channels"):
        shutil.copytree(field.path, tmp_path / f"{name}.ms")
        with table(str(tmp_path / f"{name}.ms"), readonly=False, ack=False) as main:
            bad = main.getcol("ANTENNA1") == 3
            if name == "rows":
                main.putcol("FLAG_ROW", bad)
            else:
                flag = main.getcol("FLAG")
                flag[bad, :, 3] = True  # one hand is enough
                main.putcol("FLAG", flag)
        tclean(
            str(tmp_path / f"{name}.ms"),
            f"{tmp_path}/{name}",
            64,
            f"{CELL}arcsec",
            datacolumn="data",
            executor=serial,
        )
    first, second = (read(tmp_path / f"{name}.image.fits") for name in ("rows", "channels"))
    np.testing.assert_array_equal(first, second)
    whole = read(tmp_path / "rows.sumwt.fits").item()
    # Antenna 3 is the first antenna of ten of the 91 baselines.
    assert whole == 2 * 40 * 12 * (91 - 10)
