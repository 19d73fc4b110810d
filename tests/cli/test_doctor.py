"""The doctor, with what is really broken: folders, locks, names, limits; never a pretence of it."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from cli_helpers import environment, one_sentence

import parallactic as plx
from parallactic.backend import Check
from parallactic.cli.doctor_host import check_host, missing_of_extras
from parallactic.cli.doctor_tasks import measure, memory_limit
from parallactic.cli.doctor_workers import examine
from surroundings import in_private, private_is_allowed

Report = dict[str, dict[str, Any]]

#: Flags of unshare(2).
NEW_MOUNTS, NEW_UTS, NEW_USER, NEW_NET = 0x00020000, 0x04000000, 0x10000000, 0x40000000


def by_name(checks: Sequence[Check] | list[dict[str, Any]]) -> Report:
    """Return checks as a table; the first of a name counts."""
    found: Report = {}
    for check in checks:
        entry = check if isinstance(check, dict) else {key: getattr(check, key) for key in Check.__slots__}
        found.setdefault(entry["name"], entry)
    return found


def doctor(
    folder: Path,
    *words: str,
    prefix: Sequence[str] = (),
    python: Sequence[str] = (sys.executable,),
    **env: str,
) -> tuple[int, Report]:
    """Run the command and return its exit code and what it found."""
    done = subprocess.run(
        [*prefix, *python, "-m", "parallactic", "doctor", "--json", *words],
        cwd=folder,
        env=environment(folder, env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    content = json.loads(done.stdout)
    assert sum(content["counts"].values()) == len(content["checks"])
    return done.returncode, by_name(content["checks"])


def private(flags: int) -> None:
    """Give this process a part of the system for itself."""
    if os.geteuid() != 0:
        flags |= NEW_USER
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def mount(kind: str, place: str, flags: int = 0) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    private_recursive = 1 << 14 | 1 << 18
    libc.mount(b"none", b"/", None, private_recursive, None)
    if libc.mount(kind.encode(), place.encode(), kind.encode(), flags, None) != 0:
        raise OSError(ctypes.get_errno(), "mount")


def hide_folder(place: str, worker: int) -> None:
    """Initializer of a worker: an empty folder lies over this one, as on a host without the shared disk."""
    if plx.worker().id == worker:
        private(NEW_MOUNTS)
        mount("tmpfs", place)


def rename_host(name: str) -> None:
    """Initializer of a worker: the host has another name, which no name server knows."""
    private(NEW_UTS)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.sethostname(name.encode(), len(name)) != 0:
        raise OSError(ctypes.get_errno(), "sethostname")


def cut_network() -> None:
    """Initializer of a worker: its network has no way out."""
    private(NEW_NET)


needs_private = pytest.mark.skipif(
    not private_is_allowed(), reason="this container lets nobody have mounts of his own (unshare)"
)


def look(folder: Path, *, initializer: Callable[..., None], initargs: tuple[Any, ...] = ()) -> Report:
    """Examine two workers that were put into other surroundings."""
    with plx.Executor("multiprocessing", workers=2, initializer=initializer, initargs=initargs) as ex:
        host = {**measure(), "name": os.uname().nodename}
        return by_name(list(examine(ex, folder, 30.0, host)))


def test_a_machine_in_order(command, tmp_path: Path) -> None:
    done = command("doctor", "--workers", "2", "--folder", tmp_path)
    assert done.returncode == 0, done.stdout
    for name in (
        "Python",
        "extras",
        "workers",
        "versions",
        "host names",
        "messages",
        "folder",
        "locks",
        "ports",
    ):
        assert f"│ {name} " in done.stdout, name
    assert "0 failures" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert not list(tmp_path.iterdir()), "the doctor leaves nothing in the folder"


@pytest.mark.parametrize("backend", ["serial", "multiprocessing"])
def test_json_names_backend_and_states(backend: str, tmp_path: Path) -> None:
    code, found = doctor(tmp_path, "--backend", backend)
    assert code == 0
    assert found["backend"]["found"].startswith(f"{backend}: ")
    assert all(check["state"] in ("ok", "warning") for check in found.values())
    assert all(check["advice"] for check in found.values() if check["state"] != "ok")
    assert found["locks"]["state"] == "ok"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--backend", "multiprocesing"), "did you mean 'multiprocessing'?"),
        (("--folder", "nowhere"), "there is no folder nowhere"),
    ],
)
def test_what_cannot_be_is_one_sentence(command, words: tuple[str, ...], expected: str) -> None:
    done = command("doctor", *words)
    assert done.returncode == 2
    assert expected in one_sentence(done)


def test_a_wrong_setting_is_one_sentence(command) -> None:
    done = command("doctor", env={"PARALLACTIC_MULTIPROCESSING__THREDS": "2"})
    assert done.returncode == 2
    assert "did you mean 'threads'?" in one_sentence(done)


def on_a_disk(folder: Path, options: str) -> tuple[int, Report]:
    """Ask the doctor about a folder of another file system, in a private view of them."""
    place = folder / "disk"
    place.mkdir()
    return doctor(folder, "--folder", str(place), prefix=in_private(f"mount -t tmpfs {options} none {place}"))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Mounted for reading alone; root may not write there either."""
    code, found = on_a_disk(tmp_path, "-o ro")
    assert code == 1
    assert found["folder"]["state"] == "failure"
    assert "cannot be written by this process: Read-only file system" in found["folder"]["found"]
    assert "--folder" in found["folder"]["advice"]


