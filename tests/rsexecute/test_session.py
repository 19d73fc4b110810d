"""Choosing what computes, and the life of a session."""

import concurrent.futures
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import graph_functions as g
import pytest
from rs_sessions import NONE, opened

from parallactic import BackendUnavailable, Executor, InvalidSpec
from parallactic.rsexecute import RSExecute, clients, rsexecute

# -- Choosing -----------------------------------------------------------------------------------------------


class Asked(Exception):
    """Tells which executor would be opened."""

    def __init__(self, backend: str, **settings: Any) -> None:
        super().__init__(backend, settings)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is opened; the environment says nothing."""
    monkeypatch.setattr(clients, "Executor", lambda backend, **settings: _raise(Asked(backend, **settings)))
    for name in list(os.environ):
        if name.startswith("PARALLACTIC_") or name.endswith("_DASK_SCHEDULER"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def _raise(error: Exception) -> None:
    raise error


def choice(**settings: Any) -> tuple[str, dict[str, Any]]:
    with pytest.raises(Asked) as caught:
        RSExecute().set_client(**settings)
    return caught.value.args  # type: ignore[return-value]


@pytest.mark.usefixtures("asked")
class TestChoice:
    def test_dask_on_this_host_is_the_default(self):
        assert choice() == ("dask", {})
        assert choice(use_dask=True) == ("dask", {})
        with pytest.raises(Asked, match="dask"):
            RSExecute().compute(1)

    def test_the_argument_wins_over_the_environment(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("PARALLACTIC_BACKEND", "mpi")
        assert choice() == ("mpi", {})
        assert choice(backend="serial", workers=3) == ("serial", {"workers": 3})

    def test_the_scheduler_of_the_environment(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("RASCIL_DASK_SCHEDULER", "head:8786")
        assert choice() == ("dask", {"scheduler": "head:8786"})
        assert choice(scheduler="other:1") == ("dask", {"scheduler": "other:1"})
        assert choice(scheduler_file="s.json") == ("dask", {"scheduler_file": "s.json"})
        assert choice(cluster="slurm") == ("dask", {"cluster": "slurm"})

    def test_a_scheduler_that_is_not_used_is_told(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ):
        monkeypatch.setenv("RASCIL_DASK_SCHEDULER", "head:8786")
        assert choice(backend="mpi") == ("mpi", {})
        assert "RASCIL_DASK_SCHEDULER=head:8786 is not used: the backend is mpi" in caplog.text

    def test_the_name_that_nothing_reads_is_told(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("ARL_DASK_SCHEDULER", "head:8786")
        with pytest.warns(UserWarning, match="export RASCIL_DASK_SCHEDULER instead"):
            assert choice() == ("dask", {})
        monkeypatch.setenv("RASCIL_DASK_SCHEDULER", "head:8786")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert choice() == ("dask", {"scheduler": "head:8786"})

    @pytest.mark.parametrize("name", ["workers", "n_workers", "nworkers", "max_workers"])
    def test_the_number_of_workers_has_several_names(self, name: str):
        assert choice(**{name: 4}) == ("dask", {"workers": 4})
        assert choice(**{name: 4, "workers": 4}) == ("dask", {"workers": 4})

    def test_names_of_dasks_settings(self):
        asked = choice(
            n_workers=8,
            threads_per_worker=1,
            processes=True,
            create_cluster=True,
            memory_limit=32e9,
            local_dir="/scratch",
            with_file=False,
            scheduler_file="./scheduler.json",
            dashboard_address=":8787",
            timeout=30,
        )
        assert asked[1] == {
            "workers": 8,
            "threads": 1,
            "memory_limit": 32_000_000_000,
            "local_directory": "/scratch",
            "dashboard": ":8787",
            "connect_timeout": 30,
        }
        assert choice(with_file=True, scheduler_file="s.json")[1] == {"scheduler_file": "s.json"}
        assert choice(scheduler_file="s.json", memory_limit=None)[1] == {"scheduler_file": "s.json"}
        # Another engine has its own names, and says so.
        assert choice(backend="mpi", local_dir="/scratch")[1] == {"local_dir": "/scratch"}

    def test_what_contradicts_itself_is_refused(self):
        refused = {
            r"n_workers=2, nworkers=3 are names": {"n_workers": 2, "nworkers": 3},
            r"backend='mpi' and use_dask=False": {"backend": "mpi", "use_dask": False},
            r"processes=False": {"processes": False},
            r"DALiuGE is not supported": {"use_dlg": True},
            r"give an Executor or a Dask Client": {"client": "head:8786"},
        }
        for message, settings in refused.items():
            with pytest.raises(InvalidSpec, match=message):
                RSExecute().set_client(**settings)  # type: ignore[arg-type]


def test_an_unknown_setting_names_the_near_match():
    with pytest.raises(InvalidSpec, match="has no setting 'wrkers'"):
        RSExecute().set_client(backend="serial", wrkers=2)


def test_a_backend_that_does_not_exist():
    with pytest.raises(InvalidSpec, match="there is no backend 'slrum'"):
        RSExecute().set_client(backend="slrum")


# -- An executor that exists --------------------------------------------------------------------------------


def test_an_executor_that_exists_is_used_and_stays_open(backend: str):
    with Executor(backend, workers=2) as executor, RSExecute() as session:
        session.set_client(client=executor)
        assert session.executor is session.client is executor
        future = session.compute(session.execute(g.inc)(1))
        mixed = session.execute(g.add)(executor.submit(g.inc, 2), future)
        assert session.compute(mixed, sync=True) == 5
        session.close()
        assert session.client is None
        assert executor.submit(g.inc, 1).result(30) == 2
        with pytest.raises(InvalidSpec, match=r"set_client\(client, workers=...\)"):
            session.set_client(client=executor, workers=3)


def test_futures_of_other_executors_are_inputs(rs: RSExecute):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert rs.compute(rs.execute(g.inc)(pool.submit(g.inc, 1)), sync=True) == 3


# -- What it says of itself ---------------------------------------------------------------------------------


def test_what_it_says_of_itself(rs: RSExecute, backend: str):
    assert rs.type() == backend
    assert rs.using_dask == (backend == "dask")
    assert rs.deferred
    assert rs.optimizing
    assert rs.client is not None
    assert repr(rs) == f"<RSExecute: {backend}>"


def test_what_it_says_of_itself_without_dask():
    with opened(NONE) as session:
        assert session.type() == "function"
        assert not session.using_dask
        assert not session.deferred
        assert session.client is session.executor is None


def test_settings_without_a_meaning_are_told(caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    RSExecute().set_client(use_dask=False, n_workers=4)
    assert "use_dask=False: n_workers have no meaning" in caplog.text


def test_verbose(backend: str, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "parallactic.rsexecute")
    with RSExecute() as session:
        session.set_client(backend=backend, workers=1, verbose=True)
        session.compute([session.execute(g.inc)(n) for n in range(3)], sync=True)
    assert "computed 3 nodes" in caplog.text


# -- Without Dask -------------------------------------------------------------------------------------------


def test_without_dask_functions_are_called_at_once():
    with opened(NONE) as session:
        calls: list[int] = []
        append = session.execute(calls.append, nout=1, pure=True)
        append(1)
        assert calls == [1]
        wrapped = session.execute(g.inc)
        assert wrapped(1) == 2
        assert wrapped.__name__ == "inc"
        with pytest.raises(InvalidSpec, match="unknown option"):
            session.execute(g.inc, retrys=1)


def test_what_was_made_before_the_mode_changed_is_computed():
    with RSExecute() as session:
        session.set_client(backend="serial", workers=1)
        node = session.execute(g.inc)(1)
        kept = session.persist(session.execute(g.inc)(2))
        session.gather(kept)
        there = session.scatter([4])
        session.set_client(use_dask=False)
        assert session.compute([node, {"kept": kept}]) == [2, {"kept": 3}]
        assert session.execute(g.add)(node, kept, session.execute(g.inc)(0)) == 6
        assert session.execute(g.total)(there) == 4


# -- Run ----------------------------------------------------------------------------------------------------


def test_run_calls_a_function_on_every_worker_once(rs: RSExecute, tmp_path: Path):
    def mark(folder: str, name: str = "") -> int:
        import parallactic

        worker = parallactic.worker().id
        g.note(folder, f"{name}{worker}")
        return worker

    assert rs.run(mark, str(tmp_path), name="w") == {0: 0, 1: 1}
    assert {path.name: g.times_run(tmp_path, path.name) for path in tmp_path.iterdir()} == {"w0": 1, "w1": 1}


def test_run_calls_a_function_here_without_dask(tmp_path: Path):
    with opened(NONE) as session:
        assert session.run(g.note, str(tmp_path), "here") == {0: "here"}
    assert g.times_run(tmp_path, "here") == 1


def test_run_tells_what_went_wrong(rs: RSExecute):
    with pytest.raises(LookupError, match="no handler"):
        rs.run(g.fail, "handler")


def test_a_worker_that_comes_later_begins_with_it(backend: str, tmp_path: Path):
    with RSExecute() as session:
        session.set_client(backend=backend, workers=2)
        if not session.executor.capabilities.isolation:
            pytest.skip("a worker that dies is this process")
        session.run(_remember, "ready")
        kill = session.compute(session.execute(os._exit)(1))
        assert kill.exception(60) is not None
        assert session.executor.target("all").submit(_recall).result(60) == ["ready", "ready"]


def _remember(state: str) -> None:
    g.Stay.state = state  # type: ignore[attr-defined]


def _recall() -> str:
    return str(getattr(g.Stay, "state", "nothing"))


# -- Closing and opening ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_left")
def test_close_frees_what_was_opened_and_may_be_called_again():
    session = RSExecute()
    session.set_client(backend="multiprocessing", workers=1)
    assert session.compute(session.execute(g.inc)(1), sync=True) == 2
    session.set_client(backend="serial", workers=1)
    assert session.compute(session.execute(g.inc)(1), sync=True) == 2
    session.close()
    session.close()
    assert session.client is None


@pytest.fixture
def serial_by_default(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PARALLACTIC_BACKEND", "serial")
    yield
    rsexecute.close()


@pytest.mark.usefixtures("serial_by_default")
def test_a_session_opens_its_default_when_it_is_needed():
    assert rsexecute.executor is None
    node = rsexecute.execute(g.inc)(1)
    assert rsexecute.executor is None
    assert node.compute() == 2
    assert rsexecute.type() == "serial"
    rsexecute.close()
    assert rsexecute.executor is None
    assert node.compute() == 2


@pytest.mark.usefixtures("serial_by_default")
def test_an_unavailable_backend_is_an_error_and_leaves_the_session_usable(monkeypatch: pytest.MonkeyPatch):
    def gone(*_: object, **__: object) -> None:
        raise BackendUnavailable("no workers today")

    with monkeypatch.context() as patch:
        patch.setattr(clients, "Executor", gone)
        with pytest.raises(BackendUnavailable, match="no workers today"):
            rsexecute.set_client(backend="mpi")
    assert rsexecute.compute(rsexecute.execute(g.inc)(1), sync=True) == 2


def test_a_client_that_is_given_again_is_not_closed(monkeypatch: pytest.MonkeyPatch):
    closed: list[object] = []
    monkeypatch.setattr(clients, "close_client", closed.append)
    with Executor("serial", workers=1) as executor, RSExecute() as session:
        session.set_client(client=executor)
        session.set_client(client=executor, verbose=True)
        assert closed == []
        session.set_client(backend="serial", workers=1)
        assert closed == [executor]


def test_nothing_is_imported_that_may_not_be_needed():
    heavy = "dask", "distributed", "numba", "astropy", "mpi4py"
    code = f"import sys, parallactic.rsexecute; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# -- Inside a task ------------------------------------------------------------------------------------------


def nested(n: int) -> Any:
    """Compute a graph inside a node of another, as workflows that call workflows do."""
    parts = [rsexecute.execute(g.inc)(k) for k in range(n)]
    return rsexecute.compute(rsexecute.execute(g.total)(parts), sync=True)


def test_a_graph_inside_a_task_is_computed_by_that_task(rs: RSExecute):
    assert rs.compute([rs.execute(nested)(3), rs.execute(lambda n: nested(n))(2)], sync=True) == [6, 3]


@pytest.mark.usefixtures("serial_by_default")
def test_a_graph_inside_a_task_of_the_same_session():
    assert rsexecute.compute(rsexecute.execute(nested)(3), sync=True) == 6


def test_sessions_do_not_travel_but_the_first_is_found_again(rs: RSExecute):
    assert pickle.loads(pickle.dumps(rsexecute)) is rsexecute
    with pytest.raises(InvalidSpec, match="does not travel"):
        pickle.dumps(rs)
    with pytest.raises(InvalidSpec, match="does not travel"):
        pickle.dumps(rs.execute(g.inc))
