"""The contract, security, on every backend."""

from parallactic.testing import SecurityContract


class TestSecurity(SecurityContract):
    pass
