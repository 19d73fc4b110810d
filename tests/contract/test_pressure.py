"""The contract, pressure, on every backend."""

from parallactic.testing import PressureContract


class TestPressure(PressureContract):
    pass
