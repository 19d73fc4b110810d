"""The contract, data, on every backend."""

from parallactic.testing import DataContract


class TestData(DataContract):
    pass
