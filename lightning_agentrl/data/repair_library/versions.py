"""Version numbers of the form MAJOR.MINOR.PATCH."""

Version = tuple[int, int, int]


def parse(text: str) -> Version:
    """Read a version; missing parts are 0, and a leading v is allowed.

    Raises:
        ValueError: for anything else.
    """
    parts = text.removeprefix("v").split(".")
    if len(parts) > 3 or not all(part.isdigit() for part in parts):
        raise ValueError("A version has one to three numbers.")
    numbers = [int(part) for part in parts] + [0, 0]
    return (numbers[0], numbers[1], numbers[2])


def compare(first: str, second: str) -> int:
    """-1, 0 or 1: whether the first version is older, the same or newer."""
    one, other = parse(first), parse(second)
    return (one > other) - (one < other)


def bump(text: str, part: str = "patch") -> str:
    """The next version; smaller parts start again at 0."""
    major, minor, patch = parse(text)
    if part == "major":
        return f"{major + 1}.0.0"
    if part == "minor":
        return f"{major}.{minor + 1}.0"
    return f"{major}.{minor}.{patch + 1}"


def satisfies(text: str, wanted: str) -> bool:
    """Whether a version meets ``>=1.2``, ``<2``, ``^1.2`` (no new major) or, without a sign, equals it."""
    if wanted.startswith(">="):
        return compare(text, wanted[2:]) >= 0
    if wanted.startswith("<"):
        return compare(text, wanted[1:]) < 0
    if wanted.startswith("^"):
        return parse(text)[0] == parse(wanted[1:])[0] and compare(text, wanted[1:]) >= 0
    return compare(text, wanted) == 0


def newest(versions: list[str], wanted: str = ">=0") -> str | None:
    """The newest version that meets a wish; None if none does."""
    best: str | None = None
    for version in versions:
        if satisfies(version, wanted) and (best is None or compare(version, best) > 0):
            best = version
    return best
