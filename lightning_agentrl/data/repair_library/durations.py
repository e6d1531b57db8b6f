"""Lengths of time as text, such as 1h30m."""

SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def parse(text: str) -> int:
    """Seconds of a text such as ``1h30m``; a number without a unit at the end is in seconds.

    Raises:
        ValueError: for an empty text, an unknown unit, or a unit without a number.
    """
    if not text:
        raise ValueError("There is nothing to read.")
    total = 0
    digits = ""
    for character in text:
        if character.isdigit():
            digits += character
        elif character in SECONDS and digits:
            total += int(digits) * SECONDS[character]
            digits = ""
        else:
            raise ValueError("Expected numbers with units d, h, m or s.")
    if digits:
        total += int(digits)
    return total


def write(seconds: int, longest: str = "d") -> str:
    """The text that `parse` reads, units from ``longest`` down; units with 0 are left out, save for 0s."""
    parts = []
    units = list(SECONDS)
    for unit in units[units.index(longest) :]:
        count, seconds = divmod(seconds, SECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def clock(seconds: int) -> str:
    """Hours, minutes and seconds as on a stopwatch; the hours are left out where there are none."""
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    if hours:
        return f"{hours}:{minutes:02}:{seconds:02}"
    return f"{minutes}:{seconds:02}"


def rounded(seconds: int, unit: str = "m") -> int:
    """How many whole units, rounded; halves go up."""
    size = SECONDS[unit]
    return (seconds + size // 2) // size


def total(texts: list[str]) -> str:
    """The sum of lengths of time."""
    return write(sum(parse(text) for text in texts))
