"""The tasks: ``from parallactic.tasks import partition, flag, calibrate, apply, tclean``.

Each is imported at its first use, since some bring compiled kernels along. A task and its module may share a
name: here the name always means the task.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from parallactic.tasks.base import TASKS

if TYPE_CHECKING:
    from parallactic.tasks.apply import apply
    from parallactic.tasks.calibrate import calibrate
    from parallactic.tasks.flag import flag
    from parallactic.tasks.partition import partition
    from parallactic.tasks.setmodel import setmodel
    from parallactic.tasks.simulate import simulate
    from parallactic.tasks.tclean import tclean

__all__ = ["TASKS", "apply", "calibrate", "flag", "partition", "setmodel", "simulate", "tclean"]

# In the order of the work.
_NAMES = ("simulate", "partition", "flag", "setmodel", "calibrate", "apply", "tclean")

TASKS.homes.update({name: f"parallactic.tasks.{name}" for name in _NAMES})


class _Package(ModuleType):
    """The package itself: its attributes of a task's name are the tasks, never the modules that hold them."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in TASKS.homes and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name not in TASKS.homes:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = TASKS[name]
        super().__setattr__(name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *TASKS.homes})

    def __reduce__(self) -> tuple[Any, ...]:
        # Functions that use this module by name travel to workers, and cloudpickle knows plain modules only.
        return import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Package
