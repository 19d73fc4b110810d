"""The contract, data, on every backend."""

from parallactic.testing.data import DataContract


class TestData(DataContract):
    pass
