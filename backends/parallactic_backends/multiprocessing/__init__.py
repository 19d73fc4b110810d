"""Worker processes on this host."""

from parallactic_backends.multiprocessing.backend import MultiprocessingBackend, MultiprocessingSettings

__all__ = ["MultiprocessingBackend", "MultiprocessingSettings"]
