"""The contract, timing, on every backend."""

from parallactic.testing import TimeContract


class TestTime(TimeContract):
    pass
