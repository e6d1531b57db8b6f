"""Puts bugs into Python source: small slips of the kinds that people make, one at a time."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field

COMPARED: Mapping[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,  # codespell:ignore notin
    ast.NotIn: ast.In,  # codespell:ignore notin
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
COMPUTED: Mapping[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mod,
    ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitXor: ast.BitOr,
    ast.BitAnd: ast.BitOr,
}
MISTAKEN = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "sorted": "list",
    "lower": "upper",
    "upper": "lower",
    "startswith": "endswith",
    "lstrip": "rstrip",
    "partition": "rpartition",
    "rpartition": "partition",
    "append": "extend",
}
"""Functions and methods that are easily taken for one another."""


@dataclass(frozen=True)
class Bug:
    """A source with one slip in it."""

    kind: str
    """Which slip: comparison, operator, off_by_one, default, missing_return …"""
    line: int
    """Where, from 1."""
    source: str
    """All of the source, the rest of it untouched."""


def bugs(source: str) -> list[Bug]:
    """Every single slip that is known, in the order of the source; some of them may do no harm.

    Args:
        source: Python in ASCII, so that the columns that the parser counts in bytes are characters.
    """
    if not source.isascii():
        raise ValueError("Bugs are put into ASCII sources only.")
    tree = ast.parse(source)
    finder = _Finder(source)
    finder.visit(tree)
    return sorted(finder.found, key=lambda bug: (bug.line, bug.kind, bug.source))


@dataclass
class _Finder(ast.NodeVisitor):
    """Collects slips; f-strings are left alone, for the parser of Python 3.11 misplaces what is in them."""

    source: str
    found: list[Bug] = field(default_factory=list)
    names: Sequence[str] = ()
    """Variables of the function that is being visited."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Do not enter."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Slips in defaults, then in the body; annotations are no code."""
        for default in node.args.defaults:
            if isinstance(default, ast.Constant):
                self._default(default)
        outer, self.names = self.names, _variables(node)
        for statement in node.body:
            self.visit(statement)
        self.names = outer

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """The value alone."""
        if node.value is not None:
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        """The value alone: a target is not misspelt, and at the top level an alias of a type is no code."""
        if self.names or not isinstance(node.value, ast.Subscript):
            self.visit(node.value)

    def visit_Compare(self, node: ast.Compare) -> None:
        """Another comparison."""
        for place, operator in enumerate(node.ops):
            ops = [*node.ops[:place], COMPARED[type(operator)](), *node.ops[place + 1 :]]
            self._replace("comparison", node, "ops", ops)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """Another operator."""
        if type(node.op) in COMPUTED:
            self._replace("operator", node, "op", COMPUTED[type(node.op)]())
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """Another operator, or no such statement."""
        if type(node.op) in COMPUTED:
            self._replace("operator", node, "op", COMPUTED[type(node.op)]())
        self._put("missing_statement", node, "pass")
        self.visit(node.value)

    def visit_Expr(self, node: ast.Expr) -> None:
        """A call that is left out."""
        if isinstance(node.value, ast.Call):
            self._put("missing_statement", node, "pass")
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """A number that is one too great or one too small."""
        if type(node.value) is int:
            self._put("off_by_one", node, str(node.value + 1))
            if node.value > 0:
                self._put("off_by_one", node, str(node.value - 1))

    def visit_Return(self, node: ast.Return) -> None:
        """A value that is computed, but not returned."""
        if node.value is not None and not isinstance(node.value, ast.Constant):
            self._put("missing_return", node, ast.unparse(node.value))
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        """Another variable of the function."""
        if isinstance(node.ctx, ast.Load) and node.id in self.names and len(self.names) > 1:
            place = self.names.index(node.id)
            self._put("wrong_variable", node, self.names[(place + 1) % len(self.names)])

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """And for or, or the other way round."""
        other = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        self._replace("condition", node, "op", other)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        """A condition, or a sign, that is left out."""
        self._put("condition" if isinstance(node.op, ast.Not) else "operator", node, ast.unparse(node.operand))
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        """The opposite of a condition."""
        self._put("condition", node.test, f"not ({ast.unparse(node.test)})")
        self.generic_visit(node)

    def visit_Break(self, node: ast.Break) -> None:
        """A loop that goes on."""
        self._put("loop", node, "continue")

    def visit_Continue(self, node: ast.Continue) -> None:
        """A loop that ends."""
        self._put("loop", node, "break")

    def visit_Slice(self, node: ast.Slice) -> None:
        """One end left open."""
        for end in ("lower", "upper", "step"):
            if getattr(node, end) is not None:
                self._replace("slice", node, end, None)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Arguments in the wrong order, or the wrong function."""
        if len(node.args) >= 2 and not any(isinstance(argument, ast.Starred) for argument in node.args):
            swapped = [node.args[1], node.args[0], *node.args[2:]]
            self._replace("swapped_arguments", node, "args", swapped)
        called = node.func
        if isinstance(called, ast.Name) and called.id in MISTAKEN:
            self._put("wrong_function", called, MISTAKEN[called.id])
        elif isinstance(called, ast.Attribute) and called.attr in MISTAKEN:
            self._replace("wrong_function", called, "attr", MISTAKEN[called.attr])
        self.generic_visit(node)

    def _default(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self._put("default", node, str(not value))
        elif isinstance(value, int):
            self._put("default", node, str(value + 1))

    def _replace(self, kind: str, node: ast.expr | ast.stmt, name: str, value: object) -> None:
        """Put a copy in a node's place that has another value in one field."""
        new = copy(node)
        setattr(new, name, value)
        self._put(kind, node, ast.unparse(new))

    def _put(self, kind: str, node: ast.expr | ast.stmt, text: str) -> None:
        lines = self.source.split("\n")
        assert node.end_lineno is not None
        before = [*lines[: node.lineno - 1], lines[node.lineno - 1][: node.col_offset]]
        after = [lines[node.end_lineno - 1][node.end_col_offset :], *lines[node.end_lineno :]]
        changed = "\n".join(before) + text + "\n".join(after)
        if changed != self.source:
            self.found.append(Bug(kind, node.lineno, changed))


def _variables(function: ast.FunctionDef) -> tuple[str, ...]:
    """Arguments and what is assigned to, without ``self``, in alphabetical order."""
    names = {argument.arg for argument in function.args.args}
    names |= {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return tuple(sorted(names - {"self"}))
