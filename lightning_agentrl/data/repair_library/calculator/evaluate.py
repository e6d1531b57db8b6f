"""Computes formulas of whole numbers; division leaves out the remainder."""

from .lexer import tokens

PRIORITY = {"+": 1, "-": 1, "*": 2, "/": 2, "^": 3}


def postfix(text: str) -> list[str]:
    """The formula with every sign behind what it connects.

    Raises:
        ValueError: when brackets do not match.
    """
    output: list[str] = []
    signs: list[str] = []
    for token in tokens(text):
        if token.isdigit():
            output.append(token)
        elif token == "(":
            signs.append(token)
        elif token == ")":
            while signs and signs[-1] != "(":
                output.append(signs.pop())
            if not signs:
                raise ValueError("A bracket is closed that was not opened.")
            signs.pop()
        else:
            while signs and signs[-1] != "(" and _first(signs[-1], token):
                output.append(signs.pop())
            signs.append(token)
    if "(" in signs:
        raise ValueError("A bracket is not closed.")
    return output + signs[::-1]


def _first(left: str, right: str) -> bool:
    """Whether the left one of two signs is computed first; powers are computed from the right."""
    if left == right == "^":
        return False
    return PRIORITY[left] >= PRIORITY[right]


def apply(sign: str, left: int, right: int) -> int:
    """What a sign makes of two numbers."""
    if sign == "+":
        return left + right
    if sign == "-":
        return left - right
    if sign == "*":
        return left * right
    if sign == "/":
        return left // right
    return int(left**right)


def evaluate(text: str) -> int:
    """The value of a formula.

    Raises:
        ValueError: for a formula that is not complete.
    """
    stack: list[int] = []
    for token in postfix(text):
        if token.isdigit():
            stack.append(int(token))
        elif len(stack) < 2:
            raise ValueError("A sign lacks a number.")
        else:
            right = stack.pop()
            left = stack.pop()
            stack.append(apply(token, left, right))
    if len(stack) != 1:
        raise ValueError("A formula has one value.")
    return stack[0]
