"""The contract, shutdown, on every backend."""

from parallactic.testing.shutdown import ShutdownContract


class TestShutdown(ShutdownContract):
    pass
