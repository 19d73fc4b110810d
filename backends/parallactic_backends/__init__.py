"""The backends that come with Parallactic, one folder each."""
