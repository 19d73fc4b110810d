"""Servers that have CASA: their logs, their settings, and tasks that CASA itself does not divide."""

import json
from types import ModuleType, SimpleNamespace

import pytest

from parallactic import registry
from parallactic.testing.engine import require, selected_backends

pytestmark = pytest.mark.casa

SCRIPT = """
import glob, json, sys
import parallactic.casa

parallactic.casa.enable(backend=sys.argv[2], workers=2)
import casatasks
from casampi.MPICommandClient import MPICommandClient

client = MPICommandClient(start_services=True)

def ask(command, target):
    return [response["ret"] for response in client.push_command_request(command, True, target)]

for mode in ("unified", "separated", "redirect"):
    client.set_log_mode(mode)
    ask(f"casalog.post('told {mode}')", 2)
casatasks.casalog.post("told client")
ask("len('at NORMAL')", 1)
client.set_log_level("DEBUG")
ask("len('at DEBUG')", 1)
logs, commands = {}, []
for path in sorted(glob.glob("casa-*")):
    lines = list(open(path))
    logs[path] = [
        [line.split()[-1], line.split()[-3].rpartition(":")[2]] for line in lines if "\\ttold" in line
    ]
    commands += [line for line in lines if "runs request" in line]
client.set_log_level("NORMAL")

threads = {1: 3, 2: 2}
for rank, number in threads.items():
    client.set_omp_num_threads(number, rank)
# Counted by OpenMP inside of a parallel region, not read back.
counted = ask("casalog.ompNumThreadsTest()", [1, 2])
memory = client.getMemoryTotal(False, 1)
client.setMemoryFraction(25, 1)
quarter = client.getMemoryTotal(True, 1)
client.setMemoryTotal(2048, 1)
client.setNumCPUs(1, 1)
told = {
    "logs": logs,
    "commands": commands,
    "threads": counted,
    "fraction": quarter / memory,
    "memory": client.getMemoryTotal(True, 1),
    "cores": client.getNumCPUs(True, [1]),
}
client.set_omp_num_threads(1, [1, 2])

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


@pytest.fixture(scope="module", params=selected_backends())
def served(casa: ModuleType, evla_original, tmp_path_factory, run_in, request) -> SimpleNamespace:
    """The folder of a client with two servers, and what it told."""
    require(request.param)
    folder = tmp_path_factory.mktemp("servers")
    ran = run_in(folder, SCRIPT, str(evla_original), request.param)
    assert ran.returncode == 0, ran.stderr[-3000:]
    told = json.loads((folder / "told.json").read_text())
    inline = registry.load(request.param).capabilities.inline
    return SimpleNamespace(folder=folder, said=ran.stdout, told=told, inline=inline)


def test_every_log_mode_names_the_server(served):
    logs = served.told["logs"]
    (client_log,) = (name for name in logs if "server" not in name)
    assert logs[client_log] == [["unified", "MPIServer-2"], ["client", "MPIClient"]]
    (own,) = (name for name in logs if "-server-2-" in name)
    assert logs[own] == [["separated", "MPIServer-2"], ["redirect", "MPIServer-2"]]
    assert "told redirect" in served.said
    assert "told separated" not in served.said


def test_the_log_level_is_that_of_messages_about_commands(served):
    commands = "".join(served.told["commands"])
    assert "at NORMAL" in commands
    assert "at DEBUG" not in commands


def test_the_settings_of_casa_take_effect(served):
    told = served.told
    # Servers of one process share its threads: there the last setting counts.
    assert told["threads"] == ([2, 2] if served.inline else [3, 2])
    assert told["fraction"] == 0.25
    assert told["memory"] == 2048 * 1024
    assert told["cores"] == 1


def test_nothing_failed(served):
    assert served.told["failed"] == []
    # CASA's cubes divide by C++ and MPI alone, and its new uvcontsub not at all: both ran in the client.
    assert (served.folder / "cube.image").is_dir()
    assert (served.folder / "line.mms" / "table.dat").is_file()


def test_tasks_run_in_the_client_after_the_end_of_the_servers(served):
    assert served.told["after"] == served.told["flags"]["flagged"]


def test_rflag_finds_what_casa_finds_by_itself(served, casa, evla_original, tmp_path):
    mms = str(tmp_path / "obs.mms")
    casa.partition(
        vis=str(evla_original), outputvis=mms, separationaxis="baseline", numsubms=4, flagbackup=False
    )
    casa.flagdata(vis=mms, mode="rflag", flagbackup=False)
    alone = casa.flagdata(vis=mms, mode="summary")
    assert alone["flagged"] > 0
    # Sums of counts, in whatever order: integers in double precision are exact.
    assert served.told["flags"] == json.loads(json.dumps(alone))
