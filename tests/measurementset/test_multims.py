"""Joining sets into a multi-MS, and building products aside."""

from __future__ import annotations

import pytest

from known_sets import Plan, make
from parallactic.errors import InvalidSpec, ParallacticError
from parallactic.measurementset import MeasurementSet, build_multi_ms, check_output, staged


@pytest.fixture
def two(tmp_path):
    return [make(tmp_path / f"{name}.ms", Plan(nscan=2)).path for name in ("a", "b")]


def test_sets_move_into_the_multi_ms(two, tmp_path):
    build_multi_ms(tmp_path / "o.mms", two, "time")
    product = MeasurementSet(tmp_path / "o.mms")
    assert product.is_multi
    assert [path.rsplit("/", 1)[1] for path in product.subsets] == ["o.mms.0000.ms", "o.mms.0001.ms"]
    assert len(product) == 600
    assert [p.name for p in tmp_path.iterdir()] == ["o.mms"]
    assert "AxisType = time" in (tmp_path / "o.mms" / "table.info").read_text()
    second = tmp_path / "o.mms" / "SUBMSS" / "o.mms.0001.ms"
    assert (second / "ANTENNA").is_symlink()
    assert not (second / "HISTORY").is_symlink()
    assert (tmp_path / "o.mms" / "ANTENNA" / "table.dat").is_file()


def test_it_can_be_moved(two, tmp_path):
    build_multi_ms(tmp_path / "o.mms", two, "time")
    (tmp_path / "there").mkdir()
    (tmp_path / "o.mms").rename(tmp_path / "there" / "other.mms")
    moved = MeasurementSet(tmp_path / "there" / "other.mms")
    assert len(moved) == 600
    assert all(path.startswith(str(tmp_path / "there")) for path in moved.subsets)


def test_what_cannot_join_stays_where_it_was(two, tmp_path):
    with pytest.raises(InvalidSpec, match="is not a MeasurementSet and cannot join"):
        build_multi_ms(tmp_path / "o.mms", [*two, tmp_path / "none.ms"], "scan")
    with pytest.raises(InvalidSpec, match="at least one sub-MS"):
        build_multi_ms(tmp_path / "o.mms", [], "scan")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ms", "b.ms"]
    assert len(MeasurementSet(two[0])) == 300


def test_a_failure_on_the_way_gives_the_sets_back(two, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("parallactic.measurementset.multims.assemble", fail)
    with pytest.raises(KeyboardInterrupt):
        build_multi_ms(tmp_path / "o.mms", two, "scan")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ms", "b.ms"]
    assert len(MeasurementSet(two[1])) == 300


def test_a_multi_ms_without_its_part_says_so(two, tmp_path):
    import shutil

    build_multi_ms(tmp_path / "o.mms", two, "time")
    shutil.rmtree(tmp_path / "o.mms" / "SUBMSS" / "o.mms.0001.ms")
    with pytest.raises(ParallacticError, match=r"o\.mms\.0001\.ms"):
        MeasurementSet(tmp_path / "o.mms")


def test_staged_appears_when_it_is_whole(tmp_path):
    with staged(tmp_path / "product") as partial:
        partial.mkdir()
        (partial / "file").write_text("whole")
        assert not (tmp_path / "product").exists()
        assert partial.parent == tmp_path
    assert (tmp_path / "product" / "file").read_text() == "whole"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_staged_leaves_nothing_on_a_failure(tmp_path, error):
    with pytest.raises(error), staged(tmp_path / "product") as partial:
        partial.mkdir()
        (partial / "file").write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_staged_never_replaces_what_appeared_meanwhile(tmp_path):
    made = pytest.raises(ParallacticError, match="made by someone else meanwhile")
    with made, staged(tmp_path / "product") as partial:
        partial.write_text("ours")
        (tmp_path / "product").write_text("theirs")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["theirs"]


def test_outputs_that_cannot_be(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(InvalidSpec, match="exists already"):
        check_output(tmp_path / "link")
    with pytest.raises(InvalidSpec, match="is empty"):
        check_output("")
    assert check_output(tmp_path / "new") == tmp_path / "new"
