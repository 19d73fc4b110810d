"""`status`: a snapshot that anybody may take at any time."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future as AnyFuture
from pathlib import Path

from parallactic.executor import Executor
from parallactic.testing import tasks
from parallactic.testing.base import Contract, Start, needs_two_workers
from parallactic.testing.mishaps import divide
from parallactic.testing.waiting import go, pid_in, until

__all__ = ["StatusContract"]


class StatusContract(Contract):
    """What a person sees of a run."""

    @needs_two_workers
    def test_status_shows_workers_and_tasks(self, start: Start, tmp_path: Path) -> None:
        """Which worker runs what, what waits where, and for what."""
        ex = start(name="night 1")
        started, release = tmp_path / "started", tmp_path / "release"
        busy = go(ex.options(name="flag scan 3").target(0), tasks.write_and_wait, str(started), str(release))
        pid = pid_in(started, self.patience)
        queued = go(ex.options(name="flag scan 4").target(0), tasks.identity, 1)
        never: AnyFuture[int] = AnyFuture()
        held = ex.options(name="sum").submit(tasks.identity, never)
        until(lambda: ex.status().workers[0].queued == 1, self.patience, "the second task is queued")
        until(lambda: len(ex.status().tasks) == 3, self.patience, "the third is known")
        status = ex.status()
        assert (status.backend, status.name, status.run_dir) == (ex.backend, "night 1", str(ex.run_dir))
        worker = status.workers[0]
        assert (worker.id, worker.epoch, worker.state, worker.pid) == (0, 0, "busy", pid)
        assert (worker.task, worker.queued) == ("flag scan 3", 1)
        assert status.workers[1].state == "idle"
        by_name = {task.name: task for task in status.tasks}
        assert set(by_name) == {"flag scan 3", "flag scan 4", "sum"}
        assert by_name["flag scan 3"].state == "running"
        assert by_name["flag scan 3"].worker == 0
        assert by_name["flag scan 3"].seconds > 0
        assert by_name["sum"].state == "held"
        assert [by_name[name].id for name in ("flag scan 3", "flag scan 4", "sum")] == [
            busy.task,
            queued.task,
            held.task,
        ]
        assert held.cancel()
        release.touch()
        busy.result(self.patience)
        queued.result(self.patience)

    def test_status_counts_how_tasks_ended(self, start: Start, tmp_path: Path) -> None:
        """Finished, failed, cancelled, retried."""
        ex = start()
        futures = [ex.submit(tasks.identity, n) for n in range(7)] + [ex.submit(divide, 1) for _ in range(2)]
        futures.append(ex.options(retries=1).submit(tasks.fail_until, str(tmp_path / "log"), 1))
        never: AnyFuture[int] = AnyFuture()
        cancelled = ex.submit(tasks.identity, never)
        assert cancelled.cancel()
        ex.gather([*futures, cancelled], errors="return", timeout=self.patience)
        expected = {"finished": 8, "failed": 2, "cancelled": 1, "retried": 1}
        until(
            lambda: {k: v for k, v in ex.status().counts.items() if v} == expected,
            self.patience,
            f"the counts are {expected}, not {dict(ex.status().counts)}",
        )
        assert sum(worker.done for worker in ex.status().workers) == 11

    def test_status_can_be_taken_while_everybody_is_busy(self, start: Start) -> None:
        """From another thread, in the midst of thousands of submits."""
        ex = start()
        stop = threading.Event()
        taken: list[int] = []
        failures: list[Exception] = []

        def watch() -> None:
            try:
                while not stop.is_set():
                    taken.append(len(ex.status().workers))
            except Exception as error:  # noqa: BLE001  (whatever it is, the test must say so)
                failures.append(error)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            futures = [ex.submit(tasks.identity, n) for n in range(2000)]
            results = [future.result(self.patience) for future in futures]
        finally:
            stop.set()
            thread.join()
        assert results == list(range(2000))
        assert not failures
        assert set(taken) == {self.workers}
        assert len(taken) > 3

    def test_status_prints_as_a_table_and_is_plain_data(self, ex: Executor) -> None:
        """For people, for notebooks and for programs."""
        status = ex.status()
        text = str(status)
        assert ex.backend in text
        assert "idle" in text
        assert "<" in status._repr_html_()
        plain = json.loads(json.dumps(status.to_dict()))
        assert [worker["id"] for worker in plain["workers"]] == list(range(self.workers))

    def test_status_prints_names_as_they_are(self, start: Start, tmp_path: Path) -> None:
        """Brackets in a name are a person's own, not markup."""
        ex = start(name="night [/] 1")
        started, release = tmp_path / "started", tmp_path / "release"
        busy = go(
            ex.options(name="scan [bold]3[/]").target(0), tasks.write_and_wait, str(started), str(release)
        )
        pid_in(started, self.patience)
        text = str(ex.status())
        release.touch()
        busy.result(self.patience)
        assert "night [/] 1" in text
        assert "scan [bold]3[/]" in text

    def test_status_is_there_after_the_end(self, start: Start) -> None:
        """The counts of a run can be read after its shutdown."""
        ex = start()
        ex.submit(tasks.identity, 1).result(self.patience)
        ex.shutdown()
        assert ex.status().counts["finished"] == 1
        assert not ex.status().tasks
