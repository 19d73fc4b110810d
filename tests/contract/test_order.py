"""The contract, semantic 1, on every backend."""

from parallactic.testing import OrderContract


class TestOrder(OrderContract):
    pass
