"""Resources of tasks on Dask: who gets them, who waits, and what no Dask worker can give."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from dask_by_hand import ByHand, until

import parallactic as plx
from parallactic.errors import InvalidSpec, WorkerLost
from parallactic.testing.engine import selected_backends
from slurm_lab import SlurmLab

if "dask" not in selected_backends():
    pytest.skip("dask is not in the matrix of this run; see BACKENDS of make test", allow_module_level=True)

from parallactic.spec import DEFAULT
from parallactic_backends.dask import supply as module
from parallactic_backends.dask.supply import Supply

PATIENCE = 30.0
GB = 10**9


@pytest.fixture
def by_hand(tmp_path: Path) -> Iterator[ByHand]:
    cluster = ByHand(tmp_path)
    yield cluster
    cluster.close()


def start(cluster: ByHand, *words: str, threads: int = 1) -> int:
    """Start a Dask worker with more words on its line; return its process."""
    return cluster._start(
        "worker", "--scheduler-file", str(cluster.file), "--nthreads", str(threads), "--no-nanny",
        "--host", "127.0.0.1", *words,
    ).pid  # fmt: skip


def opened(cluster: ByHand, **settings: object) -> plx.Executor:
    return plx.Executor("dask", scheduler_file=cluster.file, **settings)


def up(executor: plx.Executor) -> int:
    return sum(worker.state in ("idle", "busy") for worker in executor.status().workers)


def dask_worker() -> int:
    """Return the process of the Dask worker beside which this runs: the parent's parent."""
    return psutil.Process().parents()[1].pid


def overlap(folder: str, seconds: float = 0.3) -> int:
    """Return how many ran at the same time as this one, this one included, when it had run for a while."""
    own = Path(folder) / f"running-{time.monotonic_ns()}"
    own.touch()
    time.sleep(seconds)
    count = len(list(Path(folder).glob("running-*")))
    own.unlink()
    return count


def wait_for(path: str) -> int:
    while not Path(path).exists():
        time.sleep(0.01)
    return dask_worker()


def test_a_task_with_gpus_goes_where_they_are_and_no_more_than_there_are(
    by_hand: ByHand, tmp_path: Path
) -> None:
    plain = start(by_hand)
    rich = start(by_hand, "--resources", "GPU=2", threads=4)
    with opened(by_hand) as ex:
        until(lambda: up(ex) == 5, "all are up")
        view = ex.options(gpus=1)
        assert {future.result(PATIENCE) for future in [view.submit(dask_worker) for _ in range(6)]} == {rich}
        shared = tmp_path / "shared"
        shared.mkdir()
        counts = [future.result(PATIENCE) for future in [view.submit(overlap, str(shared)) for _ in range(5)]]
        assert max(counts) == 2, "two at a time, though there is room for four"
        alone = ex.options(gpus=2)
        counts = [
            future.result(PATIENCE) for future in [alone.submit(overlap, str(shared)) for _ in range(3)]
        ]
        assert counts == [1, 1, 1]
        assert plain in ex.target("all").submit(dask_worker).result(PATIENCE)


def test_tasks_that_wait_for_a_gpu_do_not_keep_others_waiting(by_hand: ByHand, tmp_path: Path) -> None:
    start(by_hand)
    start(by_hand, "--resources", "GPU=1")
    with opened(by_hand) as ex:
        until(lambda: up(ex) == 2, "both are up")
        go = tmp_path / "go"
        scarce = [ex.options(gpus=1).submit(wait_for, str(go)) for _ in range(20)]
        assert [ex.submit(pow, 2, n).result(PATIENCE) for n in range(5)] == [1, 2, 4, 8, 16]
        assert not any(future.done() for future in scarce)
        assert scarce[-1].cancel(), "what has not begun can be withdrawn"
        go.touch()
        assert len({future.result(PATIENCE) for future in scarce[:-1]}) == 1


def test_a_place_with_a_gpu_that_is_busy_is_waited_for(by_hand: ByHand, tmp_path: Path) -> None:
    """The only worker with a GPU is busy with what was addressed to it."""
    start(by_hand)
    rich = start(by_hand, "--resources", "GPU=1")
    with opened(by_hand) as ex:
        until(lambda: up(ex) == 2, "both are up")
        number = ex.target("all").submit(dask_worker).result(PATIENCE).index(rich)
        go = tmp_path / "go"
        busy = ex.target(number).submit(wait_for, str(go))
        scarce = ex.options(gpus=1).submit(dask_worker)
        time.sleep(1.0)
        assert not scarce.done()
        go.touch()
        assert busy.result(PATIENCE) == rich
        assert scarce.result(PATIENCE) == rich


