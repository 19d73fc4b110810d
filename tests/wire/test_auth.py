"""Both ends prove the key before anything else is said."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from parallactic.wire import auth


def shake(listener_key: bytes, caller: Callable[[socket.socket], None]) -> BaseException | None:
    """Run both ends; return what the listener's end raised."""
    one, other = socket.socketpair()
    for end in (one, other):
        end.settimeout(10)
    problems: list[BaseException] = []

    def listen() -> None:
        try:
            auth.accept(one, listener_key)
        except OSError as error:
            problems.append(error)
        finally:
            one.close()

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        caller(other)
    finally:
        other.close()
        thread.join()
    return problems[0] if problems else None


def test_same_key() -> None:
    key = auth.new_key()
    assert shake(key, lambda sock: auth.connect(sock, key)) is None


def test_wrong_key_is_refused_at_both_ends() -> None:
    def call(sock: socket.socket) -> None:
        with pytest.raises(auth.AuthenticationError):
            auth.connect(sock, auth.new_key())

    assert isinstance(shake(auth.new_key(), call), auth.AuthenticationError)


def test_listener_shows_nothing_to_one_who_does_not_answer() -> None:
    key = auth.new_key()

    def call(sock: socket.socket) -> None:
        assert len(sock.recv(1000)) == 32  # a nonce, random
        sock.sendall(bytes(32) + bytes(32))
        assert sock.recv(1000) == b""  # no digest that could be studied

    assert isinstance(shake(key, call), auth.AuthenticationError)


def test_answer_cannot_be_reflected() -> None:
    """Sending the listener's own nonce back, and its digest if it gave one, proves nothing."""
    key = auth.new_key()

    def call(sock: socket.socket) -> None:
        nonce = sock.recv(32)
        sock.sendall(nonce + auth._digest(b"another key", b"caller", nonce, nonce))
        assert sock.recv(1000) == b""

    assert isinstance(shake(key, call), auth.AuthenticationError)


def test_no_key_means_no_handshake() -> None:
    assert shake(b"", lambda sock: auth.connect(sock, b"")) is None
    assert auth.read_key("") == b""


def test_key_file(tmp_path: Path) -> None:
    key = auth.new_key()
    (tmp_path / "key").write_bytes(key)
    assert auth.read_key(str(tmp_path / "key")) == key
    assert len(key) == 32
    assert key != auth.new_key()
