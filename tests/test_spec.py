"""Options of a task: amounts of memory, times, names."""

import pytest

from parallactic.errors import InvalidSpec
from parallactic.spec import DEFAULT, near_match, parse_memory, parse_time


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("8GB", 8_000_000_000),
        ("512 MiB", 512 * 1024**2),
        ("1.5k", 1500),
        (4096, 4096),
        ("2tb", 2 * 10**12),
        ("7B", 7),
    ],
)
def test_memory(text: str | int, amount: int) -> None:
    assert parse_memory(text) == amount


@pytest.mark.parametrize("text", ["8 parsec", "GB", "-1GB", "0", "1e5e5 MB", ""])
def test_memory_that_is_none(text: str) -> None:
    with pytest.raises(InvalidSpec, match="memory="):
        parse_memory(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("15min", 900),
        ("2h", 7200),
        ("1:30:00", 5400),
        ("02:30", 150),
        ("1-00:00:10", 86410),
        (0.5, 0.5),
        ("250ms", 0.25),
    ],
)
def test_time(text: str | float, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["soon", "3 parsec", "0", "-5s", "1:2:3:4"])
def test_time_that_is_none(text: str) -> None:
    with pytest.raises(InvalidSpec, match="timeout="):
        parse_time(text, "timeout")


def test_options_are_checked_and_kept() -> None:
    spec = DEFAULT.updated(
        cores=4, memory="8GB", walltime="2h", timeout="10min", retries=2, name="flag scan 3"
    )
    assert (spec.cores, spec.memory, spec.walltime, spec.timeout, spec.retries) == (
        4,
        8 * 10**9,
        7200,
        600,
        2,
    )
    again = spec.updated(cores=None)
    assert (again.cores, again.name) == (None, "flag scan 3")
    assert DEFAULT.cores is None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"core": 2}, "did you mean 'cores'"),
        ({"cores": 0}, "cores=0 must be a whole number of at least 1"),
        ({"cores": 1.5}, "cores=1.5"),
        ({"retries": -1}, "retries=-1"),
        ({"retries": True}, "retries=True"),
        ({"gpus": None}, "gpus=None"),
    ],
)
def test_wrong_options(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidSpec, match=sentence):
        DEFAULT.updated(**options)


def test_near_match_ends_the_sentence() -> None:
    assert near_match("wokers", ["workers", "threads"]) == "; did you mean 'workers'?"
    assert near_match("xyz", ["workers", "threads"]) == "."
