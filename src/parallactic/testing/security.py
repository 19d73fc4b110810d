"""Semantic 11, security: nobody without the key gets a word in."""

from __future__ import annotations

import errno
import os
import pickle
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from parallactic.executor import Executor
from parallactic.testing import tasks
from parallactic.testing.base import Contract, Start
from parallactic.testing.engine import Engine
from parallactic.testing.waiting import until
from parallactic.worker.ranks import launch

__all__ = ["SecurityContract"]


class Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return tasks.announce, (self.path,)


class SecurityContract(Contract):
    """Semantic 11: keys, sockets, and what a stranger can do."""

    def test_security_key_is_in_a_file_of_its_owner(self, start: Start, tmp_path: Path) -> None:
        """A file with mode 0600, a new key for every run, gone at the end."""
        keys = []
        for name in ("one", "two"):
            ex = start(run_dir=tmp_path / name)
            (key_file,) = (tmp_path / name).glob("key-*")
            mode = key_file.stat()
            assert stat.S_IMODE(mode.st_mode) == 0o600
            assert mode.st_uid == os.getuid()
            keys.append(key_file.read_bytes())
            ex.shutdown()
            assert not key_file.exists()
        assert keys[0] != keys[1]
        assert min(map(len, keys)) >= 32

    def test_security_run_folder_is_private(self, start: Start, tmp_path: Path) -> None:
        """Folder, journal and logs can be read by their owner alone."""
        ex = start(run_dir=tmp_path / "run")
        ex.submit(tasks.identity, 1).result(self.patience)
        for path in [tmp_path / "run", *(tmp_path / "run").iterdir()]:
            assert not path.stat().st_mode & 0o077, f"others may read {path.name}"

    def test_security_key_is_on_no_command_line_and_in_no_environment(
        self, engine: Engine, start: Start, tmp_path: Path
    ) -> None:
        """What other users of the host can see of a process does not hold the key."""
        before = _children()
        ex = start(run_dir=tmp_path / "run")
        (key_file,) = (tmp_path / "run").glob("key-*")
        key = key_file.read_bytes()
        processes = _processes(ex)
        assert bool(set(processes[1:]) - before) == engine.capabilities.isolation
        for process in processes:
            for name in ("cmdline", "environ"):
                content = Path(f"/proc/{process.pid}/{name}").read_bytes()
                assert key not in content
                assert key.hex().encode() not in content

    def test_security_sockets_are_on_one_interface(self, start: Start) -> None:
        """No listening socket of the run is bound to every interface."""
        before = _all_doors()
        ex = start()
        assert ex.submit(tasks.identity, 1).result(self.patience) == 1
        opened = {door for door in _doors(ex) - before if door[1][0] in ("0.0.0.0", "::")}
        assert not opened, f"listening on every interface: {opened}"

    def test_security_a_stranger_is_refused(self, engine: Engine, start: Start, tmp_path: Path) -> None:
        """Who connects without the key is hung up on, and nothing that they send is unpickled."""
        others = _all_doors()
        ex = start()
        trace = tmp_path / "trace"
        bomb = pickle.dumps(Bomb(str(trace)))
        doors = _doors(ex) - others
        assert bool(doors) == engine.capabilities.isolation, "an engine with processes has a door to knock at"
        for kind, address in doors:
            for message in (bomb, b"\x01" * 32 + bomb, bytes(10_000), b""):
                with socket.socket(kind, socket.SOCK_STREAM) as stranger:
                    stranger.settimeout(self.patience)
                    stranger.connect(address)
                    self._knock(stranger, message)
        assert not trace.exists(), "what a stranger sent was unpickled"
        assert ex.target("all").submit(tasks.identity, 1).result(self.patience) == [1] * self.workers
        assert {worker.epoch for worker in ex.status().workers} == {0}

    def _knock(self, stranger: socket.socket, message: bytes) -> None:
        """Send a message and read until the other end hangs up."""
        received = b""
        try:
            stranger.sendall(message)
            stranger.shutdown(socket.SHUT_WR)
            while part := stranger.recv(4096):
                received += part
        except OSError as error:
            # How it is told depends on when the other end hung up.
            assert error.errno in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN), error
            return
        assert len(received) <= 64, "a stranger was told more than a challenge"

    def test_security_a_silent_stranger_keeps_nobody_waiting(
        self, engine: Engine, start: Start, tmp_path: Path
    ) -> None:
        """Connections that say nothing neither delay work nor the replacement of a worker."""
        others = _all_doors()
        ex = start()
        strangers = []
        for kind, address in _doors(ex) - others:
            for _ in range(5):
                strangers.append(socket.socket(kind, socket.SOCK_STREAM))
                strangers[-1].connect(address)
        assert bool(strangers) == engine.capabilities.isolation
        try:
            self.replace(ex, 0, tmp_path)
            assert ex.target(0).submit(tasks.where).result(self.patience)[:2] == (0, 1)
            ex.shutdown()
        finally:
            for stranger in strangers:
                stranger.close()

    def test_security_off_is_only_by_asking(self, start: Start, tmp_path: Path) -> None:
        """With ``insecure=True`` there is no key, and everything else works."""
        ex = start(run_dir=tmp_path / "run", insecure=True)
        assert ex.submit(tasks.identity, 1).result(self.patience) == 1
        assert not list((tmp_path / "run").glob("key-*"))

    def test_security_existing_folder_of_another_mode_is_not_trusted(
        self, start: Start, tmp_path: Path
    ) -> None:
        """In a folder that others may read the key is still private."""
        folder = tmp_path / "open"
        folder.mkdir(mode=0o755)
        start(run_dir=folder)
        (key_file,) = folder.glob("key-*")
        assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
        journal = folder / "journal.jsonl"
        until(lambda: not journal.stat().st_mode & 0o077, self.patience, "the journal is private")


