"""``python -m parallactic`` is the command ``parallactic``."""

from parallactic.cli import main

if __name__ == "__main__":
    main()
