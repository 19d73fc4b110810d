"""The contract, timing, on every backend."""

from parallactic.testing.timing import TimeContract


class TestTime(TimeContract):
    pass
