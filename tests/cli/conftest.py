"""The command, run as a person runs it: in a process of its own."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import typer.testing
from cli_helpers import environment

from parallactic.cli.app import make_app

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def _loggers() -> Iterator[None]:
    """Take back what a command in this process does to the logs."""
    logger = logging.getLogger("parallactic")
    before = (list(logger.handlers), logger.level, logger.propagate)
    yield
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.fixture
def command(tmp_path: Path) -> Run:
    """``command("flag", "obs.ms")`` runs ``parallactic flag obs.ms`` in an empty folder."""

    def run(*words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "parallactic", *map(str, words)],
            cwd=tmp_path,
            env=environment(tmp_path, env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """As `command`, but in this process: quicker, where a process of its own proves nothing more."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        plain = environment(tmp_path)
        for name in [key for key in os.environ if key not in plain]:
            monkeypatch.delenv(name)
        result = typer.testing.CliRunner().invoke(make_app(words), list(words), env=plain)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return subprocess.CompletedProcess(words, result.exit_code, result.stdout, result.stderr)

    return run
