"""The contract, status, on every backend."""

from parallactic.testing.status import StatusContract


class TestStatus(StatusContract):
    pass
