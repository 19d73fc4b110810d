"""Unmodified casatasks on our servers: the same as CASA by itself."""

import json
import shutil
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from casa_steps import AVERAGED, steps
from casacore.images import image
from casacore.tables import table

pytestmark = [pytest.mark.casa, pytest.mark.slow]

WITH_SERVERS = """
import json, sys
import parallactic.casa

parallactic.casa.enable(backend="multiprocessing", workers=2, fast_polling=True)
import casatasks
from casa_steps import steps
from casampi.MPICommandClient import MPICommandClient

vis, caltable, folder = sys.argv[1:]
flags = steps(casatasks, vis, caltable, folder, parallel=True)
responses = MPICommandClient().get_command_response_list().values()
done = [[r["command"].split("(")[0], r["server"], r["successful"]] for r in responses]
with open("outcome.json", "w") as file:
    json.dump({"flags": flags, "done": done, "log": casatasks.casalog.logfile()}, file)
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
def outcome(casa: ModuleType, simulated, tmp_path_factory, run_in) -> SimpleNamespace:
    """The folders of both, and what they counted."""
    folder = tmp_path_factory.mktemp("casatasks")
    vis = folder / "obs.ms"
    shutil.copytree(simulated.path, vis)
    caltable = str(folder / "gain.cal")
    casa.gaincal(vis=str(vis), caltable=caltable, solint="inf", refant="0", minsnr=0)
    alone, served = folder / "alone", folder / "served"
    alone.mkdir()
    served.mkdir()
    flags = steps(casa, str(vis), caltable, str(alone), parallel=False)
    ran = run_in(served, WITH_SERVERS, str(vis), caltable, str(served))
    assert ran.returncode == 0, ran.stderr[-3000:]
    told = json.loads((served / "outcome.json").read_text())
    return SimpleNamespace(alone=alone, served=served, flags=flags, told=told)


def test_the_servers_did_the_work(outcome):
    done = outcome.told["done"]
    assert all(successful for _, _, successful in done)
    for task in ("partition", "flagdata", "setjy", "applycal", "mstransform"):
        assert sum(command == task for command, _, _ in done) >= 4, task  # one for each sub-MS
    assert {server for command, server, _ in done if command == "toolsi.executemajorcycle"} == {1, 2}


def test_the_counts_of_flags_are_equal(outcome):
    assert outcome.flags["flagged"] > 0
    # Sums of counts, in whatever order: integers in double precision are exact.
    assert outcome.told["flags"] == json.loads(json.dumps(outcome.flags))


@pytest.mark.parametrize("name", ["obs.mms", "averaged.mms"])
def test_the_columns_are_equal(outcome, name):
    with (
        table(str(outcome.alone / name), ack=False) as alone,
        table(str(outcome.served / name), ack=False) as ours,
    ):
        assert alone.colnames() == ours.colnames()
        data = ["CORRECTED_DATA", "MODEL_DATA"] if name == "obs.mms" else ["DATA"]
        for column in ["FLAG", "WEIGHT", "TIME", "DATA_DESC_ID", *data]:
            for row in range(0, alone.nrows(), 7):
                # The same code on the same rows: the same bits.
                np.testing.assert_array_equal(alone.getcell(column, row), ours.getcell(column, row))
        assert alone.getcell("FLAG", 0).shape[0] == (32 if name == "obs.mms" else 32 // AVERAGED)


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
def test_the_images_are_equal(outcome, product, tolerance):
    alone = image(str(outcome.alone / f"image.{product}")).getdata()
    ours = image(str(outcome.served / f"image.{product}")).getdata()
    peak = np.abs(alone).max()
    assert peak > 0.5
    np.testing.assert_allclose(ours, alone, rtol=0, atol=tolerance * peak)


def test_the_log_names_the_servers(outcome):
    log = Path(outcome.told["log"])
    texts = [path.read_text() for path in log.parent.glob(f"{log.name}*")]
    assert all(any(f":MPIServer-{rank}" in text for text in texts) for rank in (1, 2))


def test_the_command_runs_a_script(outcome, run_in, tmp_path):
    (tmp_path / "observe.py").write_text(BY_THE_COMMAND)
    code = "import sys; from parallactic.cli import main; sys.exit(main())"
    words = ["casa", "--backend", "serial", "--workers", "2", "observe.py", str(outcome.served / "obs.mms")]
    ran = run_in(tmp_path, code, *words)
    assert f"counted {int(outcome.flags['total'])}" in ran.stdout
    assert ran.returncode == 1
    assert ran.stderr.rstrip().endswith('KeyError: "the script\'s own"')
    assert "runpy" not in ran.stderr
