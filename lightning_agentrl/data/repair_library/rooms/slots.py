"""Times of a day in minutes since midnight."""


def minutes(text: str) -> int:
    """Minutes of a time such as 9:30.

    Raises:
        ValueError: for a time that no day has.
    """
    hours, _, rest = text.partition(":")
    result = int(hours) * 60 + int(rest or "0")
    if not 0 <= result <= 24 * 60 or int(rest or "0") >= 60:
        raise ValueError("A day has 24 hours of 60 minutes.")
    return result


def show(time: int) -> str:
    """The time with two digits for the minutes."""
    return f"{time // 60}:{time % 60:02}"


def clash(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Whether two slots share a minute; one may begin when the other ends."""
    return first[0] < second[1] and second[0] < first[1]


def round_up(time: int, step: int = 15) -> int:
    """The next time that is a whole number of steps."""
    return (time + step - 1) // step * step
