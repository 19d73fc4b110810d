"""A real SLURM on this one host, for tests: Debian's daemons, in a temporary folder, for as long as needed.

    .venv/bin/python tests/slurm_lab.py -- sinfo                      # start, run a command there, stop
    .venv/bin/python tests/slurm_lab.py --nodes 8 --cpus 2 -- bash    # a shell beside a cluster of 8 nodes

It needs munge, slurmctld, slurmd and slurm-client (scripts/bootstrap.sh installs them as root on Debian), and
neither root nor systemd nor cgroups. Every node is a slurmd of its own with its own port. Nothing outside
the temporary folder is written, and nothing is left: no process, no file, no job.

In tests, ask for the fixture `slurm_lab`: commands of SLURM, and whatever calls them, then find this cluster.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

__all__ = ["PACKAGES", "SlurmLab", "missing_daemons", "processes_of"]

PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client")
_COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo", "setpriv")
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"

_START_SECONDS = 15.0
_STOP_SECONDS = 10.0
_ATTEMPTS = 5
_UP = ("idle", "mixed", "allocated")

# Of these settings the following matter on one host without systemd and cgroups:
# - config_overrides: a node has the CPUs and the memory that are written here, whatever the host has.
# - proctrack/pgid: linuxproc leaves processes of cancelled jobs behind.
# - cred_expire: a requeued job waits for 6 s, not for 120 s.
# - TmpFS with %n: jobs of different nodes must not share a folder, or PMIx fails between them.
# - the scheduler's parameters: a job starts at once, not after seconds.
_CONFIGURATION = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={munge},cred_expire=5
SlurmctldPort={port}
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmctldLogFile={folder}/log/slurmctld.log
StateSaveLocation={folder}/state
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmdLogFile={folder}/log/slurmd.%n.log
SlurmdSpoolDir={folder}/spool/%n
SlurmdParameters=config_overrides
TmpFS={folder}/tmp/%n
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1,sched_interval=5
ReturnToService=2
KillWait={kill_wait}
OverTimeLimit=0
MinJobAge=3600
NodeName=DEFAULT CPUs={cpus} RealMemory={memory}
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}]
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing_daemons() -> str:
    """Say what is missing, and what to do; an empty string if a laboratory can be started."""
    missing = [name for name in _COMMANDS if shutil.which(name, path=_PATH) is None]
    if not missing:
        return ""
    return (
        f"{', '.join(missing)} not found; on Debian, as root: "
        f"apt-get install --no-install-recommends {' '.join(PACKAGES)}"
    )


class SlurmLab:
    """One cluster.

    Parameters
    ----------
    nodes
        How many virtual nodes, named n1, n2 and so on.
    cpus
        CPUs of each, whatever this host has.
    memory
        Memory of each in MB; a job that asks for more is refused.
    kill_wait
        Seconds between SIGTERM and SIGKILL for a job that is cancelled or whose time is up.

    Attributes
    ----------
    folder
        Where all lies; logs are in ``log``.
    environment
        The variables that commands of SLURM need to find this cluster.
    """

    def __init__(self, nodes: int = 4, cpus: int = 4, memory: int = 64_000, kill_wait: int = 1) -> None:
        self.nodes = [f"n{number + 1}" for number in range(nodes)]
        self._cpus, self._memory, self._kill_wait = cpus, memory, kill_wait
        # Not below pytest's folders: the name of a socket may have 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-lab-"))
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _PATH}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    # The cluster

    def start(self) -> None:
        """Start all daemons, and wait until every node is up."""
        for name in ("log", "run", "state", "spool", "tmp"):
            (self.folder / name).mkdir()
        for node in self.nodes:
            (self.folder / "spool" / node).mkdir()
            (self.folder / "tmp" / node).mkdir()
        try:
            self._start_munge()
            for attempt in range(_ATTEMPTS):
                self._configure()
                self._launch("slurmctld", "slurmctld", "-D", "-i")
                # A slurmd that comes before it tries again after a second.
                self._await("slurmctld", lambda: _answers(self._port))
                for node in self.nodes:
                    self._launch(node, "slurmd", "-D", "-N", node)
                if self._comes_up():
                    return
                if attempt + 1 == _ATTEMPTS or not self._port_was_taken():
                    raise RuntimeError(f"SLURM does not start:\n{self.logs()}")
                self._end([*self.nodes, "slurmctld"])
        except BaseException:
            self.stop()
            raise

    def _start_munge(self) -> None:
        run = self.folder / "run"
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        self._munge = run / "munge.socket"
        self._launch(
            "munged", "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={self._munge}",
            f"--pid-file={run}/munged.pid", f"--log-file={self.folder}/log/munged.log",
            f"--seed-file={run}/munge.seed", "--num-threads=2",
        )  # fmt: skip
        self._await("munged", self._munge.exists)

    def _await(self, label: str, ready: Callable[[], bool]) -> None:
        """Wait until a daemon is ready, or has ended."""
        end = time.monotonic() + _START_SECONDS
        while not ready() and self._daemons[label].poll() is None and time.monotonic() < end:
            time.sleep(0.01)

    def _configure(self) -> None:
        count = len(self.nodes)
        first = self._port = _free_ports(count + 1)
        text = _CONFIGURATION.format(
            host=socket.gethostname().partition(".")[0],
            user=getpass.getuser(),
            munge=self._munge,
            folder=self.folder,
            port=first,
            first=first + 1,
            last=first + count,
            nodes=count,
            cpus=self._cpus,
            memory=self._memory,
            kill_wait=self._kill_wait,
        )
        Path(self.environment["SLURM_CONF"]).write_text(text)

    def _launch(self, label: str, *command: str) -> None:
        with (self.folder / "log" / f"{label}.out").open("ab") as out:
            self._daemons[label] = subprocess.Popen(
                # Whoever started the cluster may be killed.
                ["setpriv", "--pdeathsig", "TERM", "--", *command],
                env=_without_slurm() | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is for those who use the cluster
            )

    def _comes_up(self) -> bool:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            if any(process.poll() is not None for process in self._daemons.values()):
                return False
            if all(state in _UP for state in self.node_states().values()):
                return True
            time.sleep(0.02)
        return False

    def _port_was_taken(self) -> bool:
        logs = self.logs()
        return "already in use" in logs or "Unable to bind" in logs

    def stop(self) -> None:
        """End all jobs and all daemons, and remove the folder."""
        controller = self._daemons.get("slurmctld")
        if controller is not None and controller.poll() is None:
            self._end_jobs()
        self._end([*self.nodes, "slurmctld", "munged"])
        # A job that ignored all signals, one that was just being started, or a daemon's helper.
        end = time.monotonic() + _STOP_SECONDS
        while (left := processes_of(self.folder)) and time.monotonic() < end:
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(0.05)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end_jobs(self) -> None:
        with contextlib.suppress(subprocess.SubprocessError, RuntimeError):
            self.run("scancel", "--full", f"--user={getpass.getuser()}", check=False)
            end = time.monotonic() + self._kill_wait + _STOP_SECONDS
            while self.jobs() and time.monotonic() < end:
                time.sleep(0.02)

    def _end(self, labels: Sequence[str]) -> None:
        """End daemons, all at the same time: a slurmd takes two seconds."""
        daemons = [self._daemons.pop(label) for label in labels if label in self._daemons]
        for daemon in daemons:
            daemon.terminate()
        end = time.monotonic() + _STOP_SECONDS
        for daemon in daemons:
            try:
                daemon.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def __enter__(self) -> SlurmLab:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # What is asked of it

    def run(self, *command: str, check: bool = True, seconds: float = 30.0) -> str:
        """Run a command of SLURM here and return what it printed."""
        done = subprocess.run(
            command,
            env=_without_slurm() | self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def jobs(self, *, ended: bool = False) -> dict[str, str]:
        """Return the states of all jobs by their number, without those that have ended unless asked."""
        words = ("--states=all",) if ended else ()
        lines = self.run("squeue", "--noheader", "--format=%A %T", *words).splitlines()
        return dict(line.split(maxsplit=1) for line in lines if line.strip())

    def node_states(self) -> dict[str, str]:
        """Return the state of each node; unknown while the controller does not answer."""
        lines = self.run("sinfo", "--noheader", "--Node", "--format=%N %T", check=False).splitlines()
        found = dict(line.split(maxsplit=1) for line in lines if line.strip())
        return {node: found.get(node, "unknown").rstrip("*~#!%$@+^-") for node in self.nodes}

    def drain(self, node: str) -> None:
        """Let a node take no further job; those that run there go on."""
        self.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")

    def resume(self, node: str) -> None:
        """Let a drained node take jobs again."""
        self.run("scontrol", "update", f"NodeName={node}", "State=RESUME")

    def stop_controller(self) -> None:
        """End slurmctld; jobs that run go on, and no command gets an answer.

        It saves its state first: killed within five seconds of a change it would come back with an old one.
        """
        self._end(["slurmctld"])

    def start_controller(self) -> None:
        """Start slurmctld again, with the state it had."""
        self._launch("slurmctld", "slurmctld", "-D")
        if not self._comes_up():
            raise RuntimeError(f"slurmctld does not come back:\n{self.logs()}")

    def logs(self) -> str:
        """Return the last lines of every log."""
        texts = []
        for path in sorted((self.folder / "log").iterdir()):
            lines = path.read_text(errors="replace").splitlines()[-8:]
            texts += [f"{path.name}: {line}" for line in lines]
        return "\n".join(texts)


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return every living process of the cluster in this folder: daemons, their helpers, and jobs."""
    mark = str(folder / "slurm.conf")
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get("SLURM_CONF") == mark
            if ours and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue  # another user's, or gone meanwhile
    return found


def _without_slurm() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}


def _free_ports(count: int) -> int:
    """Return the first of so many ports in a row that nobody uses at the moment."""
    chance = random.SystemRandom()
    while True:
        first = chance.randrange(20_000, 32_000)  # below those that the kernel hands out
        if all(_is_free(first + offset) for offset in range(count)):
            return first


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def main(words: Sequence[str] | None = None) -> int:
    """Run a command beside a cluster; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nodes", type=int, default=4, help="virtual nodes (4)")
    parser.add_argument("--cpus", type=int, default=4, help="CPUs of each (4)")
    parser.add_argument("--memory", type=int, default=64_000, help="MB of each (64000)")
    parser.add_argument("command", nargs="+", help="what to run, after --")
    given = parser.parse_args(words)
    if missing := missing_daemons():
        print(missing, file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with SlurmLab(given.nodes, given.cpus, given.memory) as lab:
        done = subprocess.run(given.command, env=_without_slurm() | lab.environment, check=False)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
