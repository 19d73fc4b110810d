"""The contract between the core and a backend: a thin transport to a real engine.

A backend owns no policy. It starts workers, hands tasks to them, stops them, and reports what happened as
events; order, dependencies, retries, timeouts, cancellation and status are the core's. Its methods are called
from one thread, the dispatcher's, and must not block; events may be emitted from any thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import psutil
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from parallactic.errors import InvalidSpec
from parallactic.events import (
    Broken,
    Emit,
    Event,
    Finished,
    Heartbeat,
    Logged,
    Lost,
    Printed,
    Returned,
    Skipped,
    Spared,
    Stalled,
    Started,
    WorkerDown,
    WorkerUp,
)
from parallactic.spec import TaskSpec, parse_memory, parse_time
from parallactic.wire.envelopes import Envelope
from parallactic.wire.payload import DataPlane
from parallactic.worker.records import LogRules

__all__ = [
    "Availability",
    "Backend",
    "Broken",
    "Capabilities",
    "Check",
    "Duration",
    "Emit",
    "Event",
    "Finished",
    "Heartbeat",
    "Logged",
    "Lost",
    "MemorySize",
    "Printed",
    "Returned",
    "RunContext",
    "Settings",
    "Skipped",
    "Spared",
    "Stalled",
    "Started",
    "TaskSpec",
    "WorkerDown",
    "WorkerUp",
    "usable_cores",
]


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(psutil.Process().cpu_affinity() or [0])


MemorySize = Annotated[int, BeforeValidator(parse_memory)]
"""The type of a setting that is an amount of memory: 8GB, 512MiB, or a number of bytes."""

Duration = Annotated[float, BeforeValidator(parse_time)]
"""The type of a setting that is a time: 2h, 90s, 1:30:00, or a number of seconds."""


class Settings(BaseModel):
    """What can be set for a backend; each backend adds its own."""

    model_config = ConfigDict(extra="forbid", validate_default=True)

    workers: int | None = Field(default=None, ge=1, description="Number of workers.")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do, so that tests and errors can speak of it.

    Parameters
    ----------
    targets
        Tasks can be addressed to one worker, whose namespace lasts.
    isolation
        A worker may die without harm to the client.
    kills_native_code
        A running task can be stopped even while it is inside a C call.
    inline
        Tasks run on the thread that submits them.
    queues
        It is handed untargeted tasks ahead of need, chooses their workers, and says `Started` of each.
    native_dependencies
        The engine itself waits for the inputs of a task, if these are results of tasks in its queue.
    shared_memory
        Large objects reach workers by reference.
    several_hosts
        Workers may be on other hosts.
    detach
        Tasks outlive the client.
    output
        What C libraries print can reach the client's log: workers have standard streams of their own.
    elastic
        The number of workers can be changed while they run.
    clean_when_killed
        Nothing of the engine is left on this host when the client is killed without a word.
    resources
        The options of a task that this engine understands, besides ``cores``, ``memory`` and ``walltime``.
    """

    targets: bool = True
    isolation: bool = True
    kills_native_code: bool = True
    inline: bool = False
    queues: bool = False
    native_dependencies: bool = False
    shared_memory: bool = False
    several_hosts: bool = False
    detach: bool = False
    output: bool = False
    elastic: bool = False
    clean_when_killed: bool = True
    resources: frozenset[Literal["gpus", "nodes", "ranks"]] = frozenset()


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a backend can be used here, what it would use, and if not, what to do."""

    ok: bool
    detail: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at for a person whose run does not work.

    Parameters
    ----------
    name
        What was looked at, in a word or two.
    state
        A ``warning`` costs speed or safety; with a ``failure`` something does not work.
    found
        What there is.
    advice
        What to do; empty if all is well.
    fatal
        No worker can be had before this is put right, and to try it may hang.
    """

    name: str
    state: Literal["ok", "warning", "failure"]
    found: str
    advice: str = ""
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a backend must know about the run it serves.

    Parameters
    ----------
    name
        The run's name.
    run_dir
        A folder of its own, readable by this user alone.
    key
        The run's secret; empty if the run is insecure.
    key_file
        Where workers read it; an empty string if the run is insecure.
    log
        What becomes of log records, and of what tasks print.
    """

    name: str
    run_dir: Path
    key: bytes
    key_file: str
    log: LogRules


class Backend(ABC):
    """One engine. Subclass it, name it in the entry points ``parallactic.backends``, run the contract suite.

    Parameters
    ----------
    settings
        An instance of the class's own `Settings`.
    context
        The run it serves.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[Settings]]
    capabilities: Capabilities
    """What the engine can do; an instance may know better than its class what it cannot."""

    plane: DataPlane
    dashboard: str = ""

    def __init__(self, settings: Any, context: RunContext) -> None:
        self.settings = settings
        self.context = context

    @classmethod
    @abstractmethod
    def available(cls) -> Availability:
        """Tell whether this backend can be used here, without starting anything."""

    @classmethod
    def diagnose(cls, settings: Any) -> Iterator[Check]:
        """Look at what this engine alone has: its libraries, its launchers, its daemons.

        Called before any worker is started, also where `available` says no. What every engine has in common
        (hosts, folder, locks, ports) is looked at by tasks on the workers, once these run. What may hang must
        have a limit.

        Parameters
        ----------
        settings
            An instance of the class's own `Settings`.
        """
        yield from ()

    @classmethod  # noqa: B027  (most engines start their workers themselves)
    def enter(cls) -> None:
        """Join the others, in a process that a launcher such as mpiexec has started for this backend.

        Called when the library is imported. In the client it returns; in a process that is to serve it ends
        with the process, so that no line of the script runs there after the import.
        """

    @property
    @abstractmethod
    def max_workers(self) -> int:
        """How many workers it runs at most."""

    @property
    @abstractmethod
    def total_cores(self) -> int:
        """How many cores all workers may use together."""

    @property
    @abstractmethod
    def total_memory(self) -> int:
        """How many bytes all tasks may ask for together."""

    @abstractmethod
    def start(self, emit: Emit) -> None:
        """Begin to start workers, numbered from 0 with epoch 0, and report each as `WorkerUp`.

        A worker that dies is replaced, with the next epoch, without being asked.
        """

    @abstractmethod
    def launch(self, envelopes: Sequence[Envelope]) -> None:
        """Hand over tasks; a worker runs those addressed to it one at a time, in the order given."""

    @abstractmethod
    def cancel(self, task: int, attempt: int, worker: int | None, *, force: bool) -> None:
        """Withdraw an attempt that has not begun (`Skipped`); with `force` kill the worker that runs it.

        `worker` is None while the attempt is in the engine's queue.

        With `force`, an attempt that has ended meanwhile is `Spared`: the core gives its worker no work
        before it hears that, or `WorkerDown`.
        """

    @abstractmethod
    def stop(self, deadline: float, *, detach: bool = False) -> None:
        """End all workers within `deadline` seconds, killing what is left then. Blocks; the last call."""

    def admit(self, worker: int) -> None:  # noqa: B027  (most engines begin nothing by themselves)
        """Let the engine give a worker tasks of its queue: it has run what it must begin with."""

    def call_for(self, worker: int) -> None:  # noqa: B027  (most engines start all workers anyhow)
        """Learn that a task is addressed to a worker that is not there at the moment."""

    def forget(self, key: int) -> None:  # noqa: B027  (workers may keep nothing)
        """Release the value `key` on all workers that keep it."""

    def step(self) -> bool:
        """Run one launched task on this thread, if the engine is inline; return whether there was any."""
        return False

    def refuse(self, spec: TaskSpec, worker: int | None = None) -> None:  # noqa: B027  (most have no more)
        """Refuse wishes that this engine can never grant, beyond totals and what `capabilities` tells.

        Called from any thread, when options are given and when a task is addressed to a worker.

        Parameters
        ----------
        spec
            The wishes.
        worker
            The worker that the task is addressed to; None if any will do.

        Raises
        ------
        InvalidSpec
            With what was asked for and what there is.
        """

    def resize(self, workers: int) -> None:
        """Have workers 0 to ``workers - 1``, and no others.

        Those beyond end what they have begun, begin nothing more, and are reported by `WorkerDown`; they are
        not replaced. Those that are missing are started, with the next epoch of their number.

        Raises
        ------
        InvalidSpec
            If the engine cannot, or not at the moment; then nothing is changed.
        """
        raise InvalidSpec(
            f"backend {self.name!r} cannot change its number of workers to {workers} while it runs."
        )

    @classmethod
    def attach(cls, run_dir: Path, emit: Emit) -> Self:
        """Take up a run that was detached.

        Raises
        ------
        InvalidSpec
            If the engine's tasks do not outlive the client.
        """
        raise InvalidSpec(f"backend {cls.name!r} cannot attach to {run_dir}: its tasks end with the client.")

    def preview(self, envelopes: Sequence[Envelope]) -> str:
        """Return what would be submitted, as a person would write it.

        Raises
        ------
        InvalidSpec
            If the engine submits nothing.
        """
        raise InvalidSpec(
            f"backend {self.name!r} has nothing to preview for {len(envelopes)} tasks: it submits no jobs."
        )
