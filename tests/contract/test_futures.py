"""The contract, futures, on every backend."""

from parallactic.testing.futures import FuturesContract


class TestFutures(FuturesContract):
    pass
