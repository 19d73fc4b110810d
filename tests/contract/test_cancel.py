"""The contract, cancel, on every backend."""

from parallactic.testing.cancel import CancelContract


class TestCancel(CancelContract):
    pass
