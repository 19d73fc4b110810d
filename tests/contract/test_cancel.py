"""The contract, cancel, on every backend."""

from parallactic.testing import CancelContract


class TestCancel(CancelContract):
    pass
