"""Dask workers that join, die, and hold results: what is kept, what is lost, and that nothing runs twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import psutil
import pytest
from dask_by_hand import ByHand, until

import parallactic as plx
from parallactic.errors import BackendUnavailable, DependencyFailed, InvalidSpec, StateLost, WorkerLost
from parallactic.testing.engine import selected_backends
from parallactic.testing.waiting import undisturbed

if "dask" not in selected_backends():
    pytest.skip("dask is not in the matrix of this run; see BACKENDS of make test", allow_module_level=True)

PATIENCE = 30.0
LARGE = 500_000
"""Values of 8 bytes: a result that stays where it is."""


@pytest.fixture
def by_hand(tmp_path: Path) -> Iterator[ByHand]:
    cluster = ByHand(tmp_path)
    yield cluster
    cluster.close()


def opened(cluster: ByHand, **settings: object) -> plx.Executor:
    return plx.Executor("dask", scheduler_file=cluster.file, **settings)


def up(executor: plx.Executor) -> int:
    return sum(worker.state in ("idle", "busy") for worker in executor.status().workers)


def note(path: str, value: float) -> np.ndarray:
    with Path(path).open("a") as file:
        file.write("ran\n")
    return np.full(LARGE, value)


def note_sum(path: str, values: np.ndarray) -> float:
    Path(path).touch()
    return float(values.sum())


def host_of(_: object = None) -> int:
    """Return the number of the Dask worker's process beside which this runs: the parent's parent."""
    parent = psutil.Process().parent()
    assert parent is not None
    above = parent.parent()
    assert above is not None
    return above.pid


def wait_for(begun: str, path: str) -> None:
    Path(begun).touch()
    while not Path(path).exists():
        time.sleep(0.01)


def record(value: object) -> None:
    plx.namespace()["seen"].append(float(np.sum(value)))


def mark_and_wait(started: str) -> None:
    with Path(started).open("a") as file:
        file.write(f"{host_of()}\n")
    time.sleep(60)


def remember() -> None:
    plx.namespace()["ready"] = True


def ready() -> bool:
    return bool(plx.namespace().get("ready"))


def test_workers_join_and_leave_a_cluster_of_others(by_hand: ByHand) -> None:
    """Each thread of a Dask worker is a place; a joined worker has the setups; nothing stays behind."""
    by_hand.worker()
    with opened(by_hand) as ex:
        until(lambda: up(ex) == 1, "one worker")
        ex.setup(remember).result(PATIENCE)
        second = by_hand.worker(threads=2)
        until(lambda: up(ex) == 3, "three workers")
        assert ex.max_workers == 3
        assert ex.target("all").submit(ready).result(PATIENCE) == [True] * 3
        hosts = ex.target("all").submit(host_of).result(PATIENCE)
        assert len(set(hosts)) == 2
        second.kill()
        until(lambda: up(ex) == 1, "the two are missed")
        lost = ex.target(hosts.index(second.pid)).submit(ready)
        by_hand.worker(threads=2)
        assert lost.result(PATIENCE) is True, "the replacement has the setup too"
        until(lambda: up(ex) == 3, "all are back")
    with opened(by_hand) as ex:
        assert ex.submit(pow, 2, 5).result(PATIENCE) == 32, "the cluster serves the next run"


def test_more_workers_than_wanted_stay_in_reserve(by_hand: ByHand) -> None:
    by_hand.worker(threads=2)
    with opened(by_hand, workers=1) as ex:
        until(lambda: up(ex) == 1, "one worker")
        assert ex.max_workers == 1


def test_two_runs_share_a_cluster(by_hand: ByHand, tmp_path: Path) -> None:
    """Each has workers beside one Dask worker only: the other's Dask worker is no place for its tasks."""
    by_hand.worker()
    by_hand.worker()
    until(lambda: len(by_hand.workers()) == 2, "two Dask workers")
    with opened(by_hand, workers=1) as one, opened(by_hand, workers=1) as two:
        until(lambda: up(one) == up(two) == 1, "a worker each")
        for number in range(5):
            begun, go = tmp_path / f"begun-{number}", tmp_path / f"go-{number}"
            held = one.submit(wait_for, str(begun), str(go))
            until(begun.exists, "it has begun")
            others = [one.submit(pow, 2, n) for n in range(10)]
            go.touch()
            held.result(PATIENCE)
            for executor in (one, two, one, two):
                futures = [executor.submit(pow, 2, n) for n in range(30)]
                assert executor.gather(futures, timeout=PATIENCE) == [2**n for n in range(30)]
            assert one.gather(others, timeout=PATIENCE) == [2**n for n in range(10)]


