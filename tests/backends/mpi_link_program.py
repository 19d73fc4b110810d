"""A program of two ranks that talk through a link; rank 0 prints what it measured, as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mpi4py import MPI

from parallactic.wire.framing import Message
from parallactic_backends.mpi.link import MpiLink
from parallactic_backends.relay.link import Way

MODE, ECHO, END = 1, 2, 3
LARGE = 40_000_000
INLINE = 1 << 16


def pattern(size: int, seed: int) -> bytearray:
    """Return bytes that are different everywhere, so that pieces in a wrong order are seen."""
    import numpy as np

    return bytearray(np.random.default_rng(seed).bytes(size))


def memory(content: bytes | bytearray) -> int:
    descriptor = os.memfd_create("plx-test")
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    return descriptor


def contents(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    parts = []
    while (done := sum(map(len, parts))) < size:
        parts.append(os.pread(descriptor, size - done, done))
    return b"".join(parts)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def receive(link: MpiLink, number: int, each: Callable[[Message], None] = lambda _: None) -> list[Message]:
    """Wait for so many messages."""
    found: list[Message] = []
    end = time.monotonic() + 30
    while len(found) < number:
        arrivals = link.progress()
        for way, message in arrivals:
            assert way is Way.WORKER
            found.append(message)
            each(message)
        if not arrivals:
            time.sleep(20e-6)
        if time.monotonic() > end:
            raise TimeoutError(f"{len(found)} of {number} messages")
    return found


def settle(link: MpiLink) -> None:
    """Wait until nothing is on its way, and what was lent has come back."""
    end = time.monotonic() + 0.2
    while link.busy or time.monotonic() < end:
        link.progress()
        time.sleep(1e-4)


def serve(link: MpiLink) -> None:
    """Send everything back: buffers, descriptors; report open descriptors when asked for the mode."""
    on = True
    while on:
        for _, message in link.progress():
            if message.kind == MODE:
                link.shares_memory = message.control == b"share"
                settle(link)
                link.post(Way.WORKER, MODE, str(open_descriptors()).encode())
            elif message.kind == END:
                on = False
            else:
                link.post(Way.WORKER, *message)
        time.sleep(20e-6)


def ask(link: MpiLink, buffers: Sequence[Any] = (), fds: Sequence[int] = (), control: bytes = b"") -> Message:
    link.post(Way.WORKER, ECHO, control, buffers, fds)
    return receive(link, 1)[0]


def mode(link: MpiLink, *, share: bool) -> tuple[int, int]:
    """Choose how memory travels at both ends; return the open descriptors of both."""
    link.post(Way.WORKER, MODE, b"share" if share else b"bytes")
    link.shares_memory = share
    there = int(receive(link, 1)[0].control)
    settle(link)
    return open_descriptors(), there


def sizes(link: MpiLink) -> dict[str, Any]:
    found = {}
    for size in (0, 1, 1000, INLINE - 1, INLINE, INLINE + 1, 1 << 24, (1 << 24) + 1, LARGE):
        sent = pattern(size, size)
        (back,) = ask(link, [sent], control=str(size).encode()).buffers
        found[str(size)] = back == sent
    return found


def several(link: MpiLink) -> bool:
    """Small and large buffers of one message keep their places."""
    sent = [pattern(size, number) for number, size in enumerate((10, 3_000_000, 0, 70_000, 65_535, LARGE, 1))]
    return [bytes(part) for part in ask(link, sent).buffers] == [bytes(part) for part in sent]


def order(link: MpiLink) -> list[int]:
    """Messages of all sizes, posted at once, arrive as they were posted."""
    for number in range(300):
        size = (0, 50, 100_000, 1_000_000)[number % 4] if number % 50 else 17_000_000
        link.post(Way.WORKER, ECHO, str(number).encode(), [bytes([number % 256]) * size])
    numbers = []

    def check(message: Message) -> None:
        number = int(message.control)
        (body,) = message.buffers
        whole = body == bytes([number % 256]) * len(body)
        numbers.append(number if whole else -1)

    receive(link, 300, check)
    return numbers


def memories(link: MpiLink, *, share: bool) -> dict[str, Any]:
    """Send shared memory there and back, often; count descriptors before and after."""
    before = mode(link, share=share)
    right = []
    for size in (0, 1, 100_000, LARGE):
        sent = pattern(size, size)
        own = memory(sent)
        inode = os.fstat(own).st_ino
        (back,) = ask(link, fds=[own], control=b"one").fds
        right.append([contents(back) == sent, os.fstat(back).st_ino == inode])
        os.close(back)
    two = [memory(b"first"), memory(b"second" * 20_000)]
    back_two = ask(link, [b"small", pattern(200_000, 3)], two)
    together = [contents(fd) for fd in back_two.fds] == [b"first", b"second" * 20_000]
    together &= back_two.buffers[0] == b"small" and back_two.buffers[1] == pattern(200_000, 3)
    for fd in back_two.fds:
        os.close(fd)
    for number in range(200):
        link.post(Way.WORKER, ECHO, b"", [b"x" * number], [memory(b"%d" % number)])
    seen = []

    def check(message: Message) -> None:
        (fd,) = message.fds
        seen.append(int(contents(fd)))
        os.close(fd)

    receive(link, 200, check)
    after = mode(link, share=share)
    return {
        "right": right,
        "together": together,
        "order": seen == list(range(200)),
        "before": before,
        "after": after,
    }


def latency(link: MpiLink) -> float:
    """Return the median seconds of a small message there and back."""
    taken = []
    for _ in range(300):
        begin = time.perf_counter()
        ask(link, [b"1+1"])
        taken.append(time.perf_counter() - begin)
    return sorted(taken)[150]


def main() -> None:
    comm = MPI.COMM_WORLD
    link = MpiLink(MPI, comm, 1 - comm.rank)
    if comm.rank == 1:
        serve(link)
        settle(link)
        return
    found: dict[str, Any] = {}
    mode(link, share=False)
    found["sizes"] = sizes(link)
    found["several"] = several(link)
    found["order"] = order(link)
    found["bytes"] = memories(link, share=False)
    found["reference"] = memories(link, share=True)
    found["latency"] = latency(link)
    held = [memory(b"never sent"), memory(b"nor this")]
    alone = MpiLink(MPI, MPI.COMM_SELF, 0)
    before = open_descriptors()
    for fd in held:
        alone.post(Way.WORKER, ECHO, b"", (), [fd])
    alone.close()
    late = memory(b"nor what comes later")
    alone.post(Way.WORKER, ECHO, b"", (), [late])
    found["given up"] = before - open_descriptors()
    link.post(Way.WORKER, END)
    settle(link)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
