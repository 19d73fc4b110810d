"""The contract, pressure, on every backend."""

from parallactic.testing.pressure import PressureContract


class TestPressure(PressureContract):
    pass
