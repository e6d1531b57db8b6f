"""Pays amounts with coins."""


def fewest(amount: int, coins: list[int]) -> int | None:
    """The least number of coins that make up an amount; None if they cannot."""
    best: list[int | None] = [0] + [None] * amount
    for value in range(1, amount + 1):
        for coin in coins:
            if coin <= value:
                rest = best[value - coin]
                if rest is not None:
                    current = best[value]
                    if current is None or rest + 1 < current:
                        best[value] = rest + 1
    return best[amount]


def ways(amount: int, coins: list[int]) -> int:
    """In how many ways coins make up an amount, whatever their order."""
    counts = [1] + [0] * amount
    for coin in coins:
        for value in range(coin, amount + 1):
            counts[value] += counts[value - coin]
    return counts[amount]


def greedy(amount: int, coins: list[int]) -> list[int]:
    """Always the largest coin that fits; an amount that is left over is left out."""
    taken: list[int] = []
    for coin in sorted(coins, reverse=True):
        while amount >= coin:
            taken.append(coin)
            amount -= coin
    return taken


def is_exact(amount: int, coins: list[int]) -> bool:
    """Whether `greedy` pays an amount with the fewest coins."""
    taken = greedy(amount, coins)
    return sum(taken) == amount and len(taken) == fewest(amount, coins)


def change(paid: int, price: int, coins: list[int] | None = None) -> list[int]:
    """What a customer gets back, from coins of 1, 2, 5, 10, 20 and 50 unless others are given.

    Raises:
        ValueError: when too little was paid.
    """
    if paid < price:
        raise ValueError("Too little was paid.")
    return greedy(paid - price, coins or [1, 2, 5, 10, 20, 50])