def test_large_results_stay_with_dask_and_are_not_made_again(by_hand: ByHand, tmp_path: Path) -> None:
    """The holder of a finished result dies: it is lost, and its task does not run again."""
    ran = tmp_path / "ran"
    first = by_hand.worker()
    with opened(by_hand) as ex:
        until(lambda: up(ex) == 1, "one worker")
        kept = ex.submit(note, str(ran), 2.0)
        # Between processes of one host the client takes a share in the memory: make Dask its only holder.
        assert ex.submit(np.sum, kept).result(PATIENCE) == 2.0 * LARGE
        assert np.array_equal(kept.result(PATIENCE), np.full(LARGE, 2.0))
        go = tmp_path / "go"
        blocked = ex.submit(wait_for, str(tmp_path / "begun"), str(go))
        until((tmp_path / "begun").exists, "it has begun")
        after = ex.submit(note, str(tmp_path / "other"), 1.0)
        follows = ex.submit(np.sum, after)
        first.kill()
        with pytest.raises(WorkerLost):
            blocked.result(PATIENCE)
        by_hand.worker()
        assert follows.result(PATIENCE) == LARGE, "what had not begun runs on the replacement"
        assert ran.read_text() == "ran\n"
        assert (tmp_path / "other").read_text() == "ran\n"


def test_results_far_away_are_brought_when_they_are_asked_for(by_hand: ByHand, tmp_path: Path) -> None:
    """Without shared memory, as between hosts: results stay with Dask, for tasks, targets and the client."""
    first = by_hand.worker()
    with opened(by_hand, shared_memory=False) as ex:
        until(lambda: up(ex) == 1, "one worker")
        kept = ex.submit(note, str(tmp_path / "ran"), 2.0)
        assert ex.submit(np.sum, kept).result(PATIENCE) == 2.0 * LARGE
        lane = ex.target(0)
        lane.push(seen=[])
        for value in (kept, np.ones(LARGE), 3.0, ex.put(np.ones(LARGE))):
            lane.submit(record, value)
        assert lane.pull("seen").result(PATIENCE) == [2.0 * LARGE, LARGE, 3.0, LARGE], "in this order"
        assert np.array_equal(kept.result(PATIENCE), np.full(LARGE, 2.0))
        lost = ex.submit(note, str(tmp_path / "ran"), 5.0)
        assert ex.submit(np.sum, lost).result(PATIENCE) == 5.0 * LARGE
        first.kill()
        by_hand.worker()
        until(lambda: up(ex) == 0, "its death is noticed")
        with pytest.raises(WorkerLost):
            lost.result(PATIENCE)
        until(lambda: up(ex) == 1, "there is another")
        assert isinstance(ex.submit(np.sum, lost).exception(PATIENCE), WorkerLost)
        assert isinstance(ex.target(0).submit(np.sum, lost).exception(PATIENCE), WorkerLost)
        assert (tmp_path / "ran").read_text() == "ran\n" * 2


def test_what_the_client_gave_is_given_again(by_hand: ByHand) -> None:
    """Dask's copy of a large argument dies with its Dask worker; the client has the original."""
    first = by_hand.worker()
    with opened(by_hand, shared_memory=False) as ex:
        until(lambda: up(ex) == 1, "one worker")
        given = ex.put(np.ones(LARGE))
        assert ex.submit(np.sum, given).result(PATIENCE) == LARGE
        first.kill()
        until(lambda: up(ex) == 0, "its death is noticed")
        by_hand.worker()
        until(lambda: up(ex) == 1, "there is another")
        assert ex.submit(np.sum, given).result(PATIENCE) == LARGE


