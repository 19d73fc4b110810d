"""The contract, resize, on every backend."""

from parallactic.testing import ResizeContract


class TestResize(ResizeContract):
    pass
