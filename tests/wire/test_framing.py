"""Messages on a stream socket."""

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from parallactic.wire.framing import Channel


@pytest.fixture
def pair() -> Iterator[tuple[Channel, Channel]]:
    left, right = socket.socketpair()
    ends = Channel(left), Channel(right)
    yield ends
    for end in ends:
        end.close()


def receive(channel: Channel, count: int) -> list:
    messages: list = []
    while len(messages) < count:
        messages += channel.receive()
    return messages


def test_messages_arrive_whole_and_in_order(pair) -> None:
    one, other = pair
    for number in range(1000):
        one.queue(2, b"%d" % number)
    assert one.flush()
    assert [message.control for message in receive(other, 1000)] == [b"%d" % n for n in range(1000)]


def test_large_buffers_through_a_socket_that_blocks(pair) -> None:
    one, other = pair
    one.sock.setblocking(False)
    buffers = [os.urandom(3_000_000), b"", os.urandom(17)]
    one.queue(8, b"head", buffers)
    one.queue(8, b"next")
    reader: list = []
    thread = threading.Thread(target=lambda: reader.extend(receive(other, 2)))
    thread.start()
    while not one.flush():
        pass
    thread.join(20)
    assert [bytes(buffer) for buffer in reader[0].buffers] == buffers
    assert reader[1].control == b"next"


def test_byte_by_byte(pair) -> None:
    one, other = pair
    sink = Channel(socket.socketpair()[0])
    sink.queue(3, b"abc", [b"xyz"])
    data = b"".join(bytes(part) for part in sink._out[0][0])
    sink.close()
    got = []
    for byte in data:
        one.sock.send(bytes([byte]))
        got += other.receive()
    assert [(m.kind, m.control, [bytes(b) for b in m.buffers]) for m in got] == [(3, b"abc", [b"xyz"])]


def test_descriptors_travel_with_their_message(pair) -> None:
    one, other = pair
    read, write = os.pipe()
    one.send(1, b"plain")
    one.send(2, b"with", (), [write])
    os.close(write)
    plain, carrying = receive(other, 2)
    assert plain.fds == ()
    os.write(carrying.fds[0], b"through")
    assert os.read(read, 7) == b"through"
    for fd in (read, *carrying.fds):
        os.close(fd)


def test_what_was_sent_before_the_end_is_not_lost(pair) -> None:
    one, other = pair
    for number in range(3):
        one.send(4, b"%d" % number)
    one.close()
    assert [message.control for message in other.drain()] == [b"0", b"1", b"2"]
    with pytest.raises(EOFError):
        other.receive()


def test_nothing_there(pair) -> None:
    assert pair[0].receive(wait=False) == []
    assert pair[0].drain() == []


def test_too_many_descriptors(pair) -> None:
    with pytest.raises(ValueError, match="at most 64"):
        pair[0].queue(1, b"", (), list(range(65)))
