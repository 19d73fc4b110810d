"""The contract, semantic 1, on every backend."""

from parallactic.testing.order import OrderContract


class TestOrder(OrderContract):
    pass
