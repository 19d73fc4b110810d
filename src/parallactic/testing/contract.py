"""The whole contract in one class."""

from __future__ import annotations

from parallactic.testing.cancel import CancelContract
from parallactic.testing.configuration import ConfigurationContract
from parallactic.testing.data import DataContract
from parallactic.testing.delivery import DeliveryContract
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

__all__ = ["BackendContract"]


class BackendContract(
    OrderContract,
    DeliveryContract,
    ErrorsContract,
    LivenessContract,
    CancelContract,
    StateContract,
    TimeContract,
    PressureContract,
    ShutdownContract,
    DataContract,
    SecurityContract,
    JournalContract,
    FuturesContract,
    MapContract,
    FunctionsContract,
    StatusContract,
    LoggingContract,
    ResizeContract,
    ConfigurationContract,
):
    """Every promise of Parallactic: the twelve numbered semantics, and the interface around them."""
