"""Which backends the tests of servers run on."""

from parallactic import registry
from parallactic.testing.engine import selected_backends


def with_processes() -> list[str]:
    """Backends of the matrix whose servers are processes, and so can be stopped and killed."""
    return [name for name in selected_backends() if not registry.load(name).capabilities.inline]
