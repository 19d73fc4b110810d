"""What workers log and print, shown by the client."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["print_lines", "relay_record"]


def relay_record(fields: Mapping[str, Any]) -> None:
    """Hand a worker's log record, which carries worker, host and task, to this process's logging."""
    record = logging.makeLogRecord(dict(fields))
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def print_lines(stream: str, text: str) -> None:
    """Print what a task printed."""
    target = sys.stderr if stream == "stderr" else sys.stdout
    if target is not None:
        target.write(text)
        target.flush()
