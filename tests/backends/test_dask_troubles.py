"""A Dask cluster with other versions, without room on its disk, over its memory, or that stands still."""

from __future__ import annotations

import builtins
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest
from dask_by_hand import ByHand, until

import parallactic as plx
from parallactic.errors import BackendUnavailable, WorkerLost
from parallactic.testing.engine import selected_backends
from surroundings import in_private

if "dask" not in selected_backends():
    pytest.skip("dask is not in the matrix of this run; see BACKENDS of make test", allow_module_level=True)

from distributed import Client

from parallactic_backends.dask import presence

PATIENCE = 30.0
WORKER = ["-m", "dask", "worker", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]


@pytest.fixture
def by_hand(tmp_path: Path) -> Iterator[ByHand]:
    cluster = ByHand(tmp_path)
    yield cluster
    cluster.close()


def opened(cluster: ByHand, **settings: object) -> plx.Executor:
    return plx.Executor("dask", scheduler_file=cluster.file, **settings)


def up(executor: plx.Executor) -> int:
    return sum(worker.state in ("idle", "busy") for worker in executor.status().workers)


def start(
    cluster: ByHand, *words: str, python: Path | str = sys.executable, prefix: Sequence[str] = ()
) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a Dask worker of another Python, or in other surroundings; return it and its log."""
    log = cluster._log(len(cluster.processes))
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*prefix, str(python), *WORKER, "--scheduler-file", str(cluster.file), *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd=cluster.file.parent,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    cluster.processes.append(process)
    return process, log


def registered(log: Path) -> bool:
    return "Registered to" in log.read_text()


def environment(folder: Path, *, own: bool) -> Path:
    """Make an environment with the packages of this one, with this library or without; return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    paths = [path for path in sys.path if Path(path).is_dir()]
    if not own:
        paths = [path for path in paths if not any(Path(path).glob("parallactic*/__init__.py"))]
    (site / "all.pth").write_text("\n".join(paths))
    return folder / "bin" / "python"


# Versions


def test_a_dask_worker_of_another_release_is_refused_by_name(by_hand: ByHand, tmp_path: Path) -> None:
    python = environment(tmp_path / "other", own=True)
    words = ["install", "--quiet", "--no-deps", "dask==2026.3.0", "distributed==2026.3.0"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", f"--python={python}", *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        if os.environ.get("CI") == "true":
            pytest.fail(f"another release of Dask cannot be had: {done.stderr}")
        pytest.skip(f"another release of Dask cannot be had: {done.stderr.splitlines()[-1]}")
    _, log = start(by_hand, python=python)
    until(lambda: registered(log), "it has registered")
    with pytest.warns(match="Mismatched versions"), pytest.raises(BackendUnavailable) as caught:
        opened(by_hand)
    text = str(caught.value)
    assert "distributed is 2026.3.0 in the worker tcp://127.0.0.1:" in text
    assert "here it is 20" in text
    assert "install the same versions" in text


def test_a_dask_worker_without_this_library_is_refused_by_name(by_hand: ByHand, tmp_path: Path) -> None:
    """And the scheduler is left as it was: the next run is not harmed by it."""
    python = environment(tmp_path / "bare", own=False)
    process, log = start(by_hand, python=python)
    until(lambda: registered(log), "it has registered")
    with pytest.raises(BackendUnavailable) as caught:
        opened(by_hand)
    text = str(caught.value)
    assert "the Dask worker tcp://127.0.0.1:" in text
    assert "No module named" in text or "parallactic is not installed in the worker" in text
    process.kill()
    by_hand.worker()
    with opened(by_hand) as ex:
        assert ex.submit(pow, 2, 5).result(PATIENCE) == 32
    with Client(scheduler_file=str(by_hand.file), set_as_default=False) as client:
        left = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.worker_plugins))
    assert not [name for name in left if name.startswith("parallactic")]