def test_what_waits_for_its_data_is_in_order(by_hand: ByHand, tmp_path: Path) -> None:
    """Tasks that follow one whose large argument is on its way, or that are cancelled by then."""
    by_hand.worker()
    with opened(by_hand, shared_memory=False) as ex:
        until(lambda: up(ex) == 1, "one worker")
        for number in range(10):
            begun, go = tmp_path / f"begun-{number}", tmp_path / f"go-{number}"
            blocked = ex.submit(wait_for, str(begun), str(go))
            until(begun.exists, "it has begun")
            first = ex.submit(np.full, LARGE, float(number))
            both = ex.submit(np.add, first, np.ones(LARGE))
            last = ex.submit(np.sum, [both])
            never = ex.submit(note_sum, str(tmp_path / "never"), np.ones(LARGE))
            assert never.cancel()
            go.touch()
            blocked.result(PATIENCE)
            assert last.result(PATIENCE) == (number + 1) * LARGE
        assert ex.submit(pow, 2, 5).result(PATIENCE) == 32
        assert not (tmp_path / "never").exists()


def test_a_connection_that_breaks_is_made_again(by_hand: ByHand) -> None:
    """The Dask worker lives on: its place is taken again, by a new epoch of the worker."""
    by_hand.worker()
    with opened(by_hand) as ex:
        until(lambda: up(ex) == 1, "one worker")
        (link,) = ex.engine._fleet._links.values()  # type: ignore[attr-defined]
        link._loop.call_soon_threadsafe(link.close)
        until(lambda: ex.status().workers[0].epoch == 1 and up(ex) == 1, "the worker is back")
        assert ex.submit(pow, 2, 5).result(PATIENCE) == 32


def test_a_scheduler_that_dies_ends_the_run(by_hand: ByHand) -> None:
    by_hand.worker()
    with opened(by_hand, connect_timeout=2) as ex:
        until(lambda: up(ex) == 1, "one worker")
        waits = [ex.submit(time.sleep, 60) for _ in range(3)]
        by_hand.processes[0].kill()
        for future in waits:
            assert isinstance(future.exception(PATIENCE), BackendUnavailable | WorkerLost)
        with pytest.raises(BackendUnavailable, match="scheduler"):
            ex.submit(pow, 2, 5)


def test_a_task_whose_dask_worker_dies_ends_once(by_hand: ByHand, tmp_path: Path) -> None:
    """Poison: killed with its Dask worker, it is WorkerLost within 2 s, and does not go to the other."""
    by_hand.worker()
    by_hand.worker()
    with opened(by_hand) as ex:

        def attempt(number: int) -> bool:
            until(lambda: up(ex) == 2, "two workers")
            started = tmp_path / f"started-{number}"
            poison = ex.submit(mark_and_wait, str(started))
            after = ex.submit(host_of, poison)
            until(lambda: started.exists() and started.read_text().endswith("\n"), "it has begun")
            before = time.monotonic()
            os.kill(int(started.read_text()), signal.SIGKILL)
            assert isinstance(poison.exception(PATIENCE), WorkerLost)
            seconds = time.monotonic() - before
            assert isinstance(after.exception(PATIENCE), DependencyFailed)
            # Its place is taken by another, on which it would run if it came again.
            by_hand.worker()
            until(lambda: up(ex) == 2, "two workers again")
            assert ex.gather([ex.submit(pow, 2, n) for n in range(20)]) == [2**n for n in range(20)]
            assert len(started.read_text().splitlines()) == 1
            return seconds < 2.0

        undisturbed(attempt, "the death of a Dask worker is told within 2 s")


def test_what_is_pinned_to_a_dead_worker_ends(by_hand: ByHand, tmp_path: Path) -> None:
    """Begun, handed over, queued, or submitted afterwards: nothing waits for one that will not return."""
    first = by_hand.worker()
    with opened(by_hand) as ex:
        until(lambda: up(ex) == 1, "one worker")
        lane, started, ran = ex.target(0), tmp_path / "started", tmp_path / "ran"
        begun = lane.submit(mark_and_wait, str(started))
        waiting = [lane.submit(note, str(ran), 1.0) for _ in range(20)]
        until(lambda: started.exists() and started.read_text().endswith("\n"), "it has begun")
        first.kill()
        assert isinstance(begun.exception(PATIENCE), WorkerLost)
        for future in waiting:
            assert isinstance(future.exception(PATIENCE), StateLost)
        assert isinstance(lane.submit(note, str(ran), 1.0).exception(PATIENCE), StateLost)
        anew = ex.target(0).submit(pow, 2, 5)
        by_hand.worker()
        assert anew.result(PATIENCE) == 32, "a new target means the worker that comes"
        assert not ran.exists()


