"""The contract, functions, on every backend."""

from parallactic.testing import FunctionsContract


class TestFunctions(FunctionsContract):
    pass
