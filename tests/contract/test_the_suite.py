"""The suite itself: every promise that is broken is noticed by the tests that carry its name."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import break_logging  # noqa: F401  (fills the list)
import break_running  # noqa: F401
import break_surroundings  # noqa: F401
import pytest
from breakage import BREAKAGES, SEMANTICS, Breakage
from third_party import installed

from parallactic import testing
from parallactic.errors import InvalidSpec

pytest_plugins = ["pytester"]

# Imported here, or every run inside a test would import the whole suite anew.
CONTRACT = testing.BackendContract

SOURCE = Path(__file__).with_name("threads_backend.py")

# Other plug-ins have nothing to do with the contract, and some take seconds to load. What is broken may well
# raise in a thread.
QUIET = ("-q", "-p", "no:cacheprovider", "-p", "no:threadexception", "-p", "no:unraisableexception")

FILE = """
from parallactic.testing import BackendContract

class TestToy(BackendContract):
    backend = {backend!r}
    patience = {patience}
    linger = {linger}
    bound = {bound}
"""


@pytest.fixture(autouse=True)
def without_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.fixture(autouse=True, scope="module")
def threads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed(tmp_path_factory.mktemp("site"), "threads", "threads_backend:ThreadsBackend", SOURCE):
        yield


def run(pytester: pytest.Pytester, backend: str, tests: Sequence[str], **limits: float) -> dict[str, str]:
    """Run tests of the contract in this process; return the outcome of each."""
    pytester.makepyfile(test_toy=FILE.format(backend=backend, **limits))
    wanted = [f"test_toy.py::TestToy::{test}" for test in tests]
    record = pytester.inline_run(*wanted, *QUIET)
    outcomes: dict[str, str] = {}
    for report in record.getreports("pytest_runtest_logreport"):
        name = report.nodeid.rpartition("::")[2].partition("[")[0]
        if report.failed:
            outcomes[name] = "failed"
        elif report.when == "call":
            outcomes.setdefault(name, report.outcome)
    return outcomes


def test_every_numbered_semantic_is_broken_in_some_way() -> None:
    assert {breakage.semantic for breakage in BREAKAGES} == set(SEMANTICS)


def test_every_numbered_semantic_has_a_class_whose_tests_carry_its_name() -> None:
    for name in SEMANTICS.values():
        contract = getattr(testing, f"{name.capitalize()}Contract")
        tests = [test for test in vars(contract) if test.startswith("test_")]
        assert len(tests) >= 5
        assert all(test.startswith(f"test_{name}_") for test in tests)


def test_no_test_of_one_part_hides_that_of_another() -> None:
    """The united class has every test of its parts."""
    parts = [getattr(testing, name) for name in testing.__all__ if name.endswith("Contract")]
    names = [name for part in parts for name in vars(part) if name.startswith("test_")]
    assert len(names) == len(set(names))
    assert {name for name in dir(CONTRACT) if name.startswith("test_")} == set(names)


@pytest.mark.parametrize("backend", ["serial", "threads", "multiprocessing"])
def test_the_whole_one_passes(pytester: pytest.Pytester, backend: str) -> None:
    """What is broken below passes when it is whole."""
    tests = sorted({test for breakage in BREAKAGES if breakage.backend == backend for test in breakage.tests})
    outcomes = run(pytester, backend, tests, patience=20.0, linger=5.0, bound=8.0)
    assert outcomes == dict.fromkeys(tests, "passed")


@pytest.mark.parametrize("breakage", BREAKAGES, ids=str)
def test_what_is_broken_is_noticed(
    breakage: Breakage, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every test that is named for a broken promise fails."""
    breakage.apply(monkeypatch)
    outcomes = run(
        pytester, breakage.backend, breakage.tests, patience=breakage.patience, linger=0.5, bound=2.0
    )
    assert outcomes == dict.fromkeys(breakage.tests, "failed")


class TestSelection:
    """Which backends are tested, and what becomes of one that cannot run here."""

    def test_all_registered_ones_by_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("PARALLACTIC_TEST_BACKENDS", raising=False)
        settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
        ours = settings["project"]["entry-points"]["parallactic.backends"]
        assert testing.selected_backends() == sorted([*ours, "threads"])

    def test_those_that_are_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PARALLACTIC_TEST_BACKENDS", "serial, threads")
        assert testing.selected_backends() == ["serial", "threads"]

    def test_a_wrong_name_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PARALLACTIC_TEST_BACKENDS", "serial,multiprocesing")
        with pytest.raises(InvalidSpec, match="did you mean 'multiprocessing'"):
            testing.selected_backends()

    @pytest.mark.parametrize(("ci", "expected"), [("", "skipped"), ("true", "failed")])
    def test_one_that_cannot_run_is_skipped_aloud_or_fails(
        self,
        pytester: pytest.Pytester,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        ci: str,
        expected: str,
    ) -> None:
        from parallactic.backend import Availability

        absent = Availability(False, "the queue is closed", "Open the queue.")
        monkeypatch.setattr("parallactic.registry.availability", lambda name: absent)
        monkeypatch.setenv("CI", ci)
        test = "test_order_a_failed_task_does_not_stop_its_lane"
        pytester.makepyfile(test_toy=FILE.format(backend="threads", patience=1, linger=1, bound=1))
        record = pytester.inline_run(f"test_toy.py::TestToy::{test}", "-rs", *QUIET[1:])
        reports = [report.outcome for report in record.getreports("pytest_runtest_logreport")]
        assert reports[0] == expected
        shown = capsys.readouterr().out
        assert "the queue is closed" in shown
        assert "Open the queue." in shown


def test_workers_need_no_pytest() -> None:
    """What the suite runs on workers is importable without pytest."""
    import subprocess

    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "import parallactic.testing.tasks, parallactic.testing.arrays, parallactic.testing.mishaps\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ), timeout=60)
