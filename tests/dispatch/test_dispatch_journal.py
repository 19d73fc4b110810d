"""The journal: one whole line for each thing that happened."""

import json
import math
import stat
import time
from pathlib import Path

from parallactic.dispatch.journal import Journal, read_journal
from parallactic.wire.envelopes import Stats


def test_lines_are_json_and_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.note("run", backend="serial", name='quoted "name"')
    journal.submitted(1, 'flag "scan" 3\n', None)
    journal.submitted(2, "pinned", 0)
    journal.launched(1, 1, 1)
    journal.ended(1, 1, "failed", 1, Stats(1.5, 0.25, 0.125, 1000), 'ValueError: "no"\nreally')
    journal.ended(2, 0, "cancelled", None, None, "")
    journal.close()
    entries = list(read_journal(tmp_path / "journal.jsonl"))
    assert [entry["event"] for entry in entries] == ["run", "submit", "submit", "launch", "end", "end"]
    assert entries[0]["name"] == 'quoted "name"'
    assert entries[1]["name"] == 'flag "scan" 3\n'
    assert "worker" not in entries[1]
    assert entries[2]["worker"] == 0
    assert entries[4]["error"] == 'ValueError: "no"\nreally'
    assert (entries[4]["started"], entries[4]["wall"], entries[4]["cpu"], entries[4]["memory"]) == (
        1.5,
        0.25,
        0.125,
        1000,
    )
    assert entries[5]["worker"] is None
    assert all(abs(entry["time"] - time.time()) < 60 for entry in entries)


def test_what_is_gathered_is_due_soon_and_only_then(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    assert journal.due == math.inf
    journal.launched(1, 1, 0)
    assert journal.due <= time.monotonic() + Journal.DELAY_SECONDS
    assert not list(read_journal(journal.path))
    journal.flush()
    assert journal.due == math.inf
    assert len(list(read_journal(journal.path))) == 1
    journal.close()
    journal.close()


def test_torn_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(json.dumps({"event": "run"}) + "\n" + '{"event": "sub')
    assert [entry["event"] for entry in read_journal(path)] == ["run"]


def test_second_run_appends_and_nobody_else_reads(tmp_path: Path) -> None:
    for _ in range(2):
        journal = Journal(tmp_path / "journal.jsonl")
        journal.note("run")
        journal.close()
    assert len(list(read_journal(tmp_path / "journal.jsonl"))) == 2
    assert stat.S_IMODE((tmp_path / "journal.jsonl").stat().st_mode) == 0o600
