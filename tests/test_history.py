"""A run as its journal tells it."""

import json
from pathlib import Path

import pytest

import parallactic as plx
from parallactic.history import read_run
from parallactic.tasks.result import render


def fail() -> None:
    raise ValueError("no")


@pytest.fixture(params=["serial", "multiprocessing"])
def run_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with plx.Executor(request.param, workers=2, run_dir=tmp_path / "run", name="night") as ex:
        ex.gather([ex.submit(pow, n, 2) for n in range(5)])
        ex.options(retries=2, name="scan 3").submit(fail).exception()
        assert not read_run(ex.run_dir).closed
    return tmp_path / "run"


def test_counts_names_and_attempts(run_dir: Path) -> None:
    history = read_run(run_dir)
    assert (history.name, history.closed, history.unfinished) == ("night", True, [])
    assert history.counts == {"finished": 5, "failed": 1}
    failing = [attempt for attempt in history.attempts if attempt.name == "scan 3"]
    assert [(a.attempt, a.state) for a in failing] == [(1, "retry"), (2, "retry"), (3, "failed")]
    assert failing[-1].error == "ValueError: no"
    assert all(a.started is not None and a.ended is not None and a.memory > 0 for a in history.attempts)


def test_timeline_has_every_attempt(run_dir: Path, tmp_path: Path) -> None:
    history = read_run(run_dir)
    history.write_chrome_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    assert [span["name"] for span in spans] == ["pow"] * 5 + ["scan 3"] * 3
    assert {span["args"]["attempt"] for span in spans if span["name"] == "scan 3"} == {1, 2, 3}
    for span, attempt in zip(spans, history.attempts, strict=True):
        assert span["ts"] == pytest.approx(attempt.started * 1e6)
        assert span["dur"] == pytest.approx(attempt.wall * 1e6)


def test_unfinished_and_torn(run_dir: Path, tmp_path: Path) -> None:
    lines = (run_dir / "journal.jsonl").read_text().splitlines(keepends=True)
    crashed = [line for line in lines if '"close"' not in line]
    last_end = max(i for i, line in enumerate(crashed) if '"event": "end"' in line)
    torn = tmp_path / "journal.jsonl"
    torn.write_text("".join(crashed[:last_end]) + crashed[last_end][:20])
    history = read_run(tmp_path)
    assert not history.closed
    assert history.unfinished == ["scan 3"]
    assert history.attempts[-1].state == "running"


def test_last_run_of_a_recipe(run_dir: Path, tmp_path: Path) -> None:
    for date, name in (("20260101-000000", "old"), ("20260102-000000", "new")):
        folder = tmp_path / "out" / "logs" / date / "executor"
        folder.mkdir(parents=True)
        text = (run_dir / "journal.jsonl").read_text().replace('"night"', f'"{name}"')
        (folder / "journal.jsonl").write_text(text)
    assert read_run(tmp_path / "out").name == "new"


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(plx.InvalidSpec, match="holds no journal"):
        read_run(tmp_path)


@pytest.mark.parametrize("content", [b"import os\n", b'{"event": "started"}\n', b"[1]\n", b"\xff\xfe\n"])
def test_what_is_no_journal_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.jsonl").write_bytes(content)
    with pytest.raises(plx.InvalidSpec, match="is no journal of an executor"):
        read_run(tmp_path / "other.jsonl")


def test_trace_does_not_overwrite(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "trace.json").write_text("mine")
    with pytest.raises(plx.InvalidSpec, match="exists"):
        read_run(run_dir).write_chrome_trace(tmp_path / "trace.json")
    assert (tmp_path / "trace.json").read_text() == "mine"


def test_names_are_printed_as_they_are(tmp_path: Path) -> None:
    with plx.Executor("serial", run_dir=tmp_path / "run", name="night [/]") as ex:
        ex.options(name="scan [bold]3").submit(abs, -1).result()
    text = render(read_run(tmp_path / "run"))
    assert "night [/]" in text
    assert "scan [bold]3" in text
