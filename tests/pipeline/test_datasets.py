"""The EVLA set: fetched by pip, checked, kept in the cache, and a clear sentence when it cannot be had."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from parallactic.errors import ParallacticError
from parallactic.pipeline import datasets
from parallactic.pipeline.datasets import EVLA_NAME, cache_folder, fetch_evla


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip find nothing, as on a machine without a network."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")


def test_the_set_is_the_evla_set_and_is_fetched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from casacore.tables import table

    path = fetch_evla()
    assert path.name == EVLA_NAME
    with table(str(path), ack=False) as main:
        assert main.nrows() == 1360
        assert main.getcell("DATA", 0).shape == (64, 4)

    def never(folder: Path) -> Path:
        raise AssertionError("downloaded although it is in the cache")

    monkeypatch.setattr(datasets, "_download", never)
    assert fetch_evla() == path


def test_without_a_network_one_sentence_says_what_to_do(tmp_path: Path, no_network: None) -> None:
    with pytest.raises(
        ParallacticError, match=r"could not download pyuvdata 2\.4\.2.*Connect to the network"
    ):
        fetch_evla(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_set_that_was_changed_is_not_trusted(tmp_path: Path, no_network: None) -> None:
    copy = tmp_path / EVLA_NAME
    shutil.copytree(fetch_evla(), copy)
    assert fetch_evla(tmp_path) == copy
    with (copy / "table.f2_TSM1").open("r+b") as data:
        data.write(b"\x01")
    with pytest.raises(ParallacticError, match="could not download"):
        fetch_evla(tmp_path)


def test_an_archive_with_another_checksum_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pretend(command: list[str], **_: object) -> object:
        target = Path(command[command.index("--dest") + 1])
        (target / "pyuvdata-2.4.2.tar.gz").write_bytes(b"not the archive")
        return type("Done", (), {"returncode": 0, "stderr": ""})()

    monkeypatch.setattr(datasets.subprocess, "run", pretend)
    with pytest.raises(ParallacticError, match=r"SHA-256.*was not unpacked"):
        fetch_evla(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLACTIC_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder(tmp_path / "given") == tmp_path / "given"
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("PARALLACTIC_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "parallactic"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "parallactic"
