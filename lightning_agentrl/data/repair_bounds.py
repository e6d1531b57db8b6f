"""Keeps a slip in a small program from running on for ever or filling the memory: loops and growth are bounded."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sized
from typing import Any

MOST_STEPS = 20_000
"""Rounds of loops and calls of functions together."""
MOST_ITEMS = 1_000
"""Length of a text or list that is made by adding or repeating."""
MOST_BITS = 4_096
"""Length of a number."""


class Unbounded(BaseException):
    """A bound was hit."""


class Bounds(ast.NodeTransformer):
    """Rewrites a program so that it counts its steps and looks at sizes before things grow.

    Enough for programs of our own with one slip in them. It contains nothing hostile: for that there is the sandbox.
    """

    def __init__(self) -> None:
        self._steps = 0

    def restart(self) -> None:
        """Count from 0 again."""
        self._steps = 0

    @property
    def helpers(self) -> dict[str, Any]:
        """What a rewritten program needs among its builtins."""
        return {
            "__step__": self._step,
            "__each__": self._each,
            "__plus__": _plus,
            "__times__": _times,
            "__power__": _power,
            "__short__": _short,
        }

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """Look before adding, repeating and raising to a power."""
        self.generic_visit(node)
        helper = {ast.Add: "__plus__", ast.Mult: "__times__", ast.Pow: "__power__"}.get(type(node.op))
        return _call(helper, node.left, node.right) if helper else node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        """Look before adding; a list must be changed in place, so what is added is all that can be looked at."""
        self.generic_visit(node)
        if isinstance(node.op, ast.Add):
            node.value = _call("__short__", node.value)
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        """Count the rounds."""
        self.generic_visit(node)
        node.iter = _call("__each__", node.iter)
        return node

    def visit_For(self, node: ast.For) -> ast.AST:
        """Count the rounds."""
        return self._counted(node)

    def visit_While(self, node: ast.While) -> ast.AST:
        """Count the rounds."""
        return self._counted(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Count the calls."""
        return self._counted(node)

    def _counted(self, node: ast.For | ast.While | ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.body.insert(0, ast.Expr(_call("__step__")))
        return node

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise Unbounded

    def _each(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self._step()
            yield item


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


def _plus(left: Any, right: Any) -> Any:
    return _short(left) + _short(right)


def _times(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        _limit(left.bit_length() + right.bit_length(), MOST_BITS)
    for items, count in ((left, right), (right, left)):
        if isinstance(items, Sized) and isinstance(count, int):
            _limit(len(items) * count, MOST_ITEMS)
    return left * right


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int):
        _limit(base.bit_length() * abs(exponent), MOST_BITS)
    return base**exponent


def _short(items: Any) -> Any:
    if isinstance(items, Sized):
        _limit(len(items), MOST_ITEMS)
    return items


def _limit(size: int, most: int) -> None:
    if size > most:
        raise Unbounded
