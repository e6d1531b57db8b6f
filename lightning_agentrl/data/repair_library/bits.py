"""Bits of numbers that are not negative."""


def ones(number: int) -> int:
    """How many bits are set."""
    count = 0
    while number:
        count += number & 1
        number >>= 1
    return count


def to_binary(number: int, width: int = 0) -> str:
    """Binary digits, with zeros in front up to a width; 0 has one digit."""
    digits = ""
    while number:
        digits = str(number % 2) + digits
        number //= 2
    digits = digits or "0"
    return "0" * (width - len(digits)) + digits


def from_binary(digits: str) -> int:
    """Read binary digits; underscores do not count.

    Raises:
        ValueError: for other characters, or no digit.
    """
    number = 0
    digits = digits.replace("_", "")
    if not digits:
        raise ValueError("There is no digit.")
    for digit in digits:
        if digit not in "01":
            raise ValueError("Binary digits are 0 and 1.")
        number = number * 2 + int(digit)
    return number


def reverse(number: int, width: int = 8) -> int:
    """The lowest ``width`` bits in the opposite order."""
    result = 0
    for _ in range(width):
        result = (result << 1) | (number & 1)
        number >>= 1
    return result


def gray(number: int) -> int:
    """The Gray code: neighbours differ in one bit."""
    return number ^ (number >> 1)


def from_gray(code: int) -> int:
    """Undo `gray`."""
    number = 0
    while code:
        number ^= code
        code >>= 1
    return number


def is_power_of_two(number: int) -> bool:
    """Whether exactly one bit is set."""
    return number > 0 and number & (number - 1) == 0


def highest(number: int) -> int:
    """Place of the highest bit that is set, from 0; -1 for 0."""
    place = -1
    while number:
        place += 1
        number >>= 1
    return place