def test_a_folder_in_memory(tmp_path: Path) -> None:
    code, found = on_a_disk(tmp_path, "")
    assert code == 0
    assert found["folder"]["state"] == "warning"
    assert "tmpfs" in found["folder"]["found"]
    assert "it lies in memory" in found["folder"]["found"]


@needs_private
def test_a_folder_that_one_worker_does_not_see(tmp_path: Path) -> None:
    begun = time.monotonic()
    found = look(tmp_path, initializer=hide_folder, initargs=(str(tmp_path), 1))
    assert found["folder"]["state"] == "failure"
    assert "worker 1 on" in found["folder"]["found"]
    assert "worker 0 on" not in found["folder"]["found"]
    assert "not there" in found["folder"]["found"]
    assert "all hosts mount" in found["folder"]["advice"]
    assert "not tried" in found["locks"]["found"]
    assert time.monotonic() - begun < 30
    assert not list(tmp_path.iterdir())


def test_locks_that_a_system_refuses(tmp_path: Path) -> None:
    """The kernel itself refuses fcntl locks, as a file system without a lock service does."""
    prefix = [sys.executable, str(Path(__file__).with_name("without_locks.py"))]
    code, found = doctor(tmp_path, "--workers", "2", "--backend", "serial", prefix=prefix)
    assert found["locks"]["state"] == "failure"
    assert "ENOLCK" in found["locks"]["found"]
    assert "casacore cannot lock" in found["locks"]["advice"]
    assert code == 1


@needs_private
def test_a_host_whose_name_nobody_knows(tmp_path: Path) -> None:
    found = look(tmp_path, initializer=rename_host, initargs=("nowhere-7.invalid",))
    assert "nowhere-7.invalid" in found["workers"]["found"]
    assert found["host names"]["state"] == "failure"
    assert "cannot resolve 'nowhere-7.invalid'" in found["host names"]["found"]
    assert "/etc/hosts" in found["host names"]["advice"]


@needs_private
def test_workers_without_a_way_back(tmp_path: Path) -> None:
    found = look(tmp_path, initializer=cut_network)
    assert found["ports"]["state"] == "warning"
    assert "reach no port" in found["ports"]["found"]
    assert "nreachable" in found["ports"]["found"]


def test_workers_that_cannot_start(tmp_path: Path) -> None:
    """Sockets in a folder whose path is too long for the system."""
    place = tmp_path / ("x" * 100)
    place.mkdir()
    code, found = doctor(tmp_path, TMPDIR=str(place))
    assert code == 1
    assert "TMPDIR" in " ".join(check["advice"] for check in found.values())


