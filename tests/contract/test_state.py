"""The contract, state, on every backend."""

from parallactic.testing.state import StateContract


class TestState(StateContract):
    pass
