"""The contract, maps, on every backend."""

from parallactic.testing.maps import MapContract


class TestMap(MapContract):
    pass
