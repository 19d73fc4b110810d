"""Servers that stop, die, or are asked to go."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from casa_matrix import with_processes

from parallactic import Executor
from parallactic.casa import MPICommandClient, MPIEnvironment, MPIInterface, MPIMonitorClient, enable
from parallactic.casa.session import Settings, open_session
from parallactic.errors import InvalidSpec, ParallacticError
from parallactic.testing.engine import require
from parallactic.testing.waiting import undisturbed

PATIENCE = 10.0
"""Seconds within which a stopped or dead server must be noticed, on a machine that is busy."""

Servers = Callable[..., MPICommandClient]


@pytest.fixture(scope="module", params=with_processes())
def backend(request: pytest.FixtureRequest) -> str:
    """A backend that has run once: what its engine keeps for the next executor is there before a test."""
    require(request.param)
    with Executor(request.param, workers=2) as executor:
        executor.gather([executor.target(number).submit(abs, -1) for number in range(2)])
    return request.param


@pytest.fixture
def servers(backend: str, nothing_left: None) -> Iterator[Servers]:
    """Start two servers; what is left of them at the end is a failure."""
    opened = []

    def start(*, begin: bool = True, **settings: object) -> MPICommandClient:
        opened.append(open_session(Settings(backend=backend, workers=2, tasks=False, **settings)))
        return MPICommandClient(start_services=begin)

    yield start
    for session in opened:
        session.shutdown()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def pid_of(rank: int) -> int:
    return MPIMonitorClient().get_server_status_keyword(rank, "pid")


def test_a_stopped_server_times_out_and_recovers(servers):
    client = servers()
    monitor = MPIMonitorClient()
    numbers = client.push_command_request("time.sleep(0.2)", False, 1)
    os.kill(pid_of(1), signal.SIGSTOP)
    try:
        (response,) = client.get_command_response(numbers, True)
        assert (response["status"], response["successful"]) == ("timeout", False)
        assert "Timeout of assigned server n# 1" in response["traceback"]
        assert (monitor.get_server_timeout(), monitor.get_server_rank_online()) == ([1], [2])
        assert client.push_command_request("1", True, [1, 2]) is None

        def attempt(number: int) -> bool:
            begin = time.monotonic()
            assert client.push_command_request("1", True, 1)[0]["status"] == "timeout"
            return time.monotonic() - begin < 1

        undisturbed(attempt, "a request to a server that has timed out is answered at once")
        assert client.push_command_request("1", True)[0]["server"] == 2
    finally:
        os.kill(pid_of(1), signal.SIGCONT)
    until(lambda: monitor.get_server_timeout() == [])
    (response,) = client.get_command_response(numbers, True)
    assert (response["status"], response["successful"]) == ("response received", True)


def test_a_dead_server_is_answered_for_and_replaced(servers, tmp_path):
    client = servers()
    # What had not begun when its server died would begin on the next.
    begun = tmp_path / "begun"
    numbers = client.push_command_request("os.mkdir(begun); time.sleep(60)", False, 1, {"begun": str(begun)})
    until(begun.exists)
    before = pid_of(1)
    os.kill(before, signal.SIGKILL)
    (response,) = client.get_command_response(numbers, True)
    assert (response["status"], response["successful"], response["server"]) == ("timeout", False, 1)
    until(lambda: MPIMonitorClient().get_server_timeout() == [])
    # The namespace is new, and has what a server begins with.
    assert client.push_command_request("os.getpid()", True, 1)[0]["ret"] not in {before, None}


def test_requests_of_a_dead_server_are_sent_again_if_that_was_asked_for(servers, tmp_path):
    client = servers(resend=1)
    once = "os.mkdir(folder) if not os.path.exists(folder) else None"
    command = f"os.path.exists(folder) or ({once}, os.kill(os.getpid(), 9))"
    (response,) = client.push_command_request(command, True, None, {"folder": str(tmp_path / "begun")})
    assert (response["successful"], response["ret"]) == (True, True)


def test_a_server_that_computes_has_not_timed_out_unless_silence_was_bounded(servers):
    client = servers(silence=2.5)
    until(lambda: len(open_session(client._session.settings).signs) == 2)
    # A number of 10**17 digits: one call, which keeps the interpreter to itself for hours.
    numbers = client.push_command_request("pow(10, 10**17)", False, 1)
    (response,) = client.get_command_response(numbers, True)
    assert response["status"] == "timeout"
    MPIMonitorClient().start_debugging_mode()
    try:
        assert MPIMonitorClient().get_server_timeout() == []
    finally:
        MPIMonitorClient().stop_debugging_mode()


def test_silence_cannot_be_shorter_than_the_signs():
    with pytest.raises(InvalidSpec, match="too short"):
        Settings(silence=0.5)


def test_silence_needs_the_records_of_the_servers(monkeypatch, tmp_path):
    """It has them, whatever the environment says, or refuses."""
    with pytest.raises(InvalidSpec, match="sends them elsewhere"):
        open_session(Settings(backend="multiprocessing", silence=2.5, settings={"log": "none"}))
    monkeypatch.setenv("PARALLACTIC_LOG", "none")
    session = open_session(Settings(backend="multiprocessing", workers=2, tasks=False, silence=2.5))
    try:
        until(lambda: sorted(session.signs) == [1, 2])
    finally:
        session.shutdown()


def test_a_busy_server_says_what_it_does(servers):
    client = servers()
    before = time.time()
    client.push_command_request("time.sleep(30)", False, 2)
    until(lambda: client.get_server_status(2)["command"] == "time.sleep(30)")
    status = client.get_server_status()
    assert (status[2]["busy"], status[1]["busy"], status[2]["timeout"]) == (True, False, False)
    assert before <= status[2]["command_start_time"] <= time.time()
    assert MPIMonitorClient().get_server_rank_available() == [1]
    assert client.get_server_status(7) is None
    waiting = client.push_command_request("1", False, 2)
    assert client.get_command_response(waiting, False, True) == []
    table = MPIInterface().get_status()
    assert len(table) == 3
    assert table[1][4] == "time.sleep(30)"


def test_requests_go_from_state_to_state(servers, tmp_path):
    client = servers()
    gates = [str(tmp_path / name) for name in ("first", "second")]
    wait = "while not os.path.exists(gate): time.sleep(0.01)"
    busy = [client.push_command_request(wait, False, None, {"gate": gate})[0] for gate in gates]
    (waiting,) = client.push_command_request("1", False)
    client.wait_for_command_request_sent(busy)
    states = client.get_command_request_list()
    assert [states[number]["status"] for number in (*busy, waiting)] == [
        *["request sent"] * 2,
        "holding queue",
    ]
    assert {states[number]["server"] for number in busy} == {1, 2}
    assert states[waiting]["server"] is None
    for gate in gates:
        Path(gate).touch()
    client.get_command_response([busy, waiting], True)
    assert {request["status"] for request in client.get_command_request_list().values()} == {
        "response received"
    }


def test_the_life_cycle(servers, caplog, monkeypatch):
    # Another test may have loaded CASA, whose log then takes the messages.
    monkeypatch.delitem(sys.modules, "casatasks", raising=False)
    client = servers(begin=False)
    assert client.get_lifecyle_state() == 0
    assert client.push_command_request("1", True) is None
    assert "Services not started" in caplog.text
    with caplog.at_level(logging.INFO, "parallactic.casa"):
        client.start_services()
    for rank in (1, 2):
        told = f"Server {rank} started at {MPIEnvironment.hostname} with PID {pid_of(rank)}"
        assert told in caplog.text
        assert client.push_command_request("os.getpid()", True, rank)[0]["ret"] == pid_of(rank)
    assert f"host {MPIEnvironment.hostname} with rank 0 as MPIClient" in caplog.text
    assert MPICommandClient() is client
    client.start_services()
    assert client.get_lifecyle_state() == 1
    client.stop_services()
    assert client.get_lifecyle_state() == 2
    client.start_services()
    assert client.get_lifecyle_state() == 2
    assert "The servers were stopped" in caplog.text


def test_new_servers_may_be_started_after_the_end(servers):
    old = servers()
    old.push_command_request("kept = 1", True, 1)
    old.stop_services()
    client = servers()
    assert client is not old
    assert client.push_command_request("kept", True, 1)[0]["ret"] is None
    assert client.push_command_request("1+1", True, 2)[0]["ret"] == 2
    assert old.push_command_request("1", True) is None


def test_an_argument_may_be_larger_than_casampi_allows(servers):
    client = servers()
    values = np.arange(20_000_000.0)  # 160 MB; casampi's buffer holds 150
    (response,) = client.push_command_request("(values[::2], len(values))", True, 1, {"values": values})
    returned, length = response["ret"]
    assert length == values.size
    np.testing.assert_array_equal(returned, values[::2])


def test_servers_that_are_gone_for_good_are_an_error(servers):
    client = servers()
    client._session.executor.shutdown(kill=True)
    with pytest.raises(RuntimeError, match="after shutdown"):
        client.push_command_request("1", True, 1)


def test_stopping_is_final_and_waits_for_what_was_requested(servers, tmp_path):
    client = servers()
    client.push_command_request(
        "time.sleep(0.3); open(name, 'w').close()", False, 1, {"name": f"{tmp_path}/done"}
    )
    client.stop_services()
    client.stop_services()
    assert (tmp_path / "done").exists()
    assert client.get_lifecyle_state() == 2
    assert not MPIEnvironment.is_mpi_enabled
    assert client.push_command_request("1", True) is None


def test_stopping_by_force_does_not_wait(servers):
    client = servers()
    numbers = client.push_command_request("time.sleep(60)", False, 1)
    client.wait_for_command_request_sent(numbers)
    begin = time.monotonic()
    client.stop_services(force_command_request_interruption=True)
    assert time.monotonic() - begin < PATIENCE
    assert client.get_command_response(numbers, True)[0]["status"] == "timeout"


def test_other_settings_are_refused_while_servers_run(servers):
    servers()
    with pytest.raises(InvalidSpec, match="servers run already"):
        open_session(Settings(backend="serial"))


def test_a_command_cannot_have_servers(servers):
    client = servers()
    command = "import parallactic.casa as c; c.MPICommandClient()"
    assert "a server cannot have servers" in client.push_command_request(command, True, 1)[0]["traceback"]
    assert client.push_command_request("c.MPIEnvironment.mpi_processor_rank", True, 2)[0]["ret"] is None
    command = "__import__('parallactic.casa').casa.MPIEnvironment.processor_origin"
    assert client.push_command_request(command, True, 2)[0]["ret"].endswith(":MPIServer-2")


def test_the_cluster_of_tclean(servers, tmp_path):
    servers()
    interface = MPIInterface.getCluster()
    cluster = interface._cluster
    assert interface.isClusterRunning()
    assert cluster.get_engines() == [1, 2]
    assert cluster.get_nodes() == [MPIEnvironment.hostname]
    assert interface.get_engine_store(1) == str(Path.cwd())
    cluster.push({"a": 33, "b": {"c": 2.5}}, [1, 2])
    assert cluster.pull("b") == {1: {"c": 2.5}, 2: {"c": 2.5}}
    assert cluster.push({"a": 34}, 1)[0]["successful"]
    assert cluster.pull("a", [1, 2]) == {1: 34, 2: 33}
    cluster.pgc({1: "y = 3", 2: "y = 'b'"})
    assert cluster.pull("y") == {1: 3, 2: "b"}
    gate = tmp_path / "gate"
    cluster.push({"gate": str(gate)}, 1)
    numbers = interface.do_and_record("while not os.path.exists(gate): time.sleep(0.01)", 1)
    assert not cluster.check_job(numbers)
    gate.touch()
    until(lambda: cluster.check_job(numbers))
    failing = cluster.odo("1/0", [1, 2])
    with pytest.raises(ParallacticError, match=r"server [12]: [\s\S]*ZeroDivisionError"):
        until(lambda: cluster.check_job(failing))


@pytest.mark.parametrize("fast", [False, True])
def test_only_fast_polling_changes_the_clock_of_tclean(servers, monkeypatch, fast):
    helper = ModuleType("parallel_imager_helper")
    helper.time = time
    monkeypatch.setitem(sys.modules, "casatasks.private.imagerhelpers.parallel_imager_helper", helper)
    servers(fast_polling=fast)
    MPIInterface.getCluster()

    def attempt(number: int) -> bool:
        begin = time.monotonic()
        helper.time.sleep(0.6)
        return (time.monotonic() - begin < 0.5) == fast

    undisturbed(attempt, "only fast polling makes the pauses of tclean short")
    assert (helper.time is time) != fast
    assert helper.time.time is time.time


def test_enabling_after_casatasks_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "casatasks", object())
    monkeypatch.delitem(sys.modules, "casampi", raising=False)
    with pytest.raises(InvalidSpec, match="casatasks has been imported already"):
        enable(backend="serial")
