"""What an agent says first: where it is, and what it is made of."""

from __future__ import annotations

import os
import pickle
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import parallactic
from parallactic.backend import usable_cores
from parallactic.errors import BackendUnavailable
from parallactic.worker.namespace import hostname

__all__ = ["Hello", "Probe", "check_versions"]

_NONCE = 16


@dataclass(frozen=True)
class Hello:
    """An agent's introduction.

    Parameters
    ----------
    host, pid
        Where it runs.
    cores
        How many cores it may use there.
    python, parallactic
        Versions; the client's must be the same.
    probe
        A descriptor of the agent and what can be read through it.
    """

    host: str
    pid: int
    cores: int
    python: str
    parallactic: str
    probe: tuple[int, bytes]

    @classmethod
    def own(cls, probe: Probe) -> Hello:
        """Introduce this process."""
        return cls(
            hostname(),
            os.getpid(),
            usable_cores(),
            _python(),
            parallactic.__version__,
            (probe.fd, probe.nonce),
        )

    def encode(self) -> bytes:
        """Return it as bytes."""
        return pickle.dumps(asdict(self), 5)

    @classmethod
    def decode(cls, data: bytes) -> Hello:
        """Read what `encode` wrote."""
        return cls(**pickle.loads(data))

    def opens_here(self) -> bool:
        """Tell whether this process can open what the agent has open, by trying.

        It needs the same host, the same user, and the same process numbers, which a container may not have.
        """
        fd, nonce = self.probe
        try:
            return Path(f"/proc/{self.pid}/fd/{fd}").read_bytes() == nonce
        except OSError:
            return False


class Probe:
    """A piece of shared memory with a random content, to be found by another process."""

    def __init__(self) -> None:
        self.nonce = os.urandom(_NONCE)
        self.fd = os.memfd_create("parallactic-probe", os.MFD_CLOEXEC)
        os.pwrite(self.fd, self.nonce, 0)

    def close(self) -> None:
        """Free it."""
        os.close(self.fd)


def check_versions(hello: Hello) -> None:
    """Refuse an agent whose pickles this client may not understand.

    Raises
    ------
    BackendUnavailable
        If Python or Parallactic is another there.
    """
    if (hello.python, hello.parallactic) != (_python(), parallactic.__version__):
        raise BackendUnavailable(
            f"on {hello.host} there is Parallactic {hello.parallactic} on Python {hello.python}, here "
            f"{parallactic.__version__} on {_python()}; install the same on all hosts, or share one "
            "installation."
        )


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"
