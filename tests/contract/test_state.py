"""The contract, state, on every backend."""

from parallactic.testing import StateContract


class TestState(StateContract):
    pass