def test_one_without_this_library_that_joins_later_harms_nobody(
    by_hand: ByHand, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    by_hand.worker()
    python = environment(tmp_path / "bare", own=False)
    with opened(by_hand) as ex:
        until(lambda: up(ex) == 1, "one worker")
        process, log = start(by_hand, python=python)
        until(lambda: process.poll() is not None, "it has given up")
        assert "No module named 'parallactic" in log.read_text()
        assert [ex.submit(pow, 2, n).result(PATIENCE) for n in range(5)] == [1, 2, 4, 8, 16]
        until(lambda: "left before it could be used" in caplog.text, "a person is told")


def test_one_of_another_release_of_ours_that_joins_later_is_left_out(
    by_hand: ByHand, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    by_hand.worker()
    python = environment(tmp_path / "newer", own=True)
    (site,) = (tmp_path / "newer").glob("lib/python*/site-packages")
    (site / "newer.pth").write_text("import parallactic; parallactic.__version__ = '99.0'\n")
    with opened(by_hand) as ex:
        until(lambda: up(ex) == 1, "one worker")
        start(by_hand, python=python)
        until(lambda: "is left out: on " in caplog.text, "a person is told")
        assert "Parallactic 99.0" in caplog.text
        assert [ex.submit(pow, 2, n).result(PATIENCE) for n in range(20)] == [2**n for n in range(20)]
        assert up(ex) == 1


def test_a_scheduler_file_that_is_just_being_written_is_waited_for(by_hand: ByHand, tmp_path: Path) -> None:
    by_hand.worker()
    late = tmp_path / "late.json"
    late.touch()
    until(lambda: json.loads(by_hand.file.read_text() or "{}"), "the scheduler has written its own")
    writer = threading.Timer(0.5, lambda: late.write_text(by_hand.file.read_text()))
    writer.start()
    with plx.Executor("dask", scheduler_file=late) as ex:
        assert ex.submit(pow, 2, 5).result(PATIENCE) == 32
    writer.join()


# Those that stand still


def test_a_scheduler_that_takes_the_connection_and_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        before = time.monotonic()
        with pytest.raises(BackendUnavailable, match=r"did not answer within 1 s: .*was silent"):
            plx.Executor("dask", scheduler=f"127.0.0.1:{server.getsockname()[1]}", connect_timeout=1)
        assert time.monotonic() - before < PATIENCE


def test_a_dask_worker_that_stands_still_is_used_when_it_goes_on(
    by_hand: ByHand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(presence, "_ANSWER_SECONDS", 2.0)
    by_hand.worker()
    stopped, log = start(by_hand)
    until(lambda: registered(log) and by_hand.workers(), "both have registered")
    os.kill(stopped.pid, signal.SIGSTOP)
    with opened(by_hand) as ex:
        assert "does not answer; it is used when it does" in caplog.text
        assert [ex.submit(pow, 2, n).result(PATIENCE) for n in range(20)] == [2**n for n in range(20)]
        assert up(ex) == 1
        os.kill(stopped.pid, signal.SIGCONT)
        until(lambda: up(ex) == 2, "both are used")
        assert [ex.submit(pow, 2, n).result(PATIENCE) for n in range(20)] == [2**n for n in range(20)]


def doze(number: int) -> int:
    time.sleep(0.02)
    return number


def test_a_dask_worker_that_falls_silent_holds_up_nothing_but_what_it_has(by_hand: ByHand) -> None:
    for _ in range(2):
        by_hand.worker()
    until(lambda: len(by_hand.workers()) == 2, "both have registered")
    with opened(by_hand) as ex:
        until(lambda: up(ex) == 2, "both are up")
        assert [ex.submit(doze, n).result(PATIENCE) for n in range(5)] == list(range(5))
        first = [ex.submit(doze, n) for n in range(100)]
        until(lambda: first[5].done(), "they are under way")
        os.kill(by_hand.processes[-1].pid, signal.SIGSTOP)
        second = [ex.submit(doze, n) for n in range(100)]
        # What Dask had given to it already, and at most one that it had begun.
        until(lambda: sum(future.done() for future in second) >= 70, "the other works on")
        os.kill(by_hand.processes[-1].pid, signal.SIGCONT)
        assert [future.result(PATIENCE) for future in first + second] == [*range(100), *range(100)]
        until(lambda: up(ex) == 2, "both are used again")


def test_a_scheduler_that_stands_still_is_told_about(
    by_hand: ByHand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What has a target goes on meanwhile."""
    monkeypatch.setattr(presence, "_PING_SECONDS", 0.5)
    by_hand.worker()
    scheduler = by_hand.processes[0].pid
    with opened(by_hand) as ex:
        until(lambda: up(ex) == 1, "one worker")
        os.kill(scheduler, signal.SIGSTOP)
        waiting = ex.submit(pow, 2, 5)
        until(lambda: "does not answer; tasks without a target wait" in caplog.text, "a person is told")
        assert ex.target(0).submit(pow, 2, 6).result(PATIENCE) == 64
        assert not waiting.done()
        os.kill(scheduler, signal.SIGCONT)
        assert waiting.result(PATIENCE) == 32
        until(lambda: "answers again" in caplog.text, "and of the end")


def note(path: str, number: int) -> int:
    with Path(path).open("a") as file:
        file.write(f"{number}\n")
    time.sleep(0.02)
    return number


def test_a_dask_worker_that_dask_gives_up_runs_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had begun is lost; the rest runs elsewhere, and not there as well when it goes on."""
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "5s")
    cluster = ByHand(tmp_path)
    try:
        for _ in range(2):
            cluster.worker()
        until(lambda: len(cluster.workers()) == 2, "both have registered")
        ran = tmp_path / "ran"
        with opened(cluster) as ex:
            until(lambda: up(ex) == 2, "both are up")
            assert [ex.submit(doze, n).result(PATIENCE) for n in range(5)] == list(range(5))
            futures = [ex.submit(note, str(ran), n) for n in range(80)]
            until(lambda: futures[5].done(), "they are under way")
            stopped = cluster.processes[-1]
            os.kill(stopped.pid, signal.SIGSTOP)
            errors = [future.exception(2 * PATIENCE) for future in futures]
            os.kill(stopped.pid, signal.SIGCONT)
            until(lambda: stopped.poll() is not None, "it learns that it was given up, and ends")
            assert sum(error is not None for error in errors) <= 1
            assert all(isinstance(error, WorkerLost) for error in errors if error is not None)
            lines = ran.read_text().split()
            assert len(lines) == len(set(lines)), "none has run twice"
            assert {n for n, error in enumerate(errors) if error is None} <= set(map(int, lines))
    finally:
        cluster.close()


def test_a_cluster_that_stands_still_is_an_error(by_hand: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "_ANSWER_SECONDS", 1.0)
    stopped, log = start(by_hand)
    until(lambda: registered(log), "it has registered")
    os.kill(stopped.pid, signal.SIGSTOP)
    with pytest.raises(BackendUnavailable, match=r"none of the 1 Dask workers .* answers"):
        opened(by_hand)


def dask_worker() -> int:
    """Return the process of the Dask worker beside which this runs: the parent's parent."""
    return psutil.Process().parents()[1].pid


def test_dask_workers_under_nannies(by_hand: ByHand, tmp_path: Path) -> None:
    """As `dask worker` starts them by itself: one that dies comes again, and nothing is run twice."""
    by_hand._start(
        "worker", "--scheduler-file", str(by_hand.file), "--nthreads", "1", "--nworkers", "2",
        "--host", "127.0.0.1", "--memory-limit", "300MB", "--local-directory", str(tmp_path / "scratch"),
    )  # fmt: skip
    with opened(by_hand) as ex:
        until(lambda: up(ex) == 2, "both are up")
        assert ex.submit(eat, 500).result(PATIENCE) == 500, "a nanny does not count the memory of tasks"
        number = ex.target(0).submit(dask_worker).result(PATIENCE)
        lost = ex.target(0).submit(time.sleep, 60)
        until(lost.running, "it runs")
        os.kill(number, signal.SIGKILL)
        assert isinstance(lost.exception(PATIENCE), WorkerLost)
        until(lambda: up(ex) == 2 and ex.status().workers[0].epoch == 1, "it is back")
        assert ex.target(0).submit(dask_worker).result(PATIENCE) != number
    nannies = psutil.Process(by_hand.processes[-1].pid)
    started = nannies.children(recursive=True)
    nannies.terminate()
    assert not psutil.wait_procs(started, PATIENCE)[1], "they have ended"


# Disk and memory


def large(value: float) -> np.ndarray:
    return np.full(2_000_000, value)


def test_a_full_disk_is_told_and_harms_no_result(
    by_hand: ByHand, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Dask cannot move results to disk: they stay in memory, and the client is told why."""
    scratch = tmp_path / "small"
    scratch.mkdir()
    prefix = in_private(f"mount -t tmpfs -o size=2m none {scratch}")
    start(by_hand, "--memory-limit", "150MB", "--local-directory", str(scratch), prefix=prefix)
    with opened(by_hand, shared_memory=False) as ex:
        kept = [ex.submit(large, value) for value in range(14)]
        total = ex.submit(sum, [ex.submit(np.sum, part) for part in kept])
        assert total.result(PATIENCE) == 2e6 * sum(range(14))
        until(lambda: "No space left on device" in caplog.text, "a person is told")
        assert f"cannot write to its local directory {scratch}" in caplog.text
        assert [part.result(PATIENCE)[-1] for part in kept] == list(range(14))


def test_a_local_cluster_that_finds_no_room_says_so(tmp_path: Path) -> None:
    """A file system on which not even a folder can be made."""
    scratch = tmp_path / "small"
    scratch.mkdir()
    code = (
        "import sys\n"
        "from parallactic import Executor\n"
        "from parallactic.errors import BackendUnavailable\n"
        "try:\n"
        "    Executor('dask', workers=1, local_directory=sys.argv[1])\n"
        "except BackendUnavailable as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [
            *in_private(f"mount -t tmpfs -o nr_inodes=1 none {scratch}"),
            sys.executable,
            "-c",
            code,
            str(scratch),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "did not start" in done.stdout
    assert "No space left on device" in done.stdout
    assert str(scratch) in done.stdout


def eat(megabytes: int) -> int:
    """Take memory as a library in C does: Dask cannot know whose it is."""
    held = [np.ones(125_000) for _ in range(megabytes)]
    time.sleep(1.5)
    return len(held)


def test_memory_of_tasks_does_not_pause_a_dask_worker(
    by_hand: ByHand, caplog: pytest.LogCaptureFixture
) -> None:
    """Tasks run beside the Dask worker, whose limit is for what it holds itself."""
    start(by_hand, "--memory-limit", "300MB")
    with opened(by_hand) as ex:
        until(lambda: up(ex) == 1, "one worker")
        futures = [ex.submit(eat, 500) for _ in range(3)]
        assert [future.result(PATIENCE) for future in futures] == [500] * 3
        assert "paused" not in caplog.text


def test_a_dask_worker_that_dask_has_paused_goes_on_and_both_is_told(
    by_hand: ByHand, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody else has filled it. What has a target runs meanwhile; the rest when there is room again."""
    start(by_hand, "--memory-limit", "300MB")
    with (
        opened(by_hand) as ex,
        Client(scheduler_file=str(by_hand.file), set_as_default=False) as other,
    ):
        until(lambda: up(ex) == 1, "one worker")
        other.run(lambda: setattr(builtins, "_held", b"1" * 300_000_000))
        until(lambda: "has paused its worker" in caplog.text, "a person is told")
        assert "of 0.30 GB" in caplog.text
        waiting = ex.submit(pow, 2, 5)
        assert ex.target(0).submit(pow, 2, 6).result(PATIENCE) == 64
        assert not waiting.done()
        other.run(lambda: delattr(builtins, "_held"))
        assert waiting.result(PATIENCE) == 32
        until(lambda: "goes on" in caplog.text, "a person is told")
