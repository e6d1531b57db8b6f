"""Checks whether brackets match."""

PAIRS = {")": "(", "]": "[", "}": "{"}


def balanced(text: str) -> bool:
    """Whether every bracket has its partner and they nest."""
    return first_error(text) is None


def first_error(text: str) -> int | None:
    """Place of the first closing bracket that does not fit, else of the last bracket left open; None without error."""
    stack: list[tuple[str, int]] = []
    for place, character in enumerate(text):
        if character in PAIRS.values():
            stack.append((character, place))
        elif character in PAIRS:
            if not stack or stack[-1][0] != PAIRS[character]:
                return place
            stack.pop()
    if stack:
        return stack[-1][1]
    return None


def depth(text: str) -> int:
    """How deep round brackets are nested at most; a closing one too many counts for nothing."""
    deepest = 0
    level = 0
    for character in text:
        if character == "(":
            level += 1
            deepest = max(deepest, level)
        elif character == ")" and level > 0:
            level -= 1
    return deepest


def strip_outer(text: str) -> str:
    """Without the round brackets around the whole text, as often as there are some."""
    while len(text) >= 2 and text[0] == "(" and text[-1] == ")" and balanced(text[1:-1]):
        text = text[1:-1]
    return text
