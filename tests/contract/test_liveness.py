"""The contract, liveness, on every backend."""

from parallactic.testing import LivenessContract


class TestLiveness(LivenessContract):
    pass
