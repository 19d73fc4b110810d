"""The libraries that run on our workers here."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import pytest


def guest(name: str) -> ModuleType:
    """Import a library; without it what needs it is skipped, and fails under CI=true."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
            pytest.fail(f"{name} is not installed: {error}", pytrace=False)
        pytest.skip(f"{name} is not installed: {error}", allow_module_level=True)
