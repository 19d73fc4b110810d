"""SLURM's own commands: the states of jobs, and what became of them."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from parallactic.errors import LossCause, SubmitError

__all__ = ["Job", "QueueAway", "cancel", "explain", "is_away", "largest_memory", "look", "missing_commands"]

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "srun")
_SECONDS = 60.0
_AWAY = ("Unable to contact slurm controller", "Connection refused", "Socket timed out", "Zero Bytes")
_UNKNOWN = "Invalid job id"
_LIVING = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD",
           "REQUEUE_FED", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SPECIAL_EXIT")  # fmt: skip

_CAUSES: dict[str, LossCause] = {
    "TIMEOUT": "walltime",
    "DEADLINE": "walltime",
    "OUT_OF_MEMORY": "oom",
    "PREEMPTED": "preempted",
    "NODE_FAIL": "node_fail",
    "BOOT_FAIL": "node_fail",
}


class QueueAway(Exception):
    """The controller of SLURM does not answer at the moment: nothing is known about any job."""


_HOPELESS = ("PartitionConfig", "PartitionNodeLimit", "PartitionTimeLimit", "BadConstraints",
             "AccountNotAllowed", "InvalidAccount", "InvalidQOS", "QOSNotAllowed")  # fmt: skip
"""Reasons to wait that do not go away by themselves."""


@dataclass(frozen=True, slots=True)
class Job:
    """What SLURM says of one job.

    Parameters
    ----------
    state
        In words, such as ``RUNNING``; ``GONE`` if SLURM has forgotten it.
    reason
        Why it is pending, or why it ended.
    nodes
        Where it runs, or has run.
    seconds_left
        Until its time limit; infinite if it has none, or has not begun.
    """

    state: str
    reason: str = ""
    nodes: str = ""
    seconds_left: float = math.inf

    @property
    def lives(self) -> bool:
        """Whether it runs, will run, or is about to end."""
        return self.state in _LIVING

    @property
    def waits(self) -> bool:
        """Whether it is to begin, for the first time or again."""
        return self.state in ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED")

    @property
    def is_hopeless(self) -> bool:
        """Whether it waits for what will not come."""
        return self.state == "PENDING" and self.reason in _HOPELESS


def is_away(text: str) -> bool:
    """Tell whether a command of SLURM says that the controller does not answer."""
    return any(sign in text for sign in _AWAY)


def missing_commands() -> list[str]:
    """Return the commands that are not on the path."""
    return [name for name in COMMANDS if shutil.which(name) is None]


def largest_memory(partition: str | None) -> int:
    """Return the memory of the node that has most, in bytes.

    Raises
    ------
    QueueAway
        If the controller does not answer.
    SubmitError
        If there is no such partition.
    """
    words = [f"--partition={partition}"] if partition else []
    # A plus sign says that nodes of the same line differ, and that this is the least of them.
    sizes = [
        int(line.strip().rstrip("+")) for line in _run("sinfo", "--noheader", "--format=%m", *words).split()
    ]
    if not sizes:
        raise SubmitError(f"SLURM has no partition {partition!r}; sinfo lists them.")
    return max(sizes) * 2**20


def look(jobs: Iterable[str]) -> dict[str, Job]:
    """Ask for the states of all these jobs, by one command.

    Raises
    ------
    QueueAway
        If the controller does not answer.
    SubmitError
        If squeue says anything else that is not an answer.
    """
    wanted = set(jobs)
    if not wanted:
        return {}
    known: dict[str, Job] = {}
    words = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%r|%N|%L"]
    try:
        text = _run(*words, f"--jobs={','.join(sorted({job.partition('_')[0] for job in wanted}))}")
    except SubmitError as error:
        if _UNKNOWN not in str(error):
            raise
        text = ""  # SLURM forgets jobs some minutes after their end
    for line in text.splitlines():
        number, state, reason, nodes, left = line.split("|")
        known[number] = Job(state, reason, nodes, _seconds(left) if state == "RUNNING" else math.inf)
    return {job: known.get(job, Job("GONE")) for job in wanted}


def _seconds(left: str) -> float:
    """Read a time as squeue writes it: 1-02:03:04, 3:04, or a word where there is no limit."""
    days, _, clock = left.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in parts):
        return math.inf
    clock_seconds = sum(int(part) * 60.0**power for power, part in enumerate(reversed(parts)))
    return 86400.0 * int(days or 0) + float(clock_seconds)


def explain(number: str, job: Job) -> tuple[LossCause, str]:
    """Return why a job has ended, as a cause and as a sentence."""
    where = f" on {job.nodes}" if job.nodes else ""
    if job.state == "GONE":
        return "unreachable", f"job {number} is gone, and SLURM does not know any more why."
    if job.state in _CAUSES:
        advice = {
            "walltime": "its time limit was reached; ask for more by the setting time.",
            "oom": "it took more memory than it had asked for; ask for more by mem or mem_per_cpu.",
            "preempted": "a job of higher priority took its place.",
            "node_fail": "its node failed.",
        }
        cause = _CAUSES[job.state]
        return cause, f"job {number}{where} was ended by SLURM: {advice[cause]}"
    if job.state == "CANCELLED":
        return "signal", f"job {number}{where} was cancelled."
    return _by_exit_code(number, where)


def _by_exit_code(number: str, where: str) -> tuple[LossCause, str]:
    try:
        text = _run("scontrol", "--oneliner", "show", "job", number)
    except (SubmitError, QueueAway):
        return "exit", f"job {number}{where} has ended."
    found = re.search(r"\bExitCode=(\d+):(\d+)", text)
    code, by_signal = (int(found[1]), int(found[2])) if found else (0, 0)
    if by_signal:
        return "signal", f"job {number}{where} was ended by signal {by_signal}."
    return "exit", f"job {number}{where} has ended with exit code {code}."


def cancel(jobs: Iterable[str]) -> None:
    """End these jobs.

    Raises
    ------
    QueueAway
        If the controller does not answer.
    """
    wanted = sorted(jobs)
    if wanted:
        # Without --quiet a job that has just ended would be an error.
        _run("scancel", "--quiet", *wanted)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            cwd=Path("/"),
        )
    except subprocess.TimeoutExpired as error:
        raise QueueAway(f"{command[0]} did not answer within {_SECONDS:g} s.") from error
    except OSError as error:
        raise SubmitError(f"{command[0]} cannot be run: {error}.") from error
    if done.returncode != 0:
        text = (done.stderr or done.stdout).strip()
        if is_away(text):
            raise QueueAway(text)
        raise SubmitError(f"{' '.join(command)} failed: {text}")
    return done.stdout
