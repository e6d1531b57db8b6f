"""How texts differ."""


def distance(first: str, second: str) -> int:
    """The least number of characters to insert, delete or replace to make one text the other."""
    previous = list(range(len(second) + 1))
    for row, one in enumerate(first, 1):
        current = [row]
        for column, other in enumerate(second, 1):
            replaced = previous[column - 1] + (0 if one == other else 1)
            current.append(min(replaced, previous[column] + 1, current[column - 1] + 1))
        previous = current
    return previous[-1]


def common_prefix(texts: list[str]) -> str:
    """What all texts begin with."""
    if not texts:
        return ""
    shortest = min(texts, key=len)
    for place, character in enumerate(shortest):
        if any(text[place] != character for text in texts):
            return shortest[:place]
    return shortest


def common_letters(first: str, second: str) -> str:
    """A longest text whose characters occur in both texts in this order; letters of ``first`` are dropped late."""
    table = [[""] * (len(second) + 1)]
    for one in first:
        above = table[-1]
        row = [""]
        for column, other in enumerate(second):
            if one == other:
                row.append(above[column] + one)
            else:
                row.append(max(above[column + 1], row[column], key=len))
        table.append(row)
    return table[-1][-1]


def suggest(word: str, known: list[str], most: int = 2) -> list[str]:
    """Known words at a distance of at most ``most``, the closest first, then by alphabet."""
    near = [(distance(word, other), other) for other in known]
    return [other for far, other in sorted(near) if far <= most]


def is_rotation(first: str, second: str) -> bool:
    """Whether one text is the other with its beginning moved to its end."""
    return len(first) == len(second) and second in first + first
