"""The contract, logging, on every backend."""

from parallactic.testing import LoggingContract


class TestLogging(LoggingContract):
    pass
