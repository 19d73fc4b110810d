"""Unmodified casatasks on our servers: the same as CASA by itself, and as CASA with casampi under MPI."""

import json
import shutil
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from casa_steps import AVERAGED, steps
from casacore.images import image
from casacore.tables import table

from parallactic.testing.engine import require, selected_backends

pytestmark = [pytest.mark.casa, pytest.mark.slow]

WITH_SERVERS = """
import json, sys, time
import parallactic.casa

backend, vis, caltable, folder = sys.argv[1:]
parallactic.casa.enable(backend=backend, workers=2, fast_polling=True)
import casatasks
from casa_steps import steps
from casampi.MPICommandClient import MPICommandClient

flags = steps(casatasks, vis, caltable, folder, parallel=True)
responses = MPICommandClient().get_command_response_list().values()
done = [[r["command"].split("(")[0], r["server"], r["successful"]] for r in responses]
helper = sys.modules["casatasks.private.imagerhelpers.parallel_imager_helper"]
begin = time.monotonic()
helper.time.sleep(1)
told = {"flags": flags, "done": done, "log": casatasks.casalog.logfile(), "nap": time.monotonic() - begin}
with open("outcome.json", "w") as file:
    json.dump(told, file)
"""

WITH_CASAMPI = """
import json, sys, time, types
from casampi.MPIEnvironment import MPIEnvironment

# Its waits are made short, on every rank; what it computes is left alone.
for name in dir(MPIEnvironment):
    if name.endswith("_sleep_time"):
        setattr(MPIEnvironment, name, 0.02)

import casatasks
from casatasks.private.imagerhelpers import parallel_imager_helper
from casa_steps import steps

parallel_imager_helper.time = types.SimpleNamespace(time=time.time, sleep=lambda seconds: time.sleep(0.02))

flags = steps(casatasks, *sys.argv[1:], parallel=True)
with open("outcome.json", "w") as file:
    json.dump({"flags": flags}, file)
"""

BY_THE_COMMAND = """
import sys
import casatasks
from casampi.MPICommandClient import MPICommandClient
from casampi.MPIEnvironment import MPIEnvironment

assert MPIEnvironment.mpi_server_rank_list() == [1, 2], MPIEnvironment.mpi_server_rank_list()
summary = casatasks.flagdata(vis=sys.argv[1], mode="summary")
assert len(MPICommandClient().get_command_request_list()) == 4
print("counted", int(summary["total"]))
raise KeyError("the script's own")
"""


@pytest.fixture(scope="module")
def alone(casa: ModuleType, simulated, tmp_path_factory) -> SimpleNamespace:
    """The folder of CASA by itself, and what it counted."""
    folder = tmp_path_factory.mktemp("alone")
    vis = folder / "obs.ms"
    shutil.copytree(simulated.path, vis)
    caltable = str(folder / "gain.cal")
    casa.gaincal(vis=str(vis), caltable=caltable, solint="inf", refant="0", minsnr=0)
    flags = steps(casa, str(vis), caltable, str(folder), parallel=False)
    return SimpleNamespace(folder=folder, given=(str(vis), caltable), flags=json.loads(json.dumps(flags)))


@pytest.fixture(scope="module", params=selected_backends())
def served(alone, request, tmp_path_factory, run_in) -> SimpleNamespace:
    """The folder of CASA with two of our servers, and what it told."""
    require(request.param)
    folder = tmp_path_factory.mktemp("served")
    ran = run_in(folder, WITH_SERVERS, request.param, *alone.given, str(folder))
    assert ran.returncode == 0, ran.stderr[-3000:]
    told = json.loads((folder / "outcome.json").read_text())
    return SimpleNamespace(folder=folder, backend=request.param, **told)


@pytest.fixture(scope="module")
def mpi(alone, tmp_path_factory, run_under_mpi) -> SimpleNamespace:
    """The folder of CASA with two of casampi's servers, and what it counted."""
    folder = tmp_path_factory.mktemp("casampi")
    ran = run_under_mpi(folder, WITH_CASAMPI, *alone.given, str(folder))
    assert ran.returncode == 0, ran.stderr[-3000:]
    return SimpleNamespace(folder=folder, **json.loads((folder / "outcome.json").read_text()))


