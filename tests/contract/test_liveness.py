"""The contract, liveness, on every backend."""

from parallactic.testing.liveness import LivenessContract


class TestLiveness(LivenessContract):
    pass
