"""Runs our own small projects, broken or not, with a bound on loops: what each expression comes to, as text."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from lightning_agentrl.data.repair_bounds import Bounds


def show(value: object) -> str:
    """A text that is equal for equal values: a Python literal, with sets and mappings in order.

    It also runs beside untrusted programs, from its source, so it needs nothing from this module.
    """
    if isinstance(value, dict):
        return "{" + ", ".join(sorted(f"{show(key)}: {show(item)}" for key, item in value.items())) + "}"
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted(map(show, value))) + "}" if value else "set()"
    if isinstance(value, list):
        return "[" + ", ".join(map(show, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(show, value)) + (",)" if len(value) == 1 else ")")
    return repr(value)


def raised(error: Exception) -> str:
    """What stands for an exception: its class."""
    return f"raises {type(error).__name__}"


class Project:
    """Modules of a few files, loaded without touching those of this process."""

    def __init__(self, files: Mapping[str, str]) -> None:
        """Load them.

        Args:
            files: trusted source by path, such as ``ledger/money.py``.
        """
        self._sources = {path.removesuffix(".py").replace("/", "."): text for path, text in files.items()}
        self._modules: dict[str, ModuleType] = {}
        self._bounds = Bounds()
        self.home: dict[str, str] = {}
        """Public name → module that defines it."""
        self._names: dict[str, Any] = {}
        for name in self._sources:
            for public, value in vars(self._load(name)).items():
                if not public.startswith("_") and getattr(value, "__module__", None) == name:
                    self.home[public], self._names[public] = name, value

    def evaluate(self, expressions: Sequence[str]) -> tuple[str, ...]:
        """What each comes to: its value as `show` writes it, or ``raises …``.

        Raises:
            Unbounded: when one does not end, or grows too large.
        """
        return tuple(map(self._evaluate, expressions))

    def _evaluate(self, expression: str) -> str:
        self._bounds.restart()
        try:
            return show(eval(expression, dict(self._names)))
        except Exception as error:  # noqa: BLE001 - a broken project raises anything
            return raised(error)

    def _load(self, name: str) -> ModuleType:
        if name not in self._modules:
            module = self._modules[name] = ModuleType(name)
            tree = ast.fix_missing_locations(self._bounds.visit(ast.parse(self._sources[name])))
            builtin = {**vars(builtins), **self._bounds.helpers, "__import__": self._import}
            module.__dict__.update(__builtins__=builtin, __package__=name.rpartition(".")[0])
            exec(compile(tree, name, "exec"), module.__dict__)
        return self._modules[name]

    def _import(
        self, name: str, scope: Mapping[str, Any] | None = None, locals: Any = None, wanted: Any = (), level: int = 0
    ) -> ModuleType:
        full = f"{scope['__package__']}.{name}" if level and scope else name
        return self._load(full) if full in self._sources else __import__(name, scope, locals, wanted, level)
