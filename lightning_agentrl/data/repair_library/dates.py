"""Dates of the Gregorian calendar as year, month and day."""

DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
NAMES = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def is_leap(year: int) -> bool:
    """Whether a year has a 29th of February."""
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def days_in_month(year: int, month: int) -> int:
    """Number of days of a month.

    Raises:
        ValueError: for a month that is not 1 to 12.
    """
    if not 1 <= month <= 12:
        raise ValueError("Months go from 1 to 12.")
    if month == 2 and is_leap(year):
        return 29
    return DAYS[month - 1]


def day_of_year(year: int, month: int, day: int) -> int:
    """The number of a day in its year, from 1."""
    return sum(days_in_month(year, earlier) for earlier in range(1, month)) + day


def day_number(year: int, month: int, day: int) -> int:
    """Days since the 1st of January of the year 1, which has number 0."""
    before = year - 1
    leaps = before // 4 - before // 100 + before // 400
    return before * 365 + leaps + day_of_year(year, month, day) - 1


def weekday(year: int, month: int, day: int) -> str:
    """Name of the day of the week; the 1st of January of the year 1 was a Monday."""
    return NAMES[day_number(year, month, day) % 7]


def next_day(year: int, month: int, day: int) -> tuple[int, int, int]:
    """The date after a date."""
    if day < days_in_month(year, month):
        return (year, month, day + 1)
    if month < 12:
        return (year, month + 1, 1)
    return (year + 1, 1, 1)
