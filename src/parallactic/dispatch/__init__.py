"""Policy, written once: who runs what, when, and what happens if it goes wrong."""
