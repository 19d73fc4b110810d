"""The contract, errors, on every backend."""

from parallactic.testing import ErrorsContract


class TestErrors(ErrorsContract):
    pass
