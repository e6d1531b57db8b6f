"""Half-open intervals of whole numbers: (start, end) holds start, start + 1 and so on up to end - 1."""

Interval = tuple[int, int]


def merge(intervals: list[Interval]) -> list[Interval]:
    """The same numbers in as few intervals as possible, in order; empty intervals vanish."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if start >= end:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def overlap(first: Interval, second: Interval) -> int:
    """How many numbers two intervals share."""
    return max(0, min(first[1], second[1]) - max(first[0], second[0]))


def total_length(intervals: list[Interval]) -> int:
    """How many different numbers the intervals hold."""
    return sum(end - start for start, end in merge(intervals))


def gaps(intervals: list[Interval], whole: Interval) -> list[Interval]:
    """What of ``whole`` no interval covers."""
    free: list[Interval] = []
    position = whole[0]
    for start, end in merge(intervals):
        if start > position:
            free.append((position, min(start, whole[1])))
        position = max(position, end)
        if position >= whole[1]:
            break
    if position < whole[1]:
        free.append((position, whole[1]))
    return free


def contains(intervals: list[Interval], number: int) -> bool:
    """Whether some interval holds a number."""
    return any(start <= number < end for start, end in intervals)
