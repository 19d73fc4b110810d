"""What is special to worker processes of this host; the contract says the rest."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from parallactic.errors import BackendUnavailable, InvalidSpec, WorkerLost
from parallactic.executor import Executor
from parallactic.testing import tasks
from parallactic.testing.leftovers import shared_memory
from parallactic.testing.waiting import all_up, go, pid_in, settles, undisturbed, until, worker_status

PATIENCE = 30.0

Start = Callable[..., Executor]


@pytest.fixture
def start() -> Iterator[Start]:
    opened: list[Executor] = []

    def open_executor(**options: Any) -> Executor:
        opened.append(Executor("multiprocessing", **({"workers": 2} | options)))
        all_up(opened[-1], PATIENCE)
        return opened[-1]

    yield open_executor
    for executor in opened:
        executor.shutdown(kill=True)


def _supervisor_of(pid: int) -> psutil.Process:
    parent = psutil.Process(pid).parent()
    assert parent is not None
    return parent


def _threads_allowed() -> dict[str, str | None]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return {name: os.environ.get(name) for name in names}


def _print_and_log(text: str) -> None:
    print(text)
    print("to stderr", file=sys.stderr)
    logging.getLogger("my.module").warning("careful: %s", text)
    logging.getLogger("my.module").debug("too fine")


def _start_a_child(path: str) -> None:
    child = subprocess.Popen(["sleep", "60"])
    Path(f"{path}.child").write_text(str(child.pid))
    tasks.spin(path)


def _import_by_name(name: str) -> str | None:
    return __import__(name).__file__


class TestProcesses:
    def test_each_worker_has_a_small_supervisor(self, start: Start) -> None:
        """It is the parent, it imports little, and it is not the process that works."""
        ex = start()
        for worker in ex.status().workers:
            supervisor = _supervisor_of(worker.pid)
            assert supervisor.ppid() == os.getpid()
            # Prototype: 6.5 MB of its own; the interpreter's shared pages come on top.
            assert supervisor.memory_full_info().uss < 12e6

    def test_a_supervisor_that_is_killed_takes_its_worker_along(self, start: Start, tmp_path: Path) -> None:
        """And both are replaced, within half a second of notice; the bystander does not care."""
        ex = start()
        bystander = worker_status(ex, 1)

        def attempt(number: int) -> bool:
            started, never = tmp_path / f"started-{number}", tmp_path / "never"
            future = ex.target(0).submit(tasks.write_and_wait, str(started), str(never))
            worker = psutil.Process(pid_in(started, PATIENCE))
            begin = time.perf_counter()
            _supervisor_of(worker.pid).send_signal(signal.SIGKILL)
            error = future.exception(PATIENCE)
            seconds = time.perf_counter() - begin
            assert isinstance(error, WorkerLost)
            until(lambda: worker_status(ex, 0).epoch == number + 1, PATIENCE, "the worker is replaced")
            all_up(ex, PATIENCE)
            assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
            assert ex.target(0).submit(tasks.where).result(PATIENCE)[:2] == (0, number + 1)
            assert worker_status(ex, 1).pid == bystander.pid
            return seconds < 0.5

        undisturbed(attempt, "the death of a supervisor is noticed within 0.5 s")

    def test_a_supervisor_that_is_stopped_is_silent_and_recovers(self, start: Start) -> None:
        """No beats, no new work; nobody is lost."""
        ex = start()
        supervisor = _supervisor_of(worker_status(ex, 0).pid)
        supervisor.send_signal(signal.SIGSTOP)
        try:
            until(lambda: worker_status(ex, 0).state == "unresponsive", PATIENCE, "silence is noticed")
            assert {ex.submit(tasks.where).result(PATIENCE)[0] for _ in range(5)} == {1}
        finally:
            supervisor.send_signal(signal.SIGCONT)
        until(lambda: worker_status(ex, 0).state == "idle", PATIENCE, "the worker is trusted again")
        assert worker_status(ex, 0).epoch == 0

    def test_what_a_task_started_goes_with_it(self, start: Start, tmp_path: Path) -> None:
        """A child process of a task that is stopped by force is not left behind."""
        ex = start()
        started = tmp_path / "started"
        future = go(ex.target(0), _start_a_child, str(started))
        pid_in(started, PATIENCE)
        child = psutil.Process(int((tmp_path / "started.child").read_text()))
        assert future.cancel(force=True)
        assert settles(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, PATIENCE)

    def test_ctrl_c_on_the_terminal_is_the_clients_to_handle(self, start: Start) -> None:
        """Workers are not in the terminal's foreground group."""
        ex = start()
        for worker in ex.status().workers:
            assert os.getpgid(worker.pid) != os.getpgid(0)
            assert os.getsid(worker.pid) != os.getsid(0)

    def test_workers_that_cannot_start_are_an_error(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """With what they last wrote, and not a hang."""
        broken = tmp_path / "python"
        broken.write_text("#!/bin/sh\necho the disk with Python is gone >&2\nexit 5\n")
        broken.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(broken))
        with Executor("multiprocessing", workers=1) as ex:
            error = ex.submit(tasks.identity, 1).exception(PATIENCE)
        assert isinstance(error, BackendUnavailable)
        assert "the disk with Python is gone" in str(error)
        assert "exit code 5" in str(error)


