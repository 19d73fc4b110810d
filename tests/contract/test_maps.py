"""The contract, maps, on every backend."""

from parallactic.testing import MapContract


class TestMap(MapContract):
    pass
