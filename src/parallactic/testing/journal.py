"""Semantic 12, journal: an append-only, crash-safe record of every task."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import Future as AnyFuture
from pathlib import Path
from typing import Any

import pytest

from parallactic.dispatch.journal import read_journal
from parallactic.executor import Executor
from parallactic.testing import tasks
from parallactic.testing.base import Contract, Start, needs_two_workers
from parallactic.testing.engine import Engine
from parallactic.testing.mishaps import divide
from parallactic.testing.scripts import running
from parallactic.testing.waiting import go, pid_in, until

__all__ = ["JournalContract"]

Entry = dict[str, Any]


def _entries(ex: Executor) -> list[Entry]:
    return list(read_journal(ex.run_dir / "journal.jsonl"))


def _of(entries: list[Entry], task: int) -> list[Entry]:
    return [entry for entry in entries if entry.get("task") == task]


class JournalContract(Contract):
    """Semantic 12: what a run writes down."""

    @needs_two_workers
    def test_journal_has_submit_launch_and_end_of_every_task(self, start: Start, tmp_path: Path) -> None:
        """Each with its time, in order, with the worker, and what the attempt cost."""
        ex = start(run_dir=tmp_path / "run", name="night 1")
        futures = [ex.options(name=f"scan {n}").submit(time.sleep, 0.001) for n in range(50)]
        futures += [ex.target(1).submit(tasks.identity, n) for n in range(10)]
        ex.gather(futures, timeout=self.patience)
        pid = os.getpid()
        ex.shutdown()
        entries = list(read_journal(tmp_path / "run" / "journal.jsonl"))
        assert entries[0]["event"] == "run"
        assert (entries[0]["backend"], entries[0]["name"]) == (ex.backend, "night 1")
        assert (entries[0]["workers"], entries[0]["pid"]) == (self.workers, pid)
        assert entries[0]["host"]
        assert entries[0]["version"]
        assert entries[-1]["event"] == "close"
        ups = [(entry["worker"], entry["epoch"]) for entry in entries if entry["event"] == "up"]
        assert sorted(ups) == [(number, 0) for number in range(self.workers)]
        for number, future in enumerate(futures):
            submit, launch, end = _of(entries, future.task)
            assert [submit["event"], launch["event"], end["event"]] == ["submit", "launch", "end"]
            assert submit["name"] == (f"scan {number}" if number < 50 else "identity")
            assert launch["attempt"] == end["attempt"] == 1
            assert end["state"] == "finished"
            assert end["worker"] == launch["worker"]
            assert submit["time"] <= launch["time"] <= end["time"]
            assert end["wall"] >= (0.001 if number < 50 else 0)
            assert end["cpu"] >= 0
            assert end["memory"] > 1e6
            if number >= 50:
                assert submit["worker"] == launch["worker"] == 1

    def test_journal_tells_how_tasks_ended(self, start: Start, tmp_path: Path) -> None:
        """Failures with their error, cancellations, retries and attempts."""
        ex = start(run_dir=tmp_path / "run")
        failed = ex.submit(divide, 1)
        retried = ex.options(retries=2).submit(tasks.fail_until, str(tmp_path / "log"), 1)
        never: AnyFuture[None] = AnyFuture()
        cancelled = ex.submit(tasks.identity, never)
        assert cancelled.cancel()
        dependent = ex.submit(tasks.identity, failed)
        stopped = go(ex.target(0), tasks.spin, str(tmp_path / "started"))
        assert retried.result(self.patience) == 2
        pid_in(tmp_path / "started", self.patience)
        assert stopped.cancel(force=True)
        assert dependent.exception(self.patience) is not None
        ex.shutdown()
        entries = list(read_journal(tmp_path / "run" / "journal.jsonl"))

        def ends(future: Any) -> list[tuple[int, str]]:
            return [(e["attempt"], e["state"]) for e in _of(entries, future.task) if e["event"] == "end"]

        assert ends(failed) == [(1, "failed")]
        assert ends(retried) == [(1, "retry"), (2, "finished")]
        assert ends(cancelled) == [(0, "cancelled")]
        assert ends(dependent) == [(0, "failed")]
        assert ends(stopped) == [(1, "cancelled")]
        (error,) = [e["error"] for e in _of(entries, failed.task) if "error" in e]
        assert "ZeroDivisionError" in error
        (error,) = [e["error"] for e in _of(entries, dependent.task) if "error" in e]
        assert "DependencyFailed" in error
        assert not [e for e in _of(entries, cancelled.task) if e["event"] == "launch"]

    @needs_two_workers
    def test_journal_tells_of_workers_that_were_replaced(self, start: Start, tmp_path: Path) -> None:
        """Down with its cause, up with the next epoch."""
        ex = start(run_dir=tmp_path / "run")
        self.replace(ex, 1, tmp_path)
        ex.shutdown()
        entries = list(read_journal(tmp_path / "run" / "journal.jsonl"))
        changes = [
            (e["event"], e["epoch"]) for e in entries if e["event"] in ("up", "down") and e["worker"] == 1
        ]
        assert changes == [("up", 0), ("down", 0), ("up", 1)]
        (down,) = [e for e in entries if e["event"] == "down"]
        assert down["cause"] == "signal"

    def test_journal_can_be_read_while_it_is_written(self, start: Start, tmp_path: Path) -> None:
        """A running task is there, launched and not ended; every line is whole."""
        ex = start(run_dir=tmp_path / "run")
        release = tmp_path / "release"
        done = ex.submit(tasks.identity, 1)
        done.result(self.patience)
        busy = go(ex, tasks.write_and_wait, str(tmp_path / "started"), str(release))
        pid_in(tmp_path / "started", self.patience)
        until(
            lambda: [e["event"] for e in _of(_entries(ex), busy.task)] == ["submit", "launch"],
            self.patience,
            "the journal shows the running task",
        )
        until(
            lambda: [e["event"] for e in _of(_entries(ex), done.task)] == ["submit", "launch", "end"],
            self.patience,
            "the journal shows the task that has ended",
        )
        raw = (tmp_path / "run" / "journal.jsonl").read_text()
        assert raw.endswith("\n")
        release.touch()
        busy.result(self.patience)

    def test_journal_of_a_client_that_was_killed_can_be_read(self, engine: Engine, tmp_path: Path) -> None:
        """Everything that ended before the crash is there."""
        code = (
            "import time\n"
            "ex = open_executor(run_dir=sys.argv[1])\n"
            "ex.gather([ex.submit(tasks.identity, n) for n in range(200)])\n"
            "while ex.status().tasks: pass\n"
            "tasks.announce(sys.argv[2])\n"
            "time.sleep(60)\n"
        )
        with running(engine, code, str(tmp_path / "run"), str(tmp_path / "started")) as client:
            pid_in(tmp_path / "started", self.patience)
            path = tmp_path / "run" / "journal.jsonl"
            until(lambda: _finished(path) == 200, self.patience, "200 ends are on record")
            client.kill()
            assert _finished(path) == 200

    def test_journal_with_a_torn_last_line_is_read(self, start: Start, tmp_path: Path) -> None:
        """A line that a crash cut short is left out, at any length."""
        ex = start(run_dir=tmp_path / "run")
        ex.submit(tasks.identity, 1).result(self.patience)
        ex.shutdown()
        whole = (tmp_path / "run" / "journal.jsonl").read_bytes()
        every = [json.loads(line) for line in whole.splitlines()]
        torn = tmp_path / "torn.jsonl"
        last = len(whole.splitlines()[-1])
        for cut in (1, 2, last // 2, last, last + 1):
            torn.write_bytes(whole[:-cut])
            expected = every[:-1]
            assert list(read_journal(torn)) == expected

    def test_journal_keeps_odd_names_whole(self, start: Start, tmp_path: Path) -> None:
        """Names with quotes, newlines and other scripts are data, not structure."""
        ex = start(run_dir=tmp_path / "run")
        names = ['a "quoted" name', "two\nlines", "σκοπός", "back\\slash", "{}"]
        futures = [ex.options(name=name).submit(tasks.identity, 1) for name in names]
        ex.gather(futures, timeout=self.patience)
        ex.shutdown()
        entries = list(read_journal(tmp_path / "run" / "journal.jsonl"))
        assert [_of(entries, future.task)[0]["name"] for future in futures] == names

    def test_journal_is_appended_to_never_rewritten(self, start: Start, tmp_path: Path) -> None:
        """A second run in the same folder leaves the record of the first as it was."""
        for _ in range(2):
            before = b""
            path = tmp_path / "run" / "journal.jsonl"
            if path.exists():
                before = path.read_bytes()
            ex = start(run_dir=tmp_path / "run")
            ex.submit(tasks.identity, 1).result(self.patience)
            ex.shutdown()
            assert path.read_bytes().startswith(before)
        assert [e["event"] for e in read_journal(path)].count("run") == 2

    @pytest.mark.parametrize("where", ["/proc/nowhere", "file"])
    def test_journal_that_cannot_be_written_is_told(self, engine: Engine, tmp_path: Path, where: str) -> None:
        """A run folder that cannot be is InvalidSpec before anything starts."""
        from parallactic.errors import InvalidSpec

        (tmp_path / "file").touch()
        with pytest.raises(InvalidSpec, match="run_dir"):
            engine.open(run_dir=tmp_path / where)


def _finished(path: Path) -> int:
    return sum(entry["event"] == "end" and entry["state"] == "finished" for entry in read_journal(path))