def assert_equal_columns(first: Path, second: Path, columns: list[str]) -> None:
    """The same code on the same rows: the same bits."""
    with table(str(first), ack=False) as one, table(str(second), ack=False) as other:
        assert one.colnames() == other.colnames()
        assert one.nrows() == other.nrows() > 0
        for column in columns:
            for row in range(0, one.nrows(), 7):
                np.testing.assert_array_equal(one.getcell(column, row), other.getcell(column, row))


def test_the_servers_did_the_work(served):
    assert all(successful for _, _, successful in served.done)
    # New `uvcontsub` is not among them: CASA does not divide it.
    for task in ("partition", "flagdata", "setjy", "applycal", "mstransform", "uvcontsub_old"):
        assert sum(command == task for command, _, _ in served.done) >= 4, task  # one for each sub-MS
    assert {server for command, server, _ in served.done if command == "toolsi.executemajorcycle"} == {1, 2}
    assert served.nap < 0.5, "the helper of tclean must not wait a second"


@pytest.mark.parametrize("mode", ["tfcrop", "rflag"])
def test_the_counts_of_flags_are_equal(alone, served, mode):
    assert alone.flags[mode]["flagged"] > (alone.flags["tfcrop"]["flagged"] if mode == "rflag" else 0)
    # Sums of counts, in whatever order: integers in double precision are exact.
    assert served.flags[mode] == alone.flags[mode]


@pytest.mark.parametrize(
    ("name", "columns", "channels"),
    [
        ("obs.mms", ["CORRECTED_DATA", "MODEL_DATA"], 32),
        ("averaged.mms", ["DATA"], 32 // AVERAGED),
        ("line.ms", ["DATA"], 32),
        ("obs.mms.contsub", ["DATA"], 32),
    ],
)
def test_the_columns_are_equal(alone, served, name, columns, channels):
    columns = ["FLAG", "WEIGHT", "TIME", "DATA_DESC_ID", *columns]
    assert_equal_columns(alone.folder / name, served.folder / name, columns)
    with table(str(served.folder / name), ack=False) as ours:
        assert ours.getcell("FLAG", 0).shape[0] == channels


def test_all_is_equal_to_casampi_under_mpi(served, mpi):
    assert served.flags == mpi.flags
    for name, column in (("obs.mms", "CORRECTED_DATA"), ("averaged.mms", "DATA")):
        assert_equal_columns(mpi.folder / name, served.folder / name, ["FLAG", column])
    for product in ("image", "residual", "model", "psf", "pb", "sumwt"):
        theirs = image(str(mpi.folder / f"image.{product}")).getdata()
        ours = image(str(served.folder / f"image.{product}")).getdata()
        # The same rows on as many servers, and sums in the same order: the same bits.
        np.testing.assert_array_equal(ours, theirs, err_msg=product)


@pytest.mark.parametrize(
    ("product", "tolerance"),
    [
        # Each server grids half of the rows in double precision; the images are single: its rounding.
        ("psf", 1e-6),
        # CASA makes the primary beam of a parallel run from the rows of one server alone, 2e-4 off here, and
        # divides by it: the components are the same to 1e-5 of the peak, what is left is as near as the beam.
        ("pb", 1e-3),
        ("model", 1e-5),
        ("image", 2e-4),
    ],
)
def test_the_images_are_equal(alone, served, product, tolerance):
    expected = image(str(alone.folder / f"image.{product}")).getdata()
    ours = image(str(served.folder / f"image.{product}")).getdata()
    peak = np.abs(expected).max()
    assert peak > 0.5
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance * peak)


def test_the_log_names_the_servers(served):
    log = Path(served.log)
    texts = [path.read_text() for path in log.parent.glob(f"{log.name}*")]
    assert all(any(f":MPIServer-{rank}" in text for text in texts) for rank in (1, 2))


def test_the_command_runs_a_script(alone, served, run_in, tmp_path):
    (tmp_path / "observe.py").write_text(BY_THE_COMMAND)
    code = "import sys; from parallactic.cli import main; sys.exit(main())"
    words = ["casa", "--backend", served.backend, "--workers", "2", "observe.py"]
    ran = run_in(tmp_path, code, *words, str(served.folder / "obs.mms"))
    assert f"counted {int(alone.flags['tfcrop']['total'])}" in ran.stdout
    assert ran.returncode == 1
    assert ran.stderr.rstrip().endswith('KeyError: "the script\'s own"')
    assert "runpy" not in ran.stderr