def test_results_whose_holder_died_are_not_made_again(tmp_path: Path) -> None:
    """In a local cluster, where Dask itself would run a finished task again as soon as another needs it."""
    ran = tmp_path / "ran"
    with plx.Executor("dask", workers=2) as ex:
        until(lambda: up(ex) == 2, "two workers")
        kept = [ex.submit(note, str(ran), float(number)) for number in range(6)]
        sums = [number * LARGE for number in range(6)]
        assert ex.gather([ex.submit(np.sum, part) for part in kept], timeout=PATIENCE) == sums
        for victim in ex.target("all").submit(host_of).result(PATIENCE):
            os.kill(victim, signal.SIGKILL)
        until(lambda: [worker.epoch for worker in ex.status().workers] == [1, 1], "the deaths are noticed")
        until(lambda: up(ex) == 2, "there are two others")
        for part, expected in zip(kept, sums, strict=True):
            outcome = ex.gather([ex.submit(np.sum, part)], errors="return", timeout=PATIENCE)[0]
            assert outcome == expected or isinstance(outcome, WorkerLost | DependencyFailed), outcome
        assert ran.read_text() == "ran\n" * 6


def test_a_dask_worker_of_a_local_cluster_is_replaced() -> None:
    with plx.Executor("dask", workers=2) as ex:
        until(lambda: up(ex) == 2, "two workers")
        victim = ex.target(1).submit(host_of).result(PATIENCE)
        os.kill(victim, signal.SIGKILL)
        until(lambda: up(ex) < 2, "its death is noticed")
        until(lambda: up(ex) == 2, "there is another")
        assert victim not in ex.target("all").submit(host_of).result(PATIENCE)


def eat(megabytes: int) -> float:
    held = [np.ones(125_000) for _ in range(megabytes)]
    time.sleep(20.0)
    return sum(part[0] for part in held)


def test_a_worker_over_its_memory_is_ended() -> None:
    with plx.Executor("dask", workers=1, memory_limit="400MB") as ex:
        error = ex.submit(eat, 800).exception(PATIENCE)
        assert isinstance(error, WorkerLost)
        assert error.cause == "oom"
        assert "0.40 GB" in str(error)
        assert ex.submit(pow, 2, 5).result(PATIENCE) == 32


def page(address: str) -> str:
    try:
        with urlopen(address, timeout=PATIENCE) as answer:
            return str(answer.read().decode())
    except HTTPError:
        return ""  # it is still to come


def test_status_tells_where_the_dashboard_is() -> None:
    with plx.Executor("dask", workers=1) as ex:
        assert ex.status().dashboard.startswith("http://127.0.0.1:")
        assert ex.status().dashboard in str(ex.status())
        until(lambda: "Task Stream" in page(ex.status().dashboard), "the dashboard can be looked at")
    with plx.Executor("dask", workers=1, dashboard=False) as ex:
        assert ex.status().dashboard == ""


@pytest.mark.parametrize(
    ("settings", "error", "parts"),
    [
        (
            {"scheduler": "tcp://127.0.0.1:1", "connect_timeout": 1},
            BackendUnavailable,
            ["127.0.0.1:1", "1 s"],
        ),
        ({"scheduler": "carrier://pigeon"}, BackendUnavailable, ["carrier://pigeon"]),
        ({"scheduler_file": "/nowhere.json"}, BackendUnavailable, ["/nowhere.json", "dask scheduler"]),
        ({"scheduler": "a:1", "scheduler_file": "b"}, InvalidSpec, ["scheduler", "scheduler_file"]),
        ({"scheduler": "a:1", "local_directory": "/scratch"}, InvalidSpec, ["local_directory", "/scratch"]),
        ({"scheduler": "a:1", "dashboard": ":8787"}, InvalidSpec, ["dashboard", ":8787"]),
        ({"cluster": "moon"}, InvalidSpec, ["moon", "local"]),
        ({"memory_limit": "lots"}, InvalidSpec, ["memory_limit", "lots"]),
        ({"shceduler": "a:1"}, InvalidSpec, ["shceduler", "scheduler"]),
    ],
)
def test_what_cannot_be(settings: dict[str, object], error: type[Exception], parts: list[str]) -> None:
    before = set(psutil.Process().children())
    with pytest.raises(error) as caught:
        plx.Executor("dask", **settings)
    for part in parts:
        assert part in str(caught.value)
    assert set(psutil.Process().children()) <= before
