"""`resize`: workers that come and go while the executor runs, where the engine can do that."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallactic.errors import InvalidSpec, StateLost
from parallactic.executor import Executor
from parallactic.testing import tasks
from parallactic.testing.base import Contract, Start, needs_two_workers
from parallactic.testing.waiting import all_up, go, pid_in, until

__all__ = ["ResizeContract"]


class ResizeContract(Contract):
    """The number of workers changes; what runs is never lost, and who had a target is told."""

    def is_elastic(self, ex: Executor) -> bool:
        """Tell whether the engine can do it; see it refuse in words where it cannot."""
        if ex.capabilities.elastic:
            return True
        count = ex.max_workers
        with pytest.raises(InvalidSpec, match=f"backend '{ex.backend}' cannot change its number of workers"):
            ex.resize(count + 1)
        assert ex.max_workers == count
        assert ex.submit(tasks.identity, 7).result(self.patience) == 7
        return False

    def test_resize_adds_workers_with_the_setups_of_the_run(self, start: Start) -> None:
        """The number is true at once; each setup runs once on each worker, whenever it was asked for."""
        ex = start()
        if not self.is_elastic(ex):
            return
        ex.setup(tasks.note_in_namespace, "before").result(self.patience)
        more = self.workers + 2
        ex.resize(more)
        assert ex.max_workers == more
        assert len(ex.status().workers) == more
        after = ex.setup(tasks.note_in_namespace, "after")
        addressed = ex.target(more - 1).submit(tasks.where)
        assert addressed.result(self.patience)[0] == more - 1
        after.result(self.patience)
        all_up(ex, self.patience)
        noted = ex.target("all").submit(tasks.notes_of_namespace).result(self.patience)
        assert noted == [["before", "after"]] * more
        assert len({pid for _, _, pid in ex.target("all").submit(tasks.where).result(self.patience)}) == more

    @needs_two_workers
    def test_resize_never_loses_what_runs_and_tells_the_rest(self, start: Start, tmp_path: Path) -> None:
        """A worker that leaves ends its task; what waits behind it, or comes too late, is StateLost."""
        ex = start()
        if not self.is_elastic(ex):
            return
        last = self.workers - 1
        leaves = ex.target(last)
        started, release = tmp_path / "started", tmp_path / "release"
        running = go(leaves, tasks.write_and_wait, str(started), str(release), "ended")
        behind = [go(leaves, tasks.append, str(tmp_path / "ran"), "behind") for _ in range(12)]
        pid_in(started, self.patience)
        ex.resize(last)
        assert ex.max_workers == last
        with pytest.raises(InvalidSpec, match=f"there is no worker {last}"):
            ex.target(last)
        late = leaves.submit(tasks.identity, 1)
        assert isinstance(late.exception(self.patience), StateLost)
        assert ex.status().workers[last].state == "leaving"
        others = [ex.submit(tasks.where) for _ in range(20)]
        assert all(number < last for number, _, _ in ex.gather(others, timeout=self.patience))
        release.touch()
        assert running.result(self.patience) == "ended"
        for future in behind:
            error = future.exception(self.patience)
            assert isinstance(error, StateLost)
            assert f"worker {last}" in str(error)
            assert "left" in str(error)
        until(lambda: len(ex.status().workers) == last, self.patience, "the last worker has left")
        assert not (tmp_path / "ran").exists()

    @needs_two_workers
    def test_resize_moves_untargeted_tasks_to_those_that_stay(self, start: Start, tmp_path: Path) -> None:
        """Each runs once, though most of the workers leave in their midst."""
        ex = start(workers=self.workers + 1)
        if not self.is_elastic(ex):
            return
        log = tmp_path / "log"
        futures = [ex.submit(tasks.sleep_and_append, str(log), str(n), 0.01) for n in range(60)]
        ex.resize(1)
        ex.gather(futures, timeout=self.patience)
        assert sorted(log.read_text().split(), key=int) == [str(n) for n in range(60)]
        until(lambda: len(ex.status().workers) == 1, self.patience, "the others have left")

    @needs_two_workers
    def test_resize_to_and_fro_gives_new_workers(self, start: Start, tmp_path: Path) -> None:
        """Who comes back has a new epoch and an empty namespace, also while the one before still works."""
        ex = start()
        if not self.is_elastic(ex):
            return
        last = self.workers - 1
        before = ex.target(last)
        before.push(x=1).result(self.patience)
        ex.resize(last)
        until(lambda: len(ex.status().workers) == last, self.patience, "the last worker has left")
        ex.resize(self.workers)
        assert ex.target(last).submit(tasks.where).result(self.patience)[:2] == (last, 1)
        assert isinstance(ex.target(last).pull("x").exception(self.patience), NameError)
        assert isinstance(before.pull("x").exception(self.patience), StateLost)
        started, release = tmp_path / "started", tmp_path / "release"
        running = go(ex.target(last), tasks.write_and_wait, str(started), str(release), "ended")
        pid_in(started, self.patience)
        ex.resize(last)
        ex.resize(self.workers)
        next_one = ex.target(last).submit(tasks.where)
        release.touch()
        assert running.result(self.patience) == "ended"
        assert next_one.result(self.patience)[:2] == (last, 2)

    def test_resize_refuses_what_cannot_be(self, ex: Executor) -> None:
        """Numbers that are none."""
        for wrong in (0, -1, 1.5, "many", True):
            with pytest.raises(InvalidSpec, match="resize"):
                ex.resize(wrong)  # type: ignore[arg-type]

    def test_resize_after_shutdown_is_refused(self, start: Start) -> None:
        """As `submit` is."""
        ex = start()
        ex.shutdown()
        with pytest.raises(RuntimeError, match="after shutdown"):
            ex.resize(self.workers + 1)