Door = tuple[socket.AddressFamily, Any]
"""An address that somebody listens on."""


def _processes(ex: Executor) -> list[psutil.Process]:
    """Return this process, those it started, and those of others in which its workers are served."""
    first = psutil.Process()
    own = [first, *first.parents()]
    found = _children()
    for worker in ex.status().workers:
        process: psutil.Process | None = psutil.Process(worker.pid)
        while process is not None and process not in own and process.pid != 1:
            found.add(process)
            process = process.parent()
    return [first, *(found - {first})]


def _children() -> set[psutil.Process]:
    """Return the processes that this one has started; in a job of a launcher, those of the whole job."""
    first = psutil.Process()
    parent = first.parent() if launch() is not None else None
    return set((parent or first).children(recursive=True))


def _doors(ex: Executor) -> set[Door]:
    """Return the addresses that the processes of the run listen on."""
    processes = _processes(ex)
    own = set().union(*map(_socket_inodes, processes))
    doors: set[Door] = {(socket.AF_UNIX, address) for inode, address in _unix_doors() if inode in own}
    for process in processes:
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                doors.add((connection.family, tuple(connection.laddr)))
    return doors


def _all_doors() -> set[Door]:
    """Return what anybody on this host listens on: what is there before a run is not the run's."""
    doors: set[Door] = {(socket.AF_UNIX, address) for _, address in _unix_doors()}
    for connection in psutil.net_connections("inet"):
        if connection.status == psutil.CONN_LISTEN:
            doors.add((connection.family, tuple(connection.laddr)))
    return doors


def _unix_doors() -> Iterator[tuple[str, str]]:
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split(maxsplit=7)
        listens = int(fields[3], 16) & 0x10000
        if listens and len(fields) == 8:
            yield fields[6], "\0" + fields[7][1:] if fields[7].startswith("@") else fields[7]


def _socket_inodes(process: psutil.Process) -> set[str]:
    found = set()
    for entry in os.scandir(f"/proc/{process.pid}/fd"):
        try:
            target = str(Path(entry.path).readlink())
        except OSError:
            continue  # closed meanwhile
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found
