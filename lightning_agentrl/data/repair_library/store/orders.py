"""Fills orders from stock."""

from .stock import Stock

PRICES = {"pen": 120, "ink": 450, "pad": 300}


def fill(stock: Stock, wanted: dict[str, int], partly: bool = False) -> dict[str, int]:
    """Take what an order wants.

    Args:
        stock: is changed.
        wanted: how many of each article.
        partly: take what there is, instead of nothing, where an article falls short.

    Returns:
        What was taken.
    """
    short = [article for article, count in wanted.items() if stock.available(article) < count]
    if short and not partly:
        return {}
    taken = {}
    for article, count in wanted.items():
        count = min(count, stock.available(article))
        if count > 0 and stock.take(article, count):
            taken[article] = count
    return taken


def price(taken: dict[str, int], discount_from: int = 10) -> int:
    """Price in cents; an article taken ``discount_from`` times or more is a tenth cheaper."""
    total = 0
    for article, count in taken.items():
        cost = PRICES[article] * count
        if count >= discount_from:
            cost -= cost // 10
        total += cost
    return total


def day(counts: dict[str, int], orders: list[dict[str, int]]) -> tuple[int, list[str]]:
    """Fill orders one after the other: income, and what has to be ordered afterwards."""
    stock = Stock(counts)
    income = sum(price(fill(stock, wanted)) for wanted in orders)
    return (income, stock.to_order())
