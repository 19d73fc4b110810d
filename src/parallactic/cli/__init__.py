"""The command ``parallactic``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

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
    with interruptible():
        from parallactic.cli.app import make_app

        make_app(words)(args=words, prog_name="parallactic")