def test_what_no_dask_worker_has_is_refused_with_what_there_is(by_hand: ByHand) -> None:
    start(by_hand)
    rich = start(by_hand, "--resources", "GPU=2 MEMORY=8e9")
    with opened(by_hand) as ex:
        until(lambda: up(ex) == 2, "both are up")
        with pytest.raises(InvalidSpec, match=r"GPU=3, which no Dask worker has.*GPU=2.*--resources 'GPU=3'"):
            ex.options(gpus=3)
        with pytest.raises(InvalidSpec, match=r"MEMORY=9e\+09.*MEMORY=8e\+09"):
            ex.options(memory="9GB")
        hosts = ex.target("all").submit(dask_worker).result(PATIENCE)
        view = ex.options(gpus=1, memory="8GB")
        assert view.target(hosts.index(rich)).submit(dask_worker).result(PATIENCE) == rich
        with pytest.raises(InvalidSpec, match=r"the Dask worker tcp://127.0.0.1:\d+ has not.*GPU=0"):
            view.target(1 - hosts.index(rich))
        with pytest.raises(InvalidSpec, match="GPU=0"):
            view.target("all")


def test_one_that_joins_brings_what_it_has(by_hand: ByHand) -> None:
    start(by_hand)
    with opened(by_hand) as ex:
        until(lambda: up(ex) == 1, "one is up")
        with pytest.raises(InvalidSpec, match="GPU=1, which no Dask worker has"):
            ex.options(gpus=1)
        rich = start(by_hand, "--resources", "GPU=1")
        until(lambda: up(ex) == 2, "the other is up")
        assert ex.options(gpus=1).submit(dask_worker).result(PATIENCE) == rich


