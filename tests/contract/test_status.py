"""The contract, status, on every backend."""

from parallactic.testing import StatusContract


class TestStatus(StatusContract):
    pass
