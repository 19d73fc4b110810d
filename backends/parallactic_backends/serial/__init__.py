"""Tasks run where they are submitted."""

from parallactic_backends.serial.backend import SerialBackend, SerialSettings

__all__ = ["SerialBackend", "SerialSettings"]
