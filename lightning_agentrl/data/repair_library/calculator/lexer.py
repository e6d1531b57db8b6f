"""Cuts a formula into numbers, signs and brackets."""

SIGNS = "+-*/^()"


def tokens(text: str) -> list[str]:
    """The parts of a formula.

    Raises:
        ValueError: for a character that no formula has.
    """
    result: list[str] = []
    number = ""
    for character in text + " ":
        if character.isdigit():
            number += character
            continue
        if number:
            result.append(number)
            number = ""
        if character in SIGNS:
            result.append(character)
        elif character != " ":
            raise ValueError("A formula has numbers, signs and brackets.")
    return result


def spaced(text: str) -> str:
    """The formula with one blank between its parts, none inside of brackets."""
    return " ".join(tokens(text)).replace("( ", "(").replace(" )", ")")
