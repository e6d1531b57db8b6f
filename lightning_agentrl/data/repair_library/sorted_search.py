"""Searches in sorted lists of numbers."""


def lower_bound(numbers: list[int], wanted: int) -> int:
    """Place of the first number that is not less than ``wanted``; the length if there is none."""
    low = 0
    high = len(numbers)
    while low < high:
        middle = (low + high) // 2
        if numbers[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


def upper_bound(numbers: list[int], wanted: int) -> int:
    """Place of the first number that is greater than ``wanted``; the length if there is none."""
    low = 0
    high = len(numbers)
    while low < high:
        middle = (low + high) // 2
        if numbers[middle] <= wanted:
            low = middle + 1
        else:
            high = middle
    return low


def count(numbers: list[int], wanted: int) -> int:
    """How often a number occurs."""
    return upper_bound(numbers, wanted) - lower_bound(numbers, wanted)


def find(numbers: list[int], wanted: int, missing: int = -1) -> int:
    """Place of the first occurrence, or ``missing``."""
    place = lower_bound(numbers, wanted)
    if place < len(numbers) and numbers[place] == wanted:
        return place
    return missing


def nearest(numbers: list[int], wanted: int) -> int:
    """The closest number, the smaller one of two.

    Raises:
        ValueError: for an empty list.
    """
    if not numbers:
        raise ValueError("There is nothing to choose from.")
    place = lower_bound(numbers, wanted)
    if place == len(numbers):
        return numbers[-1]
    if place > 0 and wanted - numbers[place - 1] <= numbers[place] - wanted:
        return numbers[place - 1]
    return numbers[place]


def in_range(numbers: list[int], low: int, high: int) -> list[int]:
    """The numbers from ``low`` to ``high``, both included."""
    return numbers[lower_bound(numbers, low) : upper_bound(numbers, high)]
