"""The contract, shutdown, on every backend."""

from parallactic.testing import ShutdownContract


class TestShutdown(ShutdownContract):
    pass
