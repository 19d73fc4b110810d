"""The link between two real ranks: everything arrives whole, in order, and nothing stays open."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from parallactic.testing.engine import require
from parallactic.worker.ranks import without_launcher

pytest.importorskip("mpi4py", reason="the extra [mpi] is not installed")

PROGRAM = Path(__file__).with_name("mpi_link_program.py")
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
MORE = {"PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}


@pytest.fixture(scope="module")
def found() -> Any:
    """What two ranks have found; they are started once."""
    require("mpi")
    own = {k: v for k, v in without_launcher(os.environ).items() if not k.startswith("PARALLACTIC_")}
    done = subprocess.run(
        [f"{sysconfig.get_path('scripts')}/mpiexec", "-n", "2", sys.executable, PROGRAM],
        env=own | AS_ROOT | MORE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("size", [0, 1, 1000, 65_535, 65_536, 65_537, 1 << 24, (1 << 24) + 1, 40_000_000])
def test_a_buffer_arrives_whole(found: Any, size: int) -> None:
    """In the head of a message, behind it, in one piece, in several."""
    assert found["sizes"][str(size)]


def test_small_and_large_buffers_of_one_message_keep_their_places(found: Any) -> None:
    assert found["several"]


def test_messages_arrive_in_the_order_they_were_posted(found: Any) -> None:
    assert found["order"] == list(range(300))


@pytest.mark.parametrize("how", ["reference", "bytes"])
def test_shared_memory_arrives(found: Any, how: str) -> None:
    """By reference it is the same memory, there and back; as bytes it is a copy."""
    same = how == "reference"
    assert found[how]["right"] == [[True, same]] * 4
    assert found[how]["together"], "with buffers, and more than one"
    assert found[how]["order"]


@pytest.mark.parametrize("how", ["reference", "bytes"])
def test_no_descriptor_stays_open(found: Any, how: str) -> None:
    """At either end, after 200 messages there and back."""
    assert found[how]["after"] == found[how]["before"]


def test_a_link_that_is_given_up_closes_what_it_held(found: Any) -> None:
    assert found["given up"] == 2


def test_a_small_message_does_not_wait_for_anything(found: Any) -> None:
    """There and back, where both ends sleep 20 microseconds between two looks."""
    assert found["latency"] < 2e-3
