"""The contract, delivery, on every backend."""

from parallactic.testing import DeliveryContract


class TestDelivery(DeliveryContract):
    pass
