"""Messages of client and servers: to CASA's log where CASA is loaded, else to Python's logging."""

from __future__ import annotations

import logging
import sys

__all__ = ["LEVELS", "post"]

LEVELS = (
    *("DEBUG", "DEBUG1", "DEBUG2"),
    *("NORMAL", "NORMAL1", "NORMAL2", "NORMAL3", "NORMAL4", "NORMAL5"),
    *("INFO", "INFO1", "INFO2", "INFO3", "INFO4", "INFO5"),
)
"""What `MPICommandClient.set_log_level` takes."""

_PYTHON = {"SEVERE": logging.ERROR, "WARN": logging.WARNING}

_logger = logging.getLogger("parallactic.casa")


def post(message: str, priority: str, origin: str) -> None:
    """Write a message to the log.

    Parameters
    ----------
    message
        One or more lines.
    priority
        CASA's name of it: SEVERE, WARN, or one of `LEVELS`.
    origin
        Who says it, as ``class::method``.
    """
    casatasks = sys.modules.get("casatasks")
    casalog = getattr(casatasks, "casalog", None)
    if casalog is not None:
        casalog.post(message, priority, origin)
        return
    level = _PYTHON.get(priority, logging.INFO if priority == "INFO" else logging.DEBUG)
    _logger.log(level, "%s: %s", origin, message)