class TestEnvironment:
    def test_threads_are_shared_out(self, start: Start) -> None:
        """Workers times threads do not exceed the cores, unless asked for."""
        ex = start(workers=2)
        share = max(1, len(os.sched_getaffinity(0)) // 2)
        assert set(ex.submit(_threads_allowed).result(PATIENCE).values()) == {str(share)}
        ex = start(workers=1, threads=3)
        assert set(ex.submit(_threads_allowed).result(PATIENCE).values()) == {"3"}
        assert ex.engine.total_cores >= 3

    def test_threads_are_checked(self) -> None:
        with pytest.raises(InvalidSpec, match="threads=0"):
            Executor("multiprocessing", threads=0)

    def test_modules_of_the_client_are_importable(
        self, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever is on the client's path when the worker starts, also after a replacement."""
        (tmp_path / "plx_own_module.py").write_text("answer = 42\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        ex = start()
        assert ex.submit(_import_by_name, "plx_own_module").result(PATIENCE) == str(
            tmp_path / "plx_own_module.py"
        )

    def test_files_of_the_folder_do_not_stand_in_for_the_library(self, tmp_path: Path) -> None:
        """A json.py or pickle.py beside a script breaks no worker."""
        for name in ("json", "pickle", "socket", "select", "parallactic"):
            (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
        code = (
            "import sys; sys.path = [p for p in sys.path if p not in ('', sys.argv[1])]\n"
            "import parallactic as plx\n"
            "with plx.Executor('multiprocessing', workers=1) as ex: print(ex.submit(abs, -1).result())\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr

    def test_tasks_run_in_the_clients_folder(
        self, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert start().submit(os.getcwd).result(PATIENCE) == str(tmp_path)

    def test_a_run_folder_may_have_a_long_name(self, start: Start, tmp_path: Path) -> None:
        """A socket's path is limited to 108 bytes; a run folder is not."""
        folder = tmp_path / ("long-" * 20) / ("name-" * 20)
        ex = start(run_dir=folder)
        assert ex.submit(tasks.identity, 1).result(PATIENCE) == 1
        assert (folder / "journal.jsonl").exists()


class TestWords:
    def test_what_tasks_print_and_log_reaches_the_client(
        self,
        start: Start,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Lines on the right stream, records with worker, host and task; the file has it all."""
        caplog.set_level(logging.INFO)
        ex = start(run_dir=tmp_path / "run", log_level="INFO")
        ex.options(name="scan 7").target(1).submit(_print_and_log, "clouds").result(PATIENCE)
        out = err = ""

        def arrived() -> bool:
            nonlocal out, err
            seen = capsys.readouterr()
            out, err = out + seen.out, err + seen.err
            return "clouds" in out and "to stderr" in err and any("careful" in m for m in caplog.messages)

        until(arrived, PATIENCE, "the client shows what the task said")
        (record,) = [record for record in caplog.records if record.name == "my.module"]
        assert record.getMessage() == "careful: clouds"
        fields = vars(record)
        assert (fields["worker"], fields["task"]) == (1, "scan 7")
        assert fields["host"] == worker_status(ex, 1).host
        assert fields["process"] == worker_status(ex, 1).pid
        ex.shutdown()
        assert "clouds\n" in (tmp_path / "run" / "worker-1.log").read_text()

    def test_the_last_words_of_a_worker_are_in_its_error(self, start: Start) -> None:
        error = start().submit(tasks.exit_now, 3, "out of tape").exception(PATIENCE)
        assert isinstance(error, WorkerLost)
        assert error.log_tail.endswith("out of tape\n")


class TestMemory:
    def test_nothing_has_a_name_in_shared_memory(self, start: Start) -> None:
        """Blocks are anonymous: whatever dies, the kernel frees them."""

        def memory() -> frozenset[str]:
            own = psutil.Process()
            return shared_memory([own.pid, *(child.pid for child in own.children(recursive=True))])

        def attempt(number: int) -> bool:
            before = memory()
            ex = start()
            ref = ex.put(bytes(5_000_000))
            assert ex.submit(len, ref).result(PATIENCE) == 5_000_000
            return memory() <= before

        # What others got this very moment may not be in use yet.
        undisturbed(attempt, "no name in shared memory")

    def test_the_limit_of_open_files_is_raised(self, tmp_path: Path) -> None:
        """A soft limit of 256 files does not limit the number of large objects."""
        code = (
            "import resource\n"
            "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))\n"
            "import json, parallactic as plx\n"
            "with plx.Executor('multiprocessing', workers=1) as ex:\n"
            "    refs = [ex.put(bytes(1_100_000)) for _ in range(400)]\n"
            "    print(json.dumps(ex.submit(lambda all: sum(map(len, all)), refs).result()))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == 400 * 1_100_000
