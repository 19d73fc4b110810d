"""Workers behind an agent: a small process of another engine that relays all they say."""
