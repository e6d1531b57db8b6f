"""Breaks and aligns text in lines of a width."""


def wrap(text: str, width: int = 20) -> list[str]:
    """Lines of whole words with at most ``width`` characters; a longer word gets a line of its own.

    Raises:
        ValueError: for a width below 1.
    """
    if width < 1:
        raise ValueError("A line needs a width of at least 1.")
    lines: list[str] = []
    line = ""
    for word in text.split():
        if not line:
            line = word
        elif len(line) + 1 + len(word) <= width:
            line += " " + word
        else:
            lines.append(line)
            line = word
    if line:
        lines.append(line)
    return lines


def center(line: str, width: int, fill: str = " ") -> str:
    """The line in the middle; an odd character goes to the right."""
    space = width - len(line)
    if space <= 0:
        return line
    left = space // 2
    return fill * left + line + fill * (space - left)


def justify(line: str, width: int) -> str:
    """The words spread over the width, wider gaps first; a single word stays at the left."""
    words = line.split()
    if len(words) < 2:
        return line
    spaces = width - sum(len(word) for word in words)
    gap, extra = divmod(spaces, len(words) - 1)
    result = words[0]
    for place, word in enumerate(words[1:]):
        result += " " * (gap + (1 if place < extra else 0)) + word
    return result


def indent(lines: list[str], by: int = 4, first: int = 0) -> list[str]:
    """Blanks before each line that is not empty; ``first`` blanks before the first one."""
    return [" " * (by if place else first) + line if line else line for place, line in enumerate(lines)]
