"""The demonstration from its command line: met bars, missed bars, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from parallactic.pipeline.demo import main

RECIPES = Path(__file__).parents[2] / "examples" / "demo"


@pytest.fixture
def cached_evla(evla_original: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The EVLA set in the cache, where the demonstration looks for it."""
    monkeypatch.setenv("PARALLACTIC_CACHE", str(evla_original.parent))
    return evla_original


def numbers(output: Path) -> dict[str, dict[str, object]]:
    """Return the bars of a report by name."""
    report = json.loads((output / "report.json").read_text())
    return {bar["name"]: bar for section in report["sections"] for bar in section["bars"]}


def main_with(folder: Path, output: Path, old: str, new: str) -> int:
    """Run the real half by its recipe with one change."""
    recipes = folder / "recipes"
    shutil.copytree(RECIPES, recipes)
    text = (recipes / "evla.toml").read_text()
    assert old in text
    (recipes / "evla.toml").write_text(text.replace(old, new))
    place = ["--recipes", str(recipes), "--output", str(output)]
    return main(["--only", "evla", "--backend", "serial", *place])


def test_the_real_half_meets_its_bars_twice_in_a_row(
    tmp_path: Path, cached_evla: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "demo-output"
    for _ in range(2):
        assert main(["--only", "evla", "--output", str(output), "--workers", "2"]) == 0
        bars = numbers(output)
        assert abs(float(str(bars["peak"]["value"])) - 1.0) <= 0.02
        assert bars["pixel of the peak"]["value"] == "(128, 128)"
        assert all(bar["met"] for bar in bars.values())
    shown = capfd.readouterr().out
    assert "Every bar is met" in shown
    assert str(output / "report.html") in shown.replace("\n", "")
    for name in ("images.png", "bandpass.png", "gains.png", "flags.png", "cleaned.image.fits"):
        assert (output / "evla" / name).stat().st_size > 1000


@pytest.mark.slow
def test_the_simulated_half_meets_its_bars(tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert main(["--only", "simulated", "--output", str(output), "--workers", "2"]) == 0
    report = json.loads((output / "report.json").read_text())
    tables = {table["title"].split(",")[0]: table["rows"] for table in report["sections"][0]["tables"]}
    sources = tables["Sources of the target"]
    assert len(sources) == 4
    for row in sources:
        true, found, off = (float(row[place]) for place in (3, 4, 6))
        assert abs(found / true - 1.0) <= 0.02
        assert off <= 0.05
    rates = {row[0]: float(row[2].split()[0]) for row in tables["Interference"]}
    # What is 30 times the noise or more must be found, and clean data left alone: CASA's tfcrop flags 2.8 %
    # of them.
    strong = [rate for name, rate in rates.items() if name.endswith(("200 σ", "100 σ", "60 σ", "30 σ"))]
    assert len(strong) == 4
    assert min(strong) > 99.0
    assert rates["clean data: false"] < 2.8
    # Gains of calibrators of 15 and 2.5 Jy: noise of some 0.05 %.
    errors = tables["Gains against the truth"]
    assert float(errors[0][1].split()[0]) < 0.2
    assert float(errors[1][1].rstrip("°")) < 0.2


def test_a_missed_bar_is_a_failure(
    tmp_path: Path, cached_evla: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert main_with(tmp_path, output, "[1.0, 0.0, 0.0, 0.0]", "[1.1, 0.0, 0.0, 0.0]") == 1
    assert numbers(output)["peak"]["met"] is False
    assert "MISSED" in capfd.readouterr().out


def test_a_step_that_fails_fails_its_half_and_is_in_the_report(
    tmp_path: Path, cached_evla: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert main_with(tmp_path, output, 'solint = "inf,8ch"', 'solint = "inf,8ch"\nminsnr = 1e9') == 1
    section = json.loads((output / "report.json").read_text())["sections"][0]
    assert "'bandpass' (calibrate)" in section["error"]
    assert "'bandpass' (calibrate)" in capfd.readouterr().out.replace("\n", " ")


def test_a_folder_of_someone_else_is_left_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    assert main(["--output", str(mine)]) == 2
    assert (mine / "thesis.tex").read_text() == "years of work"
    assert "not the output of an earlier demonstration" in capfd.readouterr().out.replace("\n", " ")


def test_without_recipes_it_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--recipes", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert "--recipes" in capfd.readouterr().out
    assert not (tmp_path / "out").exists()


def test_a_backend_that_is_not_there_is_said_before_anything_runs(
    tmp_path: Path, cached_evla: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = main(["--only", "evla", "--output", str(tmp_path / "out"), "--backend", "multiprocesing"])
    assert code != 0
    assert "multiprocessing" in capfd.readouterr().out
