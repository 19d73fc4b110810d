"""Casacore finds its tables of measures wherever the environment lies."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import casacore
import pytest

SCRIPT = """
import parallactic.measurementset
from casacore.measures import measures
from casacore.tables import default_ms
default_ms("first.ms").close()  # casacore reads its resources here, and never again
print(measures().observatory("VLA")["refer"])
"""


@pytest.mark.parametrize("folder", ["plain", "with two blanks"])
def test_observatories_are_found_from_a_folder_of_any_name(tmp_path, folder):
    installed = Path(casacore.__file__).parent
    place = tmp_path / folder
    place.mkdir()
    shutil.copy(installed / ".aipsrc", place)
    (place / "data").symlink_to(installed / "data")
    found = {"AIPSPATH": str(place), "CASACORE_DATADIR": str(place / "data")}
    environment = {name: value for name, value in os.environ.items() if name != "CASARCFILES"} | found
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split()[-1:] == ["ITRF"], done.stdout + done.stderr


def test_resources_of_the_caller_are_kept(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text(f"measures.directory: {tmp_path}\n")
    environment = os.environ | {"CASARCFILES": str(mine)}
    code = "import os, parallactic.measurementset; print(os.environ['CASARCFILES'])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(mine)
