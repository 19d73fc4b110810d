"""Which backend and which settings: argument, environment, file, default."""

from pathlib import Path

import pytest

import parallactic as plx
from parallactic.config import read_configuration


@pytest.fixture(autouse=True)
def empty_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder and a home without any configuration."""
    for name in ("BACKEND", "WORKERS", "CONFIG"):
        monkeypatch.delenv(f"PARALLACTIC_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def chosen(**arguments: object) -> tuple[str, int]:
    with plx.Executor(**arguments) as ex:
        return ex.backend, ex.max_workers


FILE = 'workers = 3\n[backend]\ndefault = "serial"\n[backend.serial]\nworkers = 4\n'


def test_first_found_wins(empty_house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(empty_house / "home" / "parallactic" / "config.toml", 'backend = "serial"\nworkers = 2\n')
    assert chosen() == ("serial", 2)
    write(empty_house / "parallactic.toml", FILE)
    assert chosen() == ("serial", 4)
    other = write(empty_house / "other.toml", 'backend = "serial"\nworkers = 5\n')
    monkeypatch.setenv("PARALLACTIC_CONFIG", str(other))
    assert chosen() == ("serial", 5)
    monkeypatch.setenv("PARALLACTIC_WORKERS", "6")
    assert chosen() == ("serial", 6)
    monkeypatch.setenv("PARALLACTIC_SERIAL__WORKERS", "7")
    assert chosen() == ("serial", 7)
    assert chosen(workers=8) == ("serial", 8)
    assert chosen(max_workers=8) == ("serial", 8)
    monkeypatch.setenv("PARALLACTIC_BACKEND", "multiprocessing")
    assert chosen(workers=1) == ("multiprocessing", 1)
    assert chosen(backend="serial") == ("serial", 7)


def test_environment_outranks_the_table_of_a_file(empty_house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(empty_house / "parallactic.toml", FILE)
    monkeypatch.setenv("PARALLACTIC_WORKERS", "2")
    assert chosen() == ("serial", 2)


def test_default_is_multiprocessing() -> None:
    assert chosen(workers=1) == ("multiprocessing", 1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"backend": "serail"}, "no backend 'serail'; did you mean 'serial'"),
        ({"backend": "serial", "wokers": 2}, "no setting 'wokers'; did you mean 'workers'"),
        ({"backend": "serial", "workers": 0}, "setting workers=0 of backend 'serial' is wrong"),
        ({"backend": "serial", "workers": 2, "max_workers": 3}, "two names of one thing"),
        ({"backend": "serial", "config": "missing.toml"}, "'missing.toml' does not exist"),
        ({"backend": "serial", "log_level": "LOUD"}, "log_level='LOUD' is not a level"),
        ({"backend": "serial", "max_pending": 0}, "max_pending=0"),
        ({"backend": "serial", "initializer": 3}, "initializer=3 is not a function"),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(plx.InvalidSpec, match=sentence):
        plx.Executor(**arguments)


def test_error_names_where_a_setting_was_made(empty_house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLACTIC_WORKERS", "many")
    with pytest.raises(
        plx.InvalidSpec, match=r"workers='many' of backend 'serial' \(from PARALLACTIC_WORKERS\)"
    ):
        plx.Executor("serial")
    monkeypatch.delenv("PARALLACTIC_WORKERS")
    write(empty_house / "parallactic.toml", "[backend.serial]\nthreads = 2\n")
    with pytest.raises(
        plx.InvalidSpec, match=r"no setting 'threads' \(from file parallactic.toml, \[backend.serial\]\)"
    ):
        plx.Executor("serial")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("backend = [", "cannot be read"),
        ("backend = 3", "backend = 3 must be the name"),
        ("[backend]\nserial = 3", "must be a table"),
    ],
)
def test_files_that_are_wrong(empty_house: Path, text: str, sentence: str) -> None:
    write(empty_house / "parallactic.toml", text)
    with pytest.raises(plx.InvalidSpec, match=sentence):
        read_configuration()
