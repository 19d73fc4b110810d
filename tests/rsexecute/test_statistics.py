"""How long functions took: the table, the dict that RASCIL's callers store, and the page."""

import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import graph_functions as g
import pytest
from rs_sessions import NONE, opened

from parallactic import InvalidSpec
from parallactic.rsexecute import RSExecute, Statistics
from parallactic.rsexecute.statistics import Made


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def spin(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_the_numbers_follow_from_the_calls():
    calls = [
        Made("predict", 0, 100.0, 3.0, 2.5),
        Made("predict", 1, 100.0, 3.0, 1.5),
        Made("invert", 0, 103.0, 2.0, 2.0, "failed"),
    ]
    statistics = Statistics(calls, 100.0, 105.0, "mpi")
    assert statistics == {
        "predict": {"time": 6.0, "fraction": 75.0, "number_calls": 2, "cpu": 4.0},
        "invert": {"time": 2.0, "fraction": 25.0, "number_calls": 1, "cpu": 2.0},
        "summary": {"total": 8.0, "duration": 5.0, "speedup": 1.6},
    }
    text = str(statistics)
    assert "functions on mpi" in text
    assert "processor time 8.000 s, wall time 5.000 s, speed-up 1.60" in " ".join(text.split())
    assert text.index("predict") < text.index("invert")


def test_every_function_is_counted(anywhere: RSExecute, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "parallactic.rsexecute")
    before = anywhere.execute(nap)(0.05)
    anywhere.compute(before, sync=True)
    anywhere.init_statistics()
    begin = time.time()
    graph = [[anywhere.execute(nap)(0.05) for _ in range(3)], anywhere.execute(spin, name="turn")(0.1)]
    anywhere.compute(graph, sync=True)
    elapsed = time.time() - begin
    statistics = anywhere.save_statistics(str(tmp_path / "run"))
    assert set(statistics) == {"nap", "turn", "summary"}
    assert statistics["nap"]["number_calls"] == 3
    assert statistics["turn"]["number_calls"] == 1
    # Sleeping is no less than asked for; the rest is bounded by what passed, on two workers at most.
    assert 0.15 <= statistics["nap"]["time"] <= 2 * elapsed
    assert 0.1 <= statistics["turn"]["cpu"] <= statistics["turn"]["time"] + 0.01
    assert sum(of["fraction"] for name, of in statistics.items() if name != "summary") == pytest.approx(100)
    s = statistics["summary"]
    assert s["total"] == pytest.approx(statistics["nap"]["time"] + statistics["turn"]["time"])
    assert s["speedup"] == pytest.approx(s["total"] / s["duration"])
    # `since` is set a little before, `until` a little after what is measured here; clocks are the same.
    assert s["duration"] == pytest.approx(elapsed, abs=0.5)
    assert "turn" in caplog.text


def test_failed_calls_are_counted_and_marked(rs: RSExecute, tmp_path: Path):
    rs.init_statistics()
    with pytest.raises(LookupError):
        rs.compute(rs.execute(g.fail)(1), sync=True)
    statistics = rs.save_statistics(str(tmp_path / "run"))
    assert statistics["fail"]["number_calls"] == 1
    assert ", failed" in (tmp_path / "run_task_stream.html").read_text()


def test_calls_inside_calls_are_counted_once():
    with opened(NONE) as session:
        inner = session.execute(nap)
        outer = session.execute(lambda: inner(0.02), name="outer")
        session.init_statistics()
        outer()
        inner(0.01)
        session.execute(g.inc)(1)
        names = {call.name for call in session._recorder.statistics(0.0).calls}
        assert names == {"outer", "nap", "inc"}
        assert session._recorder.statistics(0.0)["nap"]["number_calls"] == 1


def test_the_page_is_whole(tmp_path: Path):
    calls = [
        Made(f"f<{n % 3}>&", n % 2, 100.0 + n, 0.5, 0.4, "failed" if n == 4 else "finished") for n in range(6)
    ]
    path = Statistics(calls, 100.0, 106.0, "serial").write(tmp_path / "run")
    assert path == tmp_path / "run_task_stream.html"
    page = ElementTree.fromstring(
        path.read_text().replace("<!DOCTYPE html>", "").replace('<meta charset="utf-8">', "")
    )
    bars = [element for element in page.iter() if element.tag == "rect"]
    assert len(bars) == 6
    assert len({bar.get("y") for bar in bars}) == 2
    assert len({bar.get("fill") for bar in bars}) == 3
    # The drawing is 920 units for 6 s, from 80 on.
    assert float(bars[0].get("width", 0)) == pytest.approx(0.5 * 920 / 6, abs=0.01)
    lefts = sorted(float(bar.get("x", 0)) for bar in bars)
    assert lefts == pytest.approx([80 + n * 920 / 6 for n in range(6)], abs=0.01)
    assert [title.text for title in page.iter("title") if ", failed" in str(title.text)] == [
        "f<1>&: 0.500 s at 4.000 s, failed"
    ]
    assert list(tmp_path.iterdir()) == [path]


def test_a_page_of_many_calls_says_what_it_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("parallactic.rsexecute.timeline._DRAWN", 2)
    calls = [Made("f", 0, 100.0 + n, 0.1 * (n + 1), 0.1) for n in range(3)]
    text = Statistics(calls, 100.0, 104.0, "serial").write(tmp_path / "run").read_text()
    assert "The 2 longest of 3 calls are drawn." in text
    assert text.count("<rect") == 2


def test_a_page_that_cannot_be_written(tmp_path: Path):
    with pytest.raises(InvalidSpec, match="cannot be written"):
        Statistics([], 0.0, 1.0, "serial").write(tmp_path / "gone" / "run")


def test_dasks_own_report(tmp_path: Path):
    distributed = pytest.importorskip("distributed", reason="the [dask] extra")
    pytest.importorskip("bokeh", reason="what Dask draws with")
    from parallactic.rsexecute.dask_report import DaskReport

    assert DaskReport.can_be_drawn()
    with distributed.Client(n_workers=1, processes=False, dashboard_address=None) as client:
        report = DaskReport(client)
        client.submit(nap, 0.01).result(60)
        path = report.write(tmp_path / "run")
        assert path == tmp_path / "run_profile.html"
        assert "number of tasks: 1" in path.read_text()
        client.submit(nap, 0.02).result(60)
        assert "number of tasks: 2" in report.write(tmp_path / "run").read_text()
