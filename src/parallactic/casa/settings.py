"""What a client can set of CASA on its servers: threads, memory, cores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from parallactic.errors import ParallacticError

__all__ = ["ServerSettings", "Targets"]

Targets = int | list[int] | None


class ServerSettings(ABC):
    """The settings of `MPICommandClient`; each is a command that the servers run."""

    @abstractmethod
    def push_command_request(
        self, command: str, block: bool = False, target_server: Targets = None, parameters: Any = None
    ) -> Any:
        """Send a command to servers."""

    def set_omp_num_threads(self, omp_max_threads: int, target_server: Targets) -> None:
        """Set the number of OpenMP threads of CASA on servers."""
        self._ask_casa(f"ompSetNumThreads({int(omp_max_threads)})", target_server)

    def setMemoryTotal(self, memory: float, target_server: Targets) -> None:  # noqa: N802  (CASA's name)
        """Set the memory in MB that CASA may use on servers."""
        self._ask_casa(f"setMemoryTotal({memory})", target_server)

    def setMemoryFraction(self, memfrac: float, target_server: Targets) -> None:  # noqa: N802  (CASA's name)
        """Set the percentage of memory that CASA may use on servers."""
        self._ask_casa(f"setMemoryFraction({memfrac})", target_server)

    def setNumCPUs(self, numCPUs: int, target_server: Targets) -> None:  # noqa: N802  (CASA's name)
        """Set the number of cores that CASA may use on servers."""
        self._ask_casa(f"setNumCPUs({numCPUs})", target_server)

    def getMemoryTotal(self, use_aipsrc: bool, target_server: Targets) -> Any:  # noqa: N802  (CASA's name)
        """Return the memory in kB that CASA sees on a server; a list for several."""
        return self._ask_casa(f"getMemoryTotal({bool(use_aipsrc)})", target_server)

    def getNumCPUs(self, use_aipsrc: bool, target_server: Targets) -> Any:  # noqa: N802  (CASA's name)
        """Return the number of cores that CASA sees on a server; a list for several."""
        return self._ask_casa(f"getNumCPUs({bool(use_aipsrc)})", target_server)

    def _ask_casa(self, call: str, target: Targets) -> Any:
        responses = self.push_command_request(f"casalog.{call}", True, target)
        if responses is None:
            raise ParallacticError(f"{call} reached no server {target!r}; the log says why.")
        for response in responses:
            if not response["successful"]:
                raise ParallacticError(
                    f"{call} failed on server {response['server']}: {response['traceback']}"
                )
        values = [response["ret"] for response in responses]
        return values[0] if len(values) == 1 else values
