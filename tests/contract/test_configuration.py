"""The contract, configuration, on every backend."""

from parallactic.testing import ConfigurationContract


class TestConfiguration(ConfigurationContract):
    pass
