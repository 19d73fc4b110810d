"""The example recipes run, on a small observation, and their products are there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import parallactic as plx
from parallactic.pipeline import make_plan

FOLDER = Path(__file__).parents[2] / "examples" / "recipes"


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated observation."""
    from parallactic.tasks import simulate

    path = tmp_path_factory.mktemp("examples") / "sky.ms"
    simulate(str(path), nantennas=6, nchan=16, rfi="none", executor="serial")
    return path


@pytest.fixture
def folder(tmp_path: Path, sky: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the observation in it."""
    shutil.copytree(sky, tmp_path / "sky.ms")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARALLACTIC_BACKEND", "serial")
    return tmp_path


def test_first(folder: Path) -> None:
    result = plx.run(FOLDER / "first.toml", set={"field": "TARGET"})
    assert result.ok
    assert [step.name for step in result.steps] == ["partition", "interference", "report", "dirty"]
    assert (folder / "first-output" / "sky.mms" / "SUBMSS").is_dir()
    assert (folder / "first-output" / "dirty.image.fits").exists()


def test_transfer(folder: Path) -> None:
    result = plx.run(FOLDER / "transfer.toml", set=["target=TARGET"])
    assert result.ok
    assert result.output == folder / "TARGET-output"
    assert result.steps[-1].state == "not run"
    made = {path.name for path in result.output.iterdir()}
    assert {"all.mms", "bandpass.cal", "gains.cal", "TARGET.image.fits"} <= made
    # Products that are there are found beforehand, images too; a step that was not run may follow.
    with pytest.raises(plx.InvalidSpec, match=r"TARGET\..*\.fits' exists already"):
        make_plan(FOLDER / "transfer.toml", steps="image")
    assert plx.run(FOLDER / "transfer.toml", steps="dirty").ok


def test_every_example_is_tried() -> None:
    assert {path.stem for path in FOLDER.glob("*.toml")} == {"first", "transfer"}
