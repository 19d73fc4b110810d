"""What is special to MPI servers that this process spawns; the contract says the rest.

Each test runs a client of its own, since ranks live as long as the process that spawned them.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from parallactic.testing.engine import Engine, require
from parallactic.testing.scripts import LAUNCHER, running

pytest.importorskip("mpi4py", reason="the extra [mpi] is not installed")

PATIENCE = 60.0
KILLS = 5

COMMON = """
import gc, json, signal, socket, tempfile, time

from pathlib import Path
import psutil
from parallactic.errors import BackendUnavailable, WorkerLost
from parallactic.testing.waiting import all_up, pid_in, until, worker_status

folder = Path(sys.argv[1])

def rank_of(pid):
    return psutil.Process(pid).parent().parent()
"""

SEGMENTS = """
(folder / "segments").write_text(os.environ["OMPI_MCA_btl_sm_backing_directory"])
"""


@pytest.fixture(autouse=True)
def _spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    """No launcher and no hosts of whoever runs the tests."""
    require("mpi")
    for name in (LAUNCHER, "PBS_NODEFILE"):
        monkeypatch.delenv(name, raising=False)


def run(code: str, folder: Path, workers: int) -> Any:
    """Run a client; return the JSON that it prints last. Nothing of it is left, and its exit code is 0."""
    code = COMMON + code + SEGMENTS
    with running(Engine("mpi", {}, workers), code, str(folder)) as client:
        status, out, err = client.end(PATIENCE)
        assert status == 0, err
        assert not list(client.folder.iterdir()), "files are left in the temporary folder"
    segments = Path((folder / "segments").read_text())
    assert segments.parent.is_dir()
    assert not segments.exists(), "files are left in shared memory"
    return json.loads(out.splitlines()[-1])


KILL = """
def victim(pid):
    return {victim}

