"""The contract, journal, on every backend."""

from parallactic.testing import JournalContract


class TestJournal(JournalContract):
    pass
