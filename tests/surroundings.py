"""Surroundings that are really broken, or really another host's, for the tests of the doctor."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

PRIVATE = ["unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",))]
"""Before a command: it gets a view of the file systems of its own."""


@cache
def private_is_allowed() -> bool:
    return subprocess.run([*PRIVATE, "--uts", "true"], capture_output=True, check=False).returncode == 0


def in_private(first: str) -> list[str]:
    """Return what stands before a command so that shell lines run first, in a private view of the system."""
    if not private_is_allowed():
        pytest.skip("this container lets nobody have mounts of his own (unshare --mount --uts)")
    return [*PRIVATE, "sh", "-c", f'{first} && exec "$@"', "sh"]


def bare_environment(folder: Path) -> Path:
    """Make an environment that has every package of this one, and none of the libraries beside them."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "all.pth").write_text("\n".join(path for path in sys.path if path and Path(path).is_dir()))
    return folder


def mpich_environment(folder: Path) -> Path:
    """Make an environment as this one, but with MPICH in place of Open MPI."""
    bare_environment(folder)
    python = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", f"--python={python}", "install", "--quiet", "--no-deps", "mpich"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        if os.environ.get("CI") == "true":
            pytest.fail(f"the wheel of MPICH cannot be had: {done.stderr}")
        pytest.skip(f"the wheel of MPICH cannot be had: {done.stderr.splitlines()[-1]}")
    return folder


_AGENT = """\
#!/bin/sh
# In place of ssh: {agent} HOST COMMAND... runs a command where the host has that name and other mounts.
host=$1
shift
exec unshare --uts --mount sh -c 'hostname "$0"; {mounts}exec sh -c "$*"' "$host" "$@"
"""


_OWN_TMP = (
    "mount --bind {folder} /mnt && mount -t tmpfs none /tmp && mkdir -p {folder} && "
    "mount --bind /mnt {folder} && umount /mnt; "
)
"""A host has a /tmp of its own; the folder of the test is what all share."""


def needed_from_tmp() -> bool:
    """Return whether Python or its packages lie in /tmp, which then cannot be another one."""
    return any(Path(path).is_relative_to("/tmp") for path in (sys.prefix, *sys.path) if path)


def make_hosts(
    folder: Path, names: Sequence[str], hidden: Path | None = None
) -> tuple[list[str], dict[str, str]]:
    """Make hosts of this one: each has its own name, and does not see the folder `hidden`.

    Returns
    -------
    tuple
        What stands before a command that is to know them, and the variables that let Open MPI reach them. The
        hostfile is ``hosts`` in `folder`.
    """
    agent, table = folder / "agent", folder / "etc-hosts"
    mounts = "" if needed_from_tmp() else _OWN_TMP.format(folder=folder)
    if hidden:
        mounts += f"mount -t tmpfs none {hidden}; "
    agent.write_text(_AGENT.format(agent=agent, mounts=mounts))
    agent.chmod(0o755)
    entries = Path("/etc/hosts").read_text(encoding="utf-8").rstrip("\n").splitlines()
    address = outer_address()
    table.write_text("\n".join([*entries, *(f"{address} {name}" for name in names)]) + "\n")
    (folder / "hosts").write_text("".join(f"{name} slots=1\n" for name in names))
    return in_private(f"mount --bind {table} /etc/hosts"), {"PRTE_MCA_plm_ssh_agent": str(agent)}


def outer_address() -> str:
    from parallactic.cli.doctor_tasks import addresses_of

    return addresses_of()[0][1]


def left_over(mark: str) -> Iterator[int]:
    """Yield the processes whose variable PLX_MARK is this: whoever sets it hands it to all they start."""
    import psutil

    for process in psutil.process_iter():
        try:
            if process.environ().get("PLX_MARK") == mark:
                yield process.pid
        except psutil.Error:
            continue  # not ours to look into, or gone meanwhile