seconds, epochs, causes, alive = [], [], [], []
with open_executor() as ex:
    all_up(ex, 30)
    bystander = ex.target(1).submit(tasks.write_and_wait, str(folder / "other"), str(folder / "release"))
    other = pid_in(folder / "other", 30)
    for number in range({kills}):
        started = folder / f"started-{{number}}"
        future = ex.target(0).submit(tasks.write_and_wait, str(started), str(folder / "never"))
        worker = pid_in(started, 30)
        process = psutil.Process(worker)
        begin = time.perf_counter()
        os.kill(victim(worker), signal.SIGKILL)
        error = future.exception(30)
        seconds.append(time.perf_counter() - begin)
        assert isinstance(error, WorkerLost), error
        causes.append(error.cause)
        until(lambda: worker_status(ex, 0).epoch == number + 1, 30, "the worker is replaced")
        all_up(ex, 30)
        epochs.append(ex.target(0).submit(tasks.where).result(30)[:2])
        alive.append(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
        assert not bystander.done()
    (folder / "release").touch()
    assert bystander.result(30) == other
    assert worker_status(ex, 1).epoch == 0
print(json.dumps([seconds, epochs, causes, alive]))
"""


@pytest.mark.parametrize(
    ("victim", "cause"), [("pid", "signal"), ("rank_of(pid).pid", "unreachable")], ids=["worker", "rank"]
)
def test_a_server_that_is_killed_is_noticed_at_once_and_replaced(
    tmp_path: Path, victim: str, cause: str
) -> None:
    """In mid-task; the client and the other server's task do not care."""
    seconds, epochs, causes, alive = run(KILL.format(victim=victim, kills=KILLS), tmp_path, 2)
    assert statistics.median(seconds) < 0.1, seconds
    assert max(seconds) < 1.0, seconds
    assert epochs == [[0, number + 1] for number in range(KILLS)]
    assert causes == [cause] * KILLS
    assert alive == [False] * KILLS, "a worker outlived its rank"


STOP = """
def open_memory():
    gc.collect()
    names = (entry.readlink() for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink())
    return [str(name) for name in names if "memfd:" in str(name)]

with open_executor() as ex:
    all_up(ex, 30)
    future = ex.target(0).submit(tasks.write_and_wait, str(folder / "started"), str(folder / "release"), 42)
    pid = pid_in(folder / "started", 30)
    rank = rank_of(pid)
    rank.suspend()
    try:
        until(lambda: worker_status(ex, 0).state == "unresponsive", 30, "silence is noticed")
        (folder / "release").touch()
        served = [ex.submit(tasks.where).result(30)[0] for _ in range(5)]
        early = future.done()
    finally:
        rank.resume()
    answer = future.result(30)
    until(lambda: worker_status(ex, 0).state == "idle", 30, "the server is trusted again")
    after = ex.target(0).submit(tasks.where).result(30)
    rank.suspend()
    unheard = ex.target(0).submit(len, bytes(5_000_000))
    time.sleep(0.05)
    begin = time.monotonic()
    ex.shutdown(kill=True)
    seconds = time.monotonic() - begin
del unheard, future, ex
until(lambda: not open_memory(), 5, "shared memory is given back")
print(json.dumps([served, early, answer, after == (0, 0, pid), seconds]))
"""


def test_a_rank_that_is_stopped_is_silent_and_recovers(tmp_path: Path) -> None:
    """It gets no new work meanwhile, and what its task has returned arrives.

    One that is stopped at the end is killed, and holds nobody up.
    """
    served, early, answer, same, seconds = run(STOP, tmp_path, 2)
    assert served == [1] * 5
    assert not early
    assert answer == 42
    assert same, "the worker was not lost"
    assert seconds < 15


AGAIN = """
found = []
for number in range(2):
    with open_executor() as ex:
        all_up(ex, 30)
        pids = [worker.pid for worker in ex.status().workers]
        notes = [ex.target(n).submit(tasks.note_in_namespace, number).result(30) for n in range(2)]
        found.append([sorted(rank_of(pid).pid for pid in pids), pids, notes])
hosts = folder / "hosts"
hosts.write_text(f"localhost slots=1\\n{socket.gethostname()} slots=1 max-slots=1\\n")
with open_executor(workers=None, hostfile=hosts) as ex:
    all_up(ex, 30)
    listed = sorted(rank_of(worker.pid).pid for worker in ex.status().workers)
hosts.write_text("localhost\\nnowhere-7.invalid\\n")
try:
    open_executor(workers=None, hostfile=hosts, run_dir=folder / "run")
except BackendUnavailable as error:
    print(json.dumps([found, listed, str(error)]))
"""


def test_the_next_executor_takes_the_ranks_over(tmp_path: Path) -> None:
    """The workers are fresh, and so are their namespaces; a hostfile of this host changes nothing.

    Open MPI 5 spawns on other hosts for a client that mpiexec has started, only; that is said.
    """
    found, listed, sentence = run(AGAIN, tmp_path, 2)
    ranks = [entry[0] for entry in found]
    assert len(set(ranks[0])) == 2
    assert ranks[0] == ranks[1] == listed
    assert len({pid for entry in found for pid in entry[1]}) == 4
    assert [entry[2] for entry in found] == [[0, 0]] * 2
    assert "starts servers on nowhere-7.invalid only from a process that mpiexec has started" in sentence
    assert f"--hostfile {tmp_path / 'hosts'} -n 3 python -m parallactic.mpi" in sentence


SURROUNDINGS = """
os.environ["PLX_CLIENTS"] = os.environ["PLX_BOTH"] = "client"
names = ["PLX_MARK", "PLX_PROLOGUE", "PLX_SETTING", "PLX_CLIENTS", "PLX_BOTH", "PLX_LATE"]

def seen(names):
    found = {name: os.environ.get(name) for name in names}
    return found | {"path": os.environ["PATH"].split(":")[:2], "temporary": tempfile.gettempdir()}

options = {
    "prefix": "env PLX_MARK=prefix",
    "prologue": "export PLX_PROLOGUE='from a prologue' PLX_BOTH=prologue\\nexport PATH=/plx/tool/bin:$PATH",
    "environment": {"PLX_SETTING": "a = b"},
}
with open_executor(workers=1, shared_memory=False) as ex:
    ex.submit(len, b"1").result(30)
os.environ["PLX_LATE"] = "later"
with open_executor(workers=1) as ex:
    plain = ex.submit(seen, names).result(30)
with open_executor(workers=1, **options) as ex:
    changed = ex.submit(seen, names).result(30)
print(json.dumps([plain, changed, tempfile.gettempdir()]))
"""


def test_prefix_prologue_and_environment_reach_the_task(tmp_path: Path) -> None:
    """And a rank that was started without them is not taken for one that was."""
    plain, changed, temporary = run(SURROUNDINGS, tmp_path, 1)
    assert (plain["PLX_MARK"], plain["PLX_PROLOGUE"], plain["PLX_SETTING"]) == (None, None, None)
    assert (plain["PLX_CLIENTS"], plain["PLX_BOTH"], plain["temporary"]) == ("client", "client", temporary)
    assert plain["PLX_LATE"] == "later", "what the client sets after it has spawned the rank counts too"
    assert changed["PLX_MARK"] == "prefix"
    assert changed["PLX_PROLOGUE"] == "from a prologue"
    assert changed["PLX_SETTING"] == "a = b"
    assert changed["PLX_CLIENTS"] == "client"
    assert changed["temporary"] == temporary
    assert changed["PLX_BOTH"] == "prologue"
    # Behind the programs of this Python, where MPI finds its own launcher.
    assert "/plx/tool/bin" in changed["path"], "what a prologue loads is found before what the client has"
