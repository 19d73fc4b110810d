"""The contract, journal, on every backend."""

from parallactic.testing.journal import JournalContract


class TestJournal(JournalContract):
    pass
