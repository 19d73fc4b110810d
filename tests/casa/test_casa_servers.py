"""Servers that have CASA: their logs, their settings, and tasks that CASA itself does not divide."""

import json
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.casa

SCRIPT = """
import glob, json, sys
import parallactic.casa

parallactic.casa.enable(backend="multiprocessing", workers=2)
import casatasks
from casampi.MPICommandClient import MPICommandClient

client = MPICommandClient(start_services=True)

def ask(command, target):
    return [response["ret"] for response in client.push_command_request(command, True, target)]

for mode in ("unified", "separated", "redirect"):
    client.set_log_mode(mode)
    ask(f"casalog.post('told {mode}')", 2)
logs = {}
for path in sorted(glob.glob("casa-*")):
    lines = [line.split() for line in open(path) if "\\ttold" in line]
    logs[path] = [[line[-1], line[-3].partition(":MPIServer-")[2]] for line in lines]

client.set_omp_num_threads(1, [1, 2])
client.setMemoryTotal(2048, 1)
client.setNumCPUs(1, 1)
told = {
    "logs": logs,
    "threads": ask("casalog.ompGetNumThreads()", [1, 2]),
    "memory": client.getMemoryTotal(True, 1),
    "cores": client.getNumCPUs(True, [1]),
}

client.set_log_mode("unified")
cut = {"separationaxis": "baseline", "numsubms": 4, "flagbackup": False}
casatasks.partition(vis=sys.argv[1], outputvis="obs.mms", **cut)
cube = {"specmode": "cube", "nchan": 2, "imsize": 64, "cell": "0.5arcsec", "datacolumn": "data"}
casatasks.tclean(vis="obs.mms", imagename="cube", parallel=True, **cube)
casatasks.uvcontsub(vis="obs.mms", outputvis="line.mms", fitorder=0)
casatasks.flagdata(vis="obs.mms", mode="rflag", flagbackup=False)
told["flags"] = casatasks.flagdata(vis="obs.mms", mode="summary")
told["failed"] = [r["command"] for r in client.get_command_response_list().values() if not r["successful"]]
client.stop_services()
told["after"] = casatasks.flagdata(vis="obs.mms", mode="summary")["flagged"]
json.dump(told, open("told.json", "w"))
"""


@pytest.fixture(scope="module")
def folder(casa: ModuleType, evla_original, tmp_path_factory, run_in) -> Path:
    folder = tmp_path_factory.mktemp("servers")
    ran = run_in(folder, SCRIPT, str(evla_original))
    assert ran.returncode == 0, ran.stderr[-3000:]
    (folder / "said").write_text(ran.stdout)
    return folder


@pytest.fixture(scope="module")
def told(folder) -> dict:
    return json.loads((folder / "told.json").read_text())


def test_every_log_mode_names_the_server(told, folder):
    (client_log,) = (name for name in told["logs"] if "server" not in name)
    assert told["logs"][client_log] == [["unified", "2"]]
    (own,) = (name for name in told["logs"] if "-server-2-" in name)
    assert told["logs"][own] == [["separated", "2"], ["redirect", "2"]]
    said = (folder / "said").read_text()
    assert "told redirect" in said
    assert "told separated" not in said


def test_the_settings_of_casa_reach_the_servers(told):
    assert told["threads"] == [1, 1]
    assert told["memory"] == 2048 * 1024
    assert told["cores"] == 1


def test_nothing_failed(told, folder):
    assert told["failed"] == []
    # CASA's cubes divide by C++ and MPI alone, and its new uvcontsub not at all: both ran in the client.
    assert (folder / "cube.image").is_dir()
    assert (folder / "line.mms" / "table.dat").is_file()


def test_tasks_run_in_the_client_after_the_end_of_the_servers(told):
    assert told["after"] == told["flags"]["flagged"]


def test_rflag_finds_what_casa_finds_by_itself(told, casa, evla_original, tmp_path):
    mms = str(tmp_path / "obs.mms")
    casa.partition(
        vis=str(evla_original), outputvis=mms, separationaxis="baseline", numsubms=4, flagbackup=False
    )
    casa.flagdata(vis=mms, mode="rflag", flagbackup=False)
    alone = casa.flagdata(vis=mms, mode="summary")
    assert alone["flagged"] > 0
    # Sums of counts, in whatever order: integers in double precision are exact.
    assert told["flags"] == json.loads(json.dumps(alone))
