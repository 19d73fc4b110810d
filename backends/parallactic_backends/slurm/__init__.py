"""The backend ``slurm``."""

from parallactic_backends.slurm.backend import SlurmBackend, SlurmSettings

__all__ = ["SlurmBackend", "SlurmSettings"]
