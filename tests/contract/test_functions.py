"""The contract, functions, on every backend."""

from parallactic.testing.functions import FunctionsContract


class TestFunctions(FunctionsContract):
    pass
