"""What partition refuses, and what it leaves when it is stopped: nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from known_sets import Plan, make
from parallactic.errors import InvalidSpec
from parallactic.tasks import partition
from parallactic.tasks.base import StepFailed
from parallactic.testing.waiting import undisturbed, until


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"field": "3C84"}, "there is no field '3C84'"),
        ({"field": "3C48", "scan": "1"}, "no row of .* fits field='3C48', scan='1'; nothing was written"),
        ({"chanbin": 4}, "chanbin=4: channel averaging is not there yet"),
        ({"timebin": "30s"}, "timebin='30s': time averaging is not there yet"),
        ({"numsubms": 0}, "numsubms=0 must be 'auto' or at least 1"),
        ({"datacolumn": "corrected"}, "no column CORRECTED_DATA"),
        ({"separationaxis": "scans"}, "separationaxis"),
        ({"feild": "0"}, "did you mean 'field'"),
    ],
)  # fmt: skip
def test_bad_parameters_leave_nothing(known, tmp_path, parameters, message, nothing_left):
    with pytest.raises(InvalidSpec, match=message):
        partition(known.path, str(tmp_path / "o.mms"), executor="serial", **parameters)
    assert list(tmp_path.iterdir()) == []


def test_bad_places_are_found_before_any_work(known, tmp_path, nothing_left):
    taken = tmp_path / "taken.mms"
    taken.mkdir()
    (taken / "mine").write_text("mine")
    with pytest.raises(InvalidSpec, match="exists already"):
        partition(known.path, str(taken), executor="serial")
    assert (taken / "mine").read_text() == "mine"
    with pytest.raises(InvalidSpec, match="does not exist"):
        partition(known.path, str(tmp_path / "no" / "o.mms"), executor="serial")
    with pytest.raises(InvalidSpec, match="there is no MeasurementSet"):
        partition(str(tmp_path / "none.ms"), str(tmp_path / "o.mms"), executor="serial")
    with pytest.raises(InvalidSpec, match="not a MeasurementSet"):
        partition(str(Path(known.path) / "FIELD"), str(tmp_path / "o.mms"), executor="serial")
    assert list(tmp_path.iterdir()) == [taken]


def test_an_unwritable_folder_is_named(known):
    # /proc refuses even root, whom a folder without write permission would let in.
    with pytest.raises(InvalidSpec, match="cannot be written: the folder /proc is not writable"):
        partition(known.path, "/proc/o.mms", executor="serial")


def _broken(piece, ms, layout):
    from parallactic.measurementset.extract import write_main

    if piece.name.endswith("0002.ms"):
        write_main(ms, piece.rows[:3], piece.path, layout)
        raise RuntimeError("the third one broke")
    return write_main(ms, piece.rows, piece.path, layout)


def test_a_unit_that_fails_is_named_and_nothing_stays(known, tmp_path, monkeypatch, nothing_left):
    monkeypatch.setattr(sys.modules["parallactic.tasks.partition"], "_write", _broken)
    with pytest.raises(StepFailed, match=r"1 of 4 units failed.*o\.mms\.0002\.ms.*the third one broke"):
        partition(known.path, str(tmp_path / "o.mms"), separationaxis="scan", executor="serial")
    assert list(tmp_path.iterdir()) == []


SCRIPT = """
import sys
from parallactic.errors import ParallacticError
from parallactic.tasks import partition
vis, output, backend, blind = sys.argv[1:]
if blind == "blind":
    sys.modules[partition.__module__]._check_space = lambda *_: None
    sys.modules["parallactic.measurementset.extract"].ensure_room = lambda *_: None
try:
    partition(vis, output, separationaxis="baseline", executor=backend)
except ParallacticError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def run_script(vis: Path, output: Path, backend: str, blind: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(vis), str(output), backend, blind],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"only root may mount a small disk: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("backend", ["serial", "multiprocessing"])
def test_what_a_disk_cannot_hold_is_refused_at_once(evla_original, small_disk, backend):
    done = run_script(evla_original, small_disk / "o.mms", backend)
    assert done.returncode == 1
    assert "DiskFull: partition: the product needs at least" in done.stderr
    assert "Nothing was written" in done.stderr
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("backend", ["serial", "multiprocessing"])
def test_a_disk_that_fills_up_while_writing_is_one_clear_error(evla_original, small_disk, backend):
    """The checks before writing are taken out of this process, as if others had filled the disk since."""
    done = run_script(evla_original, small_disk / "o.mms", backend, "blind")
    assert done.returncode == 1, done.stderr
    assert "DiskFull: partition: the disk is full" in done.stderr
    assert list(small_disk.iterdir()) == []


def test_a_write_that_fails_amid_a_table_does_not_end_the_process(known, tmp_path):
    """casacore ends the process when it closes a table it could not write; ours must not let it."""
    script = """
import resource, signal, sys
import numpy as np
from parallactic.errors import ParallacticError
from parallactic.measurementset import MeasurementSet, Selection
from parallactic.measurementset.extract import write_main
from parallactic.measurementset.layout import make_layout
import parallactic.measurementset.extract as extract
extract.ensure_room = lambda *_: None
ms = MeasurementSet(sys.argv[1])
everything = ms.select(Selection())
layout = make_layout(ms, Selection(), everything)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000,) * 2)
try:
    write_main(ms, everything.rows, sys.argv[2], layout)
except ParallacticError as error:
    print("refused:", error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, known.path, str(tmp_path / "o.ms")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "refused:" in done.stdout
    assert "write error" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("backend", ["serial", "multiprocessing"])
def test_ctrl_c_leaves_nothing(tmp_path, backend):
    """Interrupted while it writes: no product, nothing half-built, no process."""
    source = make(
        tmp_path / "big.ms", Plan(nant=16, ntime=40, nchan=(64, 64), data_descriptions=((0, 0), (1, 0)))
    )

    def attempt(number: int) -> bool:
        output = tmp_path / f"out-{number}"
        output.mkdir()
        running = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, source.path, str(output / "o.mms"), backend, ""],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        begun = f"{output.name}/o.mms.partial-*/SUBMSS/*/table.f*"
        until(lambda: list(tmp_path.glob(begun)) or running.poll() is not None, 30, "it writes, or has ended")
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=30)
        if running.returncode == 0:
            return False
        assert "KeyboardInterrupt" in errors
        assert list(output.iterdir()) == []
        with pytest.raises(ProcessLookupError):
            os.killpg(running.pid, 0)
        return True

    undisturbed(attempt, "it was interrupted while it wrote, not after its end")
