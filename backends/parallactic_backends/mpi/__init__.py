"""Workers next to the ranks of MPI."""

from parallactic_backends.mpi.backend import MpiBackend, MpiSettings

__all__ = ["MpiBackend", "MpiSettings"]
