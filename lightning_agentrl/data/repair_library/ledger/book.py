"""A list of entries: who paid, for whom, and how much."""

from .money import parse, share

Entry = tuple[str, int, list[str]]


def read(lines: list[str]) -> list[Entry]:
    """Entries of lines such as ``ann 12.50 bob,cy``; without names at the end the payer pays alone."""
    entries = []
    for line in lines:
        parts = line.split()
        if not parts:
            continue
        people = parts[2].split(",") if len(parts) > 2 else [parts[0]]
        entries.append((parts[0], parse(parts[1]), people))
    return entries


def balances(entries: list[Entry]) -> dict[str, int]:
    """What everybody is owed, in cents; negative for those who owe."""
    result: dict[str, int] = {}
    for payer, cents, people in entries:
        result[payer] = result.get(payer, 0) + cents
        for person, part in zip(people, share(cents, len(people)), strict=True):
            result[person] = result.get(person, 0) - part
    return result


def spent(entries: list[Entry], payer: str) -> int:
    """What somebody paid in all."""
    return sum(cents for name, cents, _ in entries if name == payer)
