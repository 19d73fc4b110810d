"""What cannot be, through the command with real tasks: one sentence, the exit code, nothing left behind."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_helpers import SMALL, environment, one_sentence


@pytest.fixture(scope="module")
def observation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated MeasurementSet, made by the command."""
    folder = tmp_path_factory.mktemp("observation")
    subprocess.run(
        [sys.executable, "-m", "parallactic", "simulate", "sky.ms", *SMALL, "--backend", "serial"],
        cwd=folder,
        env=environment(folder),
        check=True,
        capture_output=True,
    )
    return folder / "sky.ms"


@pytest.fixture
def folder(tmp_path: Path, observation: Path) -> Path:
    """The command's working folder with a copy of the observation in it."""
    shutil.copytree(observation, tmp_path / "sky.ms")
    (tmp_path / "file").write_text("not a folder")
    return tmp_path


def _tree(folder: Path) -> dict[str, bytes]:
    """Return every file with its content; casacore's lock files come and go with reading."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "table.lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["flag", "nothing.ms"], ["no MeasurementSet", "nothing.ms"]),
        (["flag", "file"], ["file is not a MeasurementSet"]),
        (["flag", "."], ["is not a MeasurementSet"]),
        (["flag", "sky.ms", "--field", "TARGETT"], ["field='TARGETT'", "no field", "TARGET"]),
        (["flag", "sky.ms", "--scan", "99"], ["scan='99'", "no scan 99"]),
        (["flag", "sky.ms", "--mode", "tfcrp"], ["mode='tfcrp'", "did you mean 'tfcrop'"]),
        (
            ["flag", "sky.ms", "--mode", "tfcrop", "--maxnpieces", "many"],
            ["maxnpieces='many'", "a whole number"],
        ),
        (["partition", "sky.ms"], ["partition needs 'outputvis'"]),
        (["partition", "sky.ms", "sky.ms"], ["outputvis", "sky.ms"]),
        (
            ["partition", "sky.ms", "out.mms", "--timebin", "3parsec"],
            ["timebin='3parsec'", "'parsec'", "min"],
        ),
        (["partition", "sky.ms", "file/out.mms"], ["file"]),
        (["partition", "sky.ms", "a", "b", "--outputvis", "c"], ["extra argument"]),
        (["partition", "sky.ms", "a", "--outputvis", "c"], ["'a' is one word too many"]),
        (["tclean", "sky.ms", "image", "--cell", "3Jy"], ["cell='3Jy'", "'Jy'", "arcsec"]),
        (["tclean", "sky.ms", "image", "--field", "nobody"], ["field='nobody'"]),
        (["flag", "sky.ms", "--backend", "seriel"], ["no backend 'seriel'", "did you mean 'serial'"]),
        (["flag", "sky.ms", "--timecutof", "3"], ["--timecutof", "--timecutoff"]),
        (["flg", "sky.ms"], ["'flg'", "'flag'"]),
        (["flag", "sky.ms", "--workers", "0"], ["--workers"]),
        (["run", "none.toml"], ["no recipe 'none.toml'"]),
    ],
    ids=lambda value: " ".join(value) if value and value[0].islower() else "",
)
def test_what_cannot_be(here, folder: Path, words: list[str], expected: list[str]) -> None:
    before = _tree(folder)
    done = here(*words)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    sentence = one_sentence(done) if "Usage:" not in done.stderr else " ".join(done.stderr.split())
    assert all(word in sentence for word in expected), sentence
    assert _tree(folder) == before


def test_an_unusual_failure_is_explained_with_debug(command, folder: Path) -> None:
    done = command("flag", "nothing.ms", "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "error: there is no MeasurementSet" in done.stderr


RECIPE = """
[inputs]
vis = "sky.ms"
[executor]
backend = "multiprocessing"
workers = 2
[[step]]
task = "partition"
vis = "{vis}"
outputvis = "{output}/sky.mms"
separationaxis = "scan"
[[step]]
task = "flag"
vis = "{output}/sky.mms"
mode = "manual"
antenna = "1"
"""


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--set", "flag.antena=1"], ["recipe.toml, step 2 'flag', key 'antena'", "did you mean 'antenna'"]),
        (["--set", "vis=other.ms"], ["step 1 'partition', key 'vis'", "no MeasurementSet 'other.ms'"]),
        (["--set", "viss=x"], ["no input 'viss'"]),
        (["--steps", "flagg"], ["no step 'flagg'", "did you mean 'flag'"]),
        (["--output", "file/out"], ["output folder", "cannot be written: Not a directory"]),
    ],
)
def test_recipes_that_cannot_be(here, folder: Path, more: list[str], expected: list[str]) -> None:
    (folder / "recipe.toml").write_text(RECIPE)
    before = _tree(folder)
    done = here("run", "recipe.toml", *more)
    assert done.returncode == 2
    sentence = one_sentence(done)
    assert all(word in sentence for word in expected), sentence
    assert _tree(folder) == before
    assert not (folder / "recipe-output").exists()


def test_a_recipe_runs_and_says_so(command, folder: Path) -> None:
    (folder / "recipe.toml").write_text(RECIPE)
    planned = command("run", "recipe.toml", "--dry-run")
    assert planned.returncode == 0
    assert not (folder / "recipe-output").exists()
    assert "separationaxis='scan'" in " ".join(planned.stdout.split())
    done = command("run", "recipe.toml")
    assert done.returncode == 0, done.stderr
    assert "step 1 of 2, partition (partition)" in done.stderr
    assert "multiprocessing, 2 workers" in done.stdout
    again = command("run", "recipe.toml")
    assert again.returncode == 2
    assert "exists already" in one_sentence(again)
    assert command("run", "recipe.toml", "--overwrite", "--quiet").stderr == ""


def test_a_step_that_finds_it_cannot_be(command, folder: Path) -> None:
    (folder / "recipe.toml").write_text(RECIPE)
    done = command("run", "recipe.toml", "--set", "flag.field=nobody", "--backend", "serial")
    assert done.returncode == 2
    assert "step 2 of 2, 'flag' (flag), failed" in done.stderr
    assert "nobody" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["partition", "sky.ms", "out.mms", "--separationaxis", "scan"],
        ["simulate", "out.ms", *SMALL],
        ["tclean", "sky.ms", "out", "--imsize", "256", "--cell", "5arcsec", "--field", "TARGET"],
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("backend", ["serial", "multiprocessing"])
def test_no_room_for_the_product(folder: Path, words: list[str], backend: str) -> None:
    before = _tree(folder)
    # No file may grow beyond 20 kB: the error of a full disk, for any user on any machine.
    limit = 20 * 1024
    done = subprocess.run(
        [sys.executable, "-m", "parallactic", *words, "--backend", backend, "--workers", "2"],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 1, done.stderr
    assert one_sentence(done)
    assert _tree(folder) == before
