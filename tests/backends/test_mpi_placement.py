"""Where servers of MPI are spawned: what a hostfile says, and how many each host gets."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from parallactic.errors import InvalidSpec
from parallactic.worker.namespace import hostname
from parallactic_backends.mpi.placement import Host, is_here, place, read_hosts

HEAD = "# written by the queue\n\n"


@pytest.fixture(autouse=True)
def _no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PBS_NODEFILE", raising=False)


def read(folder: Path, text: str) -> list[Host]:
    path = folder / "hosts"
    path.write_text(text)
    return read_hosts(path)


class TestReading:
    def test_no_file_names_no_host(self) -> None:
        assert read_hosts(None) == []

    @pytest.mark.parametrize(
        ("line", "host"),
        [
            ("node-1", Host("node-1", 1, None)),
            ("node-1 slots=4", Host("node-1", 4, None)),
            ("node-1\tslots=4 max-slots=6", Host("node-1", 4, 6)),
            ("node-1 max_slots=6 slots=4", Host("node-1", 4, 6)),
            ("node-1 max-slots=2", Host("node-1", 1, 2)),
            ("  node-1   slots = 4   # the large one, slots=8", Host("node-1", 4, None)),
            ("10.0.0.7 slots=02", Host("10.0.0.7", 2, None)),
        ],
    )
    def test_a_line(self, tmp_path: Path, line: str, host: Host) -> None:
        assert read(tmp_path, f"{HEAD}{line}\n") == [host]

    def test_hosts_keep_the_order_of_the_file(self, tmp_path: Path) -> None:
        names = ["c", "a", "d", "b"]
        assert [host.name for host in read(tmp_path, "\n".join(names))] == names

    def test_the_lines_of_a_host_add_up(self, tmp_path: Path) -> None:
        """One that sets no bound has none, whatever its other lines say."""
        text = "a slots=2 max-slots=3\nb slots=1\na slots=3 max-slots=5\nb slots=1 max-slots=1\n"
        assert read(tmp_path, text) == [Host("a", 5, 8), Host("b", 2, None)]

    def test_a_job_of_pbs_names_its_hosts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Once for every processor; a hostfile that is given goes first."""
        nodes = tmp_path / "nodes"
        nodes.write_text("n1\nn1\nn2\nn1\nn2\n")
        monkeypatch.setenv("PBS_NODEFILE", str(nodes))
        assert read_hosts(None) == [Host("n1", 3), Host("n2", 2)]
        assert read(tmp_path, "own\n") == [Host("own")]
        monkeypatch.setenv("PBS_NODEFILE", "")
        assert read_hosts(None) == []

    @pytest.mark.parametrize(
        ("line", "sentence"),
        [
            ("a slots=0", "slots=0 must be a number of at least 1."),
            ("a slots=many", "slots=many must be a number of at least 1."),
            ("a slots=-1", "slots=-1 must be a number of at least 1."),
            ("a slots=1.5", "slots=1.5 must be a number of at least 1."),
            ("a slots=\u00b2", "slots=\u00b2 must be a number of at least 1."),
            ("a max-slots=0", "max-slots=0 must be a number of at least 1."),
            ("a slots=4 max-slots=2", "max-slots=2 is less than slots=4."),
            ("a b", "'a b' is not understood; a line is: HOST slots=N max-slots=M"),
            ("slots=2", "'slots=2' is not understood; a line is: HOST slots=N max-slots=M"),
            ("a slots=2 cpu=3", "'a slots=2 cpu=3' is not understood"),
            ("a maxslots=2", "'a maxslots=2' is not understood"),
        ],
    )
    def test_a_line_that_is_wrong_is_named(self, tmp_path: Path, line: str, sentence: str) -> None:
        """By its number in the file, comments and empty lines counted."""
        with pytest.raises(InvalidSpec, match=re.escape(f"hosts, line 4: {sentence}")):
            read(tmp_path, f"{HEAD}first slots=2\n{line}\nlast\n")

    def test_a_file_without_hosts(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidSpec, match=r"the hostfile '.*hosts' names no host\."):
            read(tmp_path, HEAD)

    def test_a_file_that_cannot_be_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(InvalidSpec, match=r"absent' cannot be read: .*No such file"):
            read_hosts(tmp_path / "absent")
        with pytest.raises(InvalidSpec, match=r"cannot be read: .*Is a directory"):
            read_hosts(tmp_path)
        binary = tmp_path / "binary"
        binary.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(InvalidSpec, match=r"binary' cannot be read: .*utf-8"):
            read_hosts(binary)
        monkeypatch.setenv("PBS_NODEFILE", str(tmp_path / "gone"))
        with pytest.raises(InvalidSpec, match=r"gone' cannot be read"):
            read_hosts(None)


class TestPlaces:
    HOSTS = (Host("a", 2), Host("b", 1, 2), Host("c", 3, 3))

    def test_every_slot_is_used_if_no_number_is_given(self) -> None:
        assert place([*self.HOSTS], None) == ["a", "a", "b", "c", "c", "c"]

    @pytest.mark.parametrize("workers", range(1, 7))
    def test_slots_are_filled_in_the_order_of_the_file(self, workers: int) -> None:
        assert place([*self.HOSTS], workers) == ["a", "a", "b", "c", "c", "c"][:workers]

    def test_more_than_the_slots_go_to_each_host_in_turn(self) -> None:
        """As long as its bound lets them."""
        full = ["a", "a", "b", "c", "c", "c"]
        assert place([*self.HOSTS], 7) == [*full, "a"]
        assert place([*self.HOSTS], 8) == [*full, "a", "b"]
        assert place([*self.HOSTS], 10) == [*full, "a", "b", "a", "a"]

    def test_a_round_that_is_not_full_begins_with_the_first(self) -> None:
        hosts = [Host("a"), Host("b"), Host("c")]
        assert place(hosts, 8) == ["a", "b", "c", "a", "b", "c", "a", "b"]

    @pytest.mark.parametrize("workers", range(1, 13))
    def test_no_host_gets_more_than_its_bound(self, workers: int) -> None:
        hosts = [Host("a", 1, 6), Host("b", 2, 2), Host("c", 3, 4)]
        placed = place(hosts, workers)
        assert len(placed) == workers
        assert all(Counter(placed)[host.name] <= (host.most or workers) for host in hosts)

    def test_more_than_all_bounds_together(self) -> None:
        hosts = [Host("a", 1, 2), Host("b", 1, 1)]
        assert place(hosts, 3) == ["a", "b", "a"]
        with pytest.raises(
            InvalidSpec, match=r"workers=4 do not fit: the hostfile has room for 3; raise its"
        ):
            place(hosts, 4)


def test_this_host_is_known_by_all_its_names() -> None:
    for name in ("localhost", "127.0.0.1", "::1", hostname(), hostname().partition(".")[0]):
        assert is_here(name)
    assert not is_here("nowhere-7.invalid")