def test_little_of_everything(tmp_path: Path) -> None:
    prefix = ["sh", "-c", 'ulimit -n 256; exec "$@"', "sh"]
    _, found = doctor(tmp_path, "--workers", "5", prefix=prefix)
    assert found["open files"]["state"] == "warning"
    assert "256" in found["open files"]["found"]
    assert "ulimit -n" in found["open files"]["advice"]
    assert found["threads"]["state"] == ("warning" if (os.cpu_count() or 1) < 5 else "ok")
    few = by_name(
        list(check_host({**measure(), "processes": 500, "shared_memory": (64_000_000, 64_000_000)}))
    )
    assert "500" in few["processes"]["found"]
    assert "--shm-size" in few["shared memory"]["advice"], "a container's 64 MB"


def test_a_limit_of_memory_is_the_least_of_all_cgroups(tmp_path: Path) -> None:
    entries, root = tmp_path / "cgroup", tmp_path / "fs"
    inner = root / "slurm" / "job_7"
    inner.mkdir(parents=True)
    entries.write_text("0::/slurm/job_7\n")
    assert memory_limit(root, entries) is None
    (inner / "memory.max").write_text("max\n")
    assert memory_limit(root, entries) is None
    (root / "slurm" / "memory.max").write_text("8000000000\n")
    assert memory_limit(root, entries) == 8_000_000_000
    (inner / "memory.max").write_text("2000000000\n")
    assert memory_limit(root, entries) == 2_000_000_000
    # Version 1: a tree of its own for memory, and a number near 2^63 for no limit.
    entries.write_text("5:cpu,cpuacct:/a\n4:memory:/a\n")
    (root / "memory" / "a").mkdir(parents=True)
    (root / "memory" / "a" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert memory_limit(root, entries) is None
    (root / "memory" / "a" / "memory.limit_in_bytes").write_text("3000000000\n")
    assert memory_limit(root, entries) == 3_000_000_000


def test_memory_is_shared_out_among_workers() -> None:
    measured = {
        **measure(),
        "memory": 64_000_000_000,
        "available": 60_000_000_000,
        "memory_limit": 4_000_000_000,
    }
    fine = by_name(list(check_host(measured, workers=4)))["memory"]
    assert fine["state"] == "ok"
    assert "limited to 4.0 GB" in fine["found"]
    assert "1.0 GB for each worker" in fine["found"]
    assert by_name(list(check_host(measured, workers=5)))["memory"]["state"] == "warning"


def test_extras_are_those_of_the_distribution() -> None:
    assert set(missing_of_extras()) == {"tasks", "mpi", "dask", "slurm", "casa"}


def test_packages_that_are_not_there(tmp_path: Path) -> None:
    """An environment with the library and what it needs, without any extra."""
    code = (
        "import importlib.metadata as m, json\n"
        "from parallactic.cli import doctor_host as d\n"
        "print(json.dumps([[c.name, c.state, c.found, c.advice] for c in d.check_python()]))\n"
    )
    bare = tmp_path / "bare"
    bare.mkdir()
    paths = [str(Path(plx.__file__).parent.parent)]
    (bare / "parallactic-0.1.0.dist-info").mkdir()
    (bare / "parallactic-0.1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: parallactic\nVersion: 0.1.0\n"
        "Provides-Extra: tasks\nRequires-Dist: a-package-that-nobody-wrote>=1; extra == 'tasks'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment(tmp_path), "PYTHONPATH": os.pathsep.join([str(bare), *paths])},
        capture_output=True,
        text=True,
        check=True,
    )
    found = {name: (state, text, advice) for name, state, text, advice in json.loads(done.stdout)}
    state, text, advice = found["extras"]
    assert state == "warning"
    assert "a-package-that-nobody-wrote" in text
    assert "parallactic[tasks]" in advice
