"""What runs inside every worker: supervisor, loop, namespace."""
