"""Run-length encoding of texts."""


def encode(text: str) -> list[tuple[str, int]]:
    """Each run of equal characters as the character and its length."""
    runs: list[tuple[str, int]] = []
    for character in text:
        if runs and runs[-1][0] == character:
            runs[-1] = (character, runs[-1][1] + 1)
        else:
            runs.append((character, 1))
    return runs


def decode(runs: list[tuple[str, int]]) -> str:
    """The text that was encoded."""
    return "".join(character * length for character, length in runs)


def compress(text: str, shortest: int = 2) -> str:
    """Write a run as character and length where it has at least ``shortest`` characters, else as it is."""
    parts = []
    for character, length in encode(text):
        if length >= shortest:
            parts.append(f"{character}{length}")
        else:
            parts.append(character * length)
    return "".join(parts)


def longest_run(text: str) -> str:
    """The longest run, the first of several; an empty text for an empty one."""
    best = ""
    for character, length in encode(text):
        if length > len(best):
            best = character * length
    return best
