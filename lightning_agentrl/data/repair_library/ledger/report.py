"""What the club is told."""

from .book import balances, read
from .money import show


def settle(lines: list[str]) -> list[str]:
    """Payments after which nobody owes anything, those who owe and are owed most first, ties by name."""
    open_sums = balances(read(lines))
    payments = []
    while any(open_sums.values()):
        debtor = min(open_sums, key=lambda name: (open_sums[name], name))
        creditor = min(open_sums, key=lambda name: (-open_sums[name], name))
        cents = min(-open_sums[debtor], open_sums[creditor])
        open_sums[debtor] += cents
        open_sums[creditor] -= cents
        payments.append(f"{debtor} pays {creditor} {show(cents)}")
    return payments


def summary(lines: list[str]) -> list[str]:
    """Everybody's balance by name; who owes nothing and is owed nothing is left out."""
    sums = balances(read(lines))
    return [f"{name}: {show(sums[name])}" for name in sorted(sums) if sums[name] != 0]
