"""The contract, errors, on every backend."""

from parallactic.testing.errors import ErrorsContract


class TestErrors(ErrorsContract):
    pass
