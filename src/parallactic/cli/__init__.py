"""The command ``parallactic``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from parallactic.worker.ranks import has_company

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and leave with its exit code.

    0: done. 1: a run that failed. 2: what was asked for cannot be. 130: interrupted. 143: terminated.

    Parameters
    ----------
    arguments
        The words after the command's name. None: those of this process.
    """
    from parallactic.cli.console import interruptible

    words = list(sys.argv[1:] if arguments is None else arguments)
    if has_company() and (name := _named_backend(words)) is not None:
        # Under mpiexec all processes but the first are to serve, not to run the command.
        _enter(name, words)
    with interruptible():
        from parallactic.cli.app import make_app

        make_app(words)(args=words, prog_name="parallactic")


def _enter(name: str, words: Sequence[str]) -> None:
    from parallactic.cli.console import complain, exit_code, sentence
    from parallactic.errors import BackendUnavailable, InvalidSpec
    from parallactic.registry import load

    try:
        load(name).enter()
    except (BackendUnavailable, InvalidSpec) as error:
        if words[0] == "doctor":
            # It finds the same, and goes on to look for the cause.
            return
        complain(sentence(error))
        raise SystemExit(exit_code(error)) from error


def _named_backend(words: Sequence[str]) -> str | None:
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word == "--backend":
            return following
        if word.startswith("--backend="):
            return word.partition("=")[2]
    return None
