"""Roman numerals from 1 to 3999."""

SYMBOLS = [
    (1000, "M"),
    (900, "CM"),
    (500, "D"),
    (400, "CD"),
    (100, "C"),
    (90, "XC"),
    (50, "L"),
    (40, "XL"),
    (10, "X"),
    (9, "IX"),
    (5, "V"),
    (4, "IV"),
    (1, "I"),
]


def to_roman(number: int) -> str:
    """Write a number in Roman numerals.

    Raises:
        ValueError: outside of 1 to 3999.
    """
    if number < 1 or number > 3999:
        raise ValueError("Roman numerals go from 1 to 3999.")
    result = ""
    for value, symbol in SYMBOLS:
        count = number // value
        result += symbol * count
        number -= count * value
    return result


def from_roman(text: str) -> int:
    """Read Roman numerals, in either case.

    Raises:
        ValueError: for a text that `to_roman` would not write.
    """
    values = {symbol: value for value, symbol in SYMBOLS if len(symbol) == 1}
    total = 0
    previous = 0
    for symbol in reversed(text.upper()):
        if symbol not in values:
            raise ValueError("Not a Roman numeral.")
        value = values[symbol]
        if value < previous:
            total -= value
        else:
            total += value
            previous = value
    if to_roman(total) != text.upper():
        raise ValueError("Not a Roman numeral in its usual form.")
    return total


def add_roman(*texts: str) -> str:
    """The sum of Roman numerals."""
    return to_roman(sum(from_roman(text) for text in texts))
