"""The contract, delivery, on every backend."""

from parallactic.testing.delivery import DeliveryContract


class TestDelivery(DeliveryContract):
    pass
