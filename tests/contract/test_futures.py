"""The contract, futures, on every backend."""

from parallactic.testing import FuturesContract


class TestFutures(FuturesContract):
    pass
