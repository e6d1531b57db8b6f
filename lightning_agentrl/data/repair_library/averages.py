"""Simple statistics of whole numbers."""


def median(numbers: list[int]) -> float:
    """The middle number, or the mean of the middle two.

    Raises:
        ValueError: for an empty list.
    """
    if not numbers:
        raise ValueError("There is no middle of nothing.")
    ordered = sorted(numbers)
    middle = len(ordered) // 2
    if len(ordered) % 2 == 1:
        return float(ordered[middle])
    return (ordered[middle - 1] + ordered[middle]) / 2


def modes(numbers: list[int]) -> list[int]:
    """The numbers that occur most often, in order."""
    counts: dict[int, int] = {}
    for number in numbers:
        counts[number] = counts.get(number, 0) + 1
    most = max(counts.values(), default=0)
    return sorted(number for number, count in counts.items() if count == most)


def moving_sum(numbers: list[int], window: int = 3) -> list[int]:
    """Sums of each ``window`` neighbours."""
    return [sum(numbers[start : start + window]) for start in range(len(numbers) - window + 1)]


def running_max(numbers: list[int]) -> list[int]:
    """The greatest number up to each place."""
    result: list[int] = []
    for number in numbers:
        result.append(number if not result or number > result[-1] else result[-1])
    return result


def percentile(numbers: list[int], percent: int) -> int:
    """The least number that at least so many percent of the numbers do not exceed."""
    ordered = sorted(numbers)
    rank = -(-percent * len(ordered) // 100)
    return ordered[max(rank, 1) - 1]


def histogram(numbers: list[int], width: int = 10) -> dict[int, int]:
    """How many numbers fall into each bin, by the bin's least number; empty bins are left out."""
    bins: dict[int, int] = {}
    for number in numbers:
        start = number // width * width
        bins[start] = bins.get(start, 0) + 1
    return bins


def trimmed(numbers: list[int], cut: int = 1) -> list[int]:
    """Without the ``cut`` least and the ``cut`` greatest numbers, in order."""
    ordered = sorted(numbers)
    return ordered[cut : len(ordered) - cut]
