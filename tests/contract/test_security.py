"""The contract, security, on every backend."""

from parallactic.testing.security import SecurityContract


class TestSecurity(SecurityContract):
    pass
