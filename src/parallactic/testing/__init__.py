"""The contract suite: how a backend proves that it keeps every promise.

A third party writes one class::

    from parallactic.testing import BackendContract

    class TestMine(BackendContract):
        backend = "mine"
        settings = {"queue": "short"}

and runs pytest, the only place where it is needed. Each numbered promise has a class of its own
(`OrderContract`, `DeliveryContract`, ...), all of which `BackendContract` unites. Without ``backend`` a class
runs on every registered backend, or on those named in ``PARALLACTIC_TEST_BACKENDS``.

The names below are imported at first use: workers import `parallactic.testing.tasks` and need no pytest.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parallactic.testing.base import Contract
    from parallactic.testing.cancel import CancelContract
    from parallactic.testing.configuration import ConfigurationContract
    from parallactic.testing.contract import BackendContract
    from parallactic.testing.data import DataContract
    from parallactic.testing.delivery import DeliveryContract
    from parallactic.testing.engine import selected_backends
    from parallactic.testing.errors import ErrorsContract
    from parallactic.testing.functions import FunctionsContract
    from parallactic.testing.futures import FuturesContract
    from parallactic.testing.journal import JournalContract
    from parallactic.testing.liveness import LivenessContract
    from parallactic.testing.logs import LoggingContract
    from parallactic.testing.maps import MapContract
    from parallactic.testing.order import OrderContract
    from parallactic.testing.pressure import PressureContract
    from parallactic.testing.resize import ResizeContract
    from parallactic.testing.security import SecurityContract
    from parallactic.testing.shutdown import ShutdownContract
    from parallactic.testing.state import StateContract
    from parallactic.testing.status import StatusContract
    from parallactic.testing.timing import TimeContract

_HOME = {
    "BackendContract": "contract",
    "CancelContract": "cancel",
    "ConfigurationContract": "configuration",
    "Contract": "base",
    "DataContract": "data",
    "DeliveryContract": "delivery",
    "ErrorsContract": "errors",
    "FunctionsContract": "functions",
    "FuturesContract": "futures",
    "JournalContract": "journal",
    "LivenessContract": "liveness",
    "LoggingContract": "logs",
    "MapContract": "maps",
    "OrderContract": "order",
    "PressureContract": "pressure",
    "ResizeContract": "resize",
    "SecurityContract": "security",
    "ShutdownContract": "shutdown",
    "StateContract": "state",
    "StatusContract": "status",
    "TimeContract": "timing",
    "selected_backends": "engine",
}

_ASSERTING = [f"parallactic.testing.{name}" for name in {*_HOME.values(), "leftovers", "scripts", "waiting"}]

__all__ = [
    "BackendContract",
    "CancelContract",
    "ConfigurationContract",
    "Contract",
    "DataContract",
    "DeliveryContract",
    "ErrorsContract",
    "FunctionsContract",
    "FuturesContract",
    "JournalContract",
    "LivenessContract",
    "LoggingContract",
    "MapContract",
    "OrderContract",
    "PressureContract",
    "ResizeContract",
    "SecurityContract",
    "ShutdownContract",
    "StateContract",
    "StatusContract",
    "TimeContract",
    "selected_backends",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'parallactic.testing' has no attribute {name!r}")
    import pytest

    # The assertions of the suite show their values, as those of a test file do.
    pytest.register_assert_rewrite(*(name for name in _ASSERTING if name not in sys.modules))
    value = getattr(import_module(f"parallactic.testing.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
