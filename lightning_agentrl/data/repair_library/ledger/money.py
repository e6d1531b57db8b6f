"""Amounts of money as whole cents."""


def parse(text: str) -> int:
    """Cents of a text such as ``12.5``, ``-3.07`` or ``1,000``.

    Raises:
        ValueError: for anything else, and for more than two decimals.
    """
    sign = -1 if text.startswith("-") else 1
    whole, _, decimals = text.removeprefix("-").replace(",", "").partition(".")
    if not whole.isdigit() or len(decimals) > 2 or (decimals and not decimals.isdigit()):
        raise ValueError("An amount looks like 12.50.")
    return sign * (int(whole) * 100 + int(decimals.ljust(2, "0")))


def show(cents: int) -> str:
    """The amount with two decimals, and commas between thousands."""
    sign = "-" if cents < 0 else ""
    whole, rest = divmod(abs(cents), 100)
    return f"{sign}{whole:,}.{rest:02}"


def share(cents: int, people: int) -> list[int]:
    """The amount in equal parts; the first ones get the cents that are left over."""
    part, rest = divmod(cents, people)
    return [part + 1 if place < rest else part for place in range(people)]
