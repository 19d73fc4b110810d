"""Units of the tasks that recipes of the tests run; workers import them by the name of this file."""


def copy_line(unit: str) -> str:
    """Return a line in capitals."""
    if unit == "poison":
        raise ValueError("this line cannot be copied")
    return unit.upper()
