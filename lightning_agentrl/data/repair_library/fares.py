"""What a ride costs, in cents."""

ZONE_PRICE = [0, 180, 260, 340]


def base_fare(zones: int) -> int:
    """Price through so many zones; beyond the table, 70 more for each.

    Raises:
        ValueError: for less than one zone.
    """
    if zones < 1:
        raise ValueError("A ride passes at least one zone.")
    known = len(ZONE_PRICE) - 1
    if zones <= known:
        return ZONE_PRICE[zones]
    return ZONE_PRICE[known] + 70 * (zones - known)


def discount(age: int, student: bool = False) -> int:
    """Percent off: children under 6 ride free, up to 14 and students for half, from 65 on a quarter off."""
    if age < 6:
        return 100
    if age <= 14 or student:
        return 50
    if age >= 65:
        return 25
    return 0


def fare(zones: int, age: int = 30, student: bool = False, night: bool = False) -> int:
    """Price of one ride; the night surcharge of 100 is not discounted, and free rides stay free."""
    off = discount(age, student)
    if off == 100:
        return 0
    price = base_fare(zones) * (100 - off) // 100
    return price + 100 if night else price


def daily(fares: list[int], cap: int = 900) -> int:
    """What a day's rides cost together, at most the cap."""
    return min(sum(fares), cap)


def group_fare(zones: int, ages: list[int]) -> int:
    """Price of a group: from five paying people on, the cheapest ticket is free."""
    prices = sorted(fare(zones, age) for age in ages)
    paying = [price for price in prices if price > 0]
    if len(paying) >= 5:
        paying = paying[1:]
    return sum(paying)


def monthly_pays(rides: int, zones: int = 1, monthly: int = 5400) -> bool:
    """Whether a monthly ticket is cheaper than so many rides."""
    return monthly < rides * fare(zones)
