"""The contract, configuration, on every backend."""

from parallactic.testing.configuration import ConfigurationContract


class TestConfiguration(ConfigurationContract):
    pass