def test_the_last_one_that_had_it_is_gone(
    by_hand: ByHand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for it in vain is told, not left waiting; what comes back in time is waited for."""
    start(by_hand)
    start(by_hand, "--resources", "GPU=1")
    with opened(by_hand) as ex:
        until(lambda: up(ex) == 2, "both are up")
        view = ex.options(gpus=1)
        running = view.submit(wait_for, str(tmp_path / "never"))
        until(lambda: running.running(), "it runs")
        waiting = view.submit(dask_worker)
        time.sleep(0.5)
        by_hand.processes[-1].kill()
        assert isinstance(running.exception(PATIENCE), WorkerLost)
        rich = start(by_hand, "--resources", "GPU=1")
        assert waiting.result(PATIENCE) == rich

        monkeypatch.setattr(module, "PATIENCE", 1.0)
        running = view.submit(wait_for, str(tmp_path / "never"))
        until(lambda: running.running(), "it runs")
        waiting = view.submit(dask_worker)
        time.sleep(0.5)
        by_hand.processes[-1].kill()
        error = waiting.exception(PATIENCE)
        assert isinstance(error, WorkerLost)
        assert "it needs GPU=1, and the last Dask worker that had so much is gone" in str(error)
        assert ex.submit(pow, 2, 5).result(PATIENCE) == 32


def test_memory_is_counted_by_dask_where_workers_name_it(by_hand: ByHand, tmp_path: Path) -> None:
    start(by_hand, "--resources", "MEMORY=10e9", threads=4)
    with opened(by_hand) as ex:
        until(lambda: up(ex) == 4, "four are up")
        assert ex.engine.total_memory == 10 * GB
        view = ex.options(memory="5GB")
        counts = [view.submit(overlap, str(tmp_path)) for _ in range(5)]
        assert max(future.result(PATIENCE) for future in counts) == 2


def test_memory_is_counted_by_the_client_where_they_do_not(by_hand: ByHand, tmp_path: Path) -> None:
    """Dask knows the limit of a worker, and does not count what tasks ask for."""
    start(by_hand, "--memory-limit", "4GB", threads=4)
    with opened(by_hand) as ex:
        until(lambda: up(ex) == 4, "four are up")
        assert ex.engine.total_memory == 4 * GB
        view = ex.options(memory="2GB")
        counts = [view.submit(overlap, str(tmp_path)) for _ in range(5)]
        assert max(future.result(PATIENCE) for future in counts) == 2
        with pytest.raises(InvalidSpec, match=r"5\.0 GB of memory, but backend 'dask' has 4\.0 GB"):
            ex.options(memory="5GB")


def test_a_cluster_of_our_own_offers_what_the_settings_say(tmp_path: Path) -> None:
    with plx.Executor("dask", workers=2, resources={"GPU": 1}) as ex:
        view = ex.options(gpus=1)
        found = {future.result(PATIENCE) for future in [view.submit(dask_worker) for _ in range(8)]}
        assert 1 <= len(found) <= 2
        counts = [view.submit(overlap, str(tmp_path)) for _ in range(4)]
        assert max(future.result(PATIENCE) for future in counts) <= 2
        after = view.submit(pow, view.submit(pow, 2, 3), ex.submit(pow, 1, 2))
        assert after.result(PATIENCE) == 8, "a graph whose tasks ask for different things"
        with pytest.raises(InvalidSpec, match="GPU=2"):
            ex.options(gpus=2)
        with pytest.raises(InvalidSpec, match="nodes=2"):
            ex.options(nodes=2)
    with plx.Executor("dask", workers=1) as ex, pytest.raises(InvalidSpec, match="GPU=1"):
        ex.options(gpus=1)


def test_what_no_host_has_though_all_together_have() -> None:
    """Cores and memory that Dask does not count are those of one host, not of all."""
    supply = Supply({})
    supply.joined("tcp://10.0.0.1:5000", 4, 16 * GB, {})
    supply.joined("tcp://10.0.0.1:5001", 4, 16 * GB, {})
    supply.joined("tcp://10.0.0.2:5000", 4, 16 * GB, {})
    supply.refuse(DEFAULT.updated(cores=8, memory="32GB"))
    with pytest.raises(InvalidSpec, match="cores=9, but no host of the Dask cluster has more than 8"):
        supply.refuse(DEFAULT.updated(cores=9))
    with pytest.raises(InvalidSpec, match=r"33\.0 GB of memory, but no host .* has more than 32\.0 GB"):
        supply.refuse(DEFAULT.updated(memory="33GB"))
    assert supply.wishes(DEFAULT.updated(cores=8, memory="16GB")) == {}
    assert supply.places(2) == 6
    supply.left("tcp://10.0.0.1:5001")
    with pytest.raises(InvalidSpec, match="cores=8"):
        supply.refuse(DEFAULT.updated(cores=8))


def test_workers_of_our_own_that_are_still_to_come_count() -> None:
    supply = Supply({"CORES": 16, "MEMORY": 64e9})
    wishes = supply.wishes(DEFAULT.updated(cores=16, memory="64GB"))
    assert wishes == {"CORES": 16, "MEMORY": 64e9}
    assert supply.has(wishes)
    assert (supply.cores, supply.memory) == (16, 64 * GB), "of one at least"
    supply.refuse(DEFAULT.updated(cores=16, memory="64GB"))
    with pytest.raises(InvalidSpec, match=r"CORES=17.*CORES=16"):
        supply.refuse(DEFAULT.updated(cores=17))
    assert supply.wishes(DEFAULT.updated(retries=2, timeout=5)) == {}


def test_a_batch_job_offers_its_cores_and_memory(slurm_lab: SlurmLab, tmp_path: Path) -> None:
    """Also before it has begun; and what the settings add."""
    job = {"cluster": "slurm", "cores": 2, "memory": "500MB", "walltime": "10min"}
    with plx.Executor("dask", **job, shared_directory=tmp_path, resources={"GPU": 1}) as ex:
        view = ex.options(cores=2, memory="500MB", gpus=1)
        for more, asked in (
            ({"cores": 3}, "cores=3"),
            ({"memory": "600MB"}, r"0\.6 GB"),
            ({"gpus": 2}, "GPU=2"),
        ):
            with pytest.raises(InvalidSpec, match=asked):
                ex.options(**more)
        assert view.submit(pow, 2, 5).result(PATIENCE) == 32
        assert len(slurm_lab.jobs()) == 1
