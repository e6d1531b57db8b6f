"""Says when an assigner runs without the loss and steps of its recipe: half a method is easily taken for the whole."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from lightning_agentrl.config_files import config_names, find_config

OBJECTIVE = (
    *(f"model.{name}" for name in ("loss", "aggregation", "aggregation_rows", "kl_coefficient", "kl_estimator")),
    "model.correction",
    *(f"data.{name}" for name in ("ppo_epochs", "minibatches", "branching", "dynamic_sampling", "answer_aliases")),
)
"""Settings that make up a method beside its credit."""

Settings = Mapping[str, Any]


def recipes_of(credit: str) -> list[str]:
    """Names of the shipped recipes for a credit assigner, the plainest first; see `_name`."""
    names = [name for name in config_names() if name.startswith("algorithm/")]
    return sorted((name for name in names if _credit_of(name) == credit), key=len)


def notice(settings: Settings, resolve: Callable[[str], Settings]) -> str | None:
    """One line on what differs from every shipped recipe of the chosen assigner; None where one of them is met.

    Args:
        settings: of the run, as nested mappings with defaults filled in.
        resolve: gives those of a recipe.
    """
    credit = _name(settings["model"]["credit"])
    if credit == _credit_of("base"):
        return None  # the common baseline is at home in several recipes
    found = {name: _differences(settings, resolve(name)) for name in recipes_of(credit)}
    if not found or not all(found.values()):
        return None
    name = next(iter(found))
    return f"{_short(credit)} without its recipe (-c {name}): {'; '.join(found[name])}."


def _credit_of(name: str) -> str:
    return _name(yaml.safe_load(find_config(name).read_text(encoding="utf-8"))["model"]["credit"])


def _name(credit: Any) -> str:
    """Class path of an assigner, behind that of the one it wraps: AEM over GiGPO is another method than AEM."""
    if not isinstance(credit, Mapping):
        return _home(credit)
    base, path = (credit.get("init_args") or {}).get("base"), _home(credit["class_path"])
    return f"{_name(base)} in {path}" if base else path


def _home(class_path: str) -> str:
    """Where a class is defined: one that the package also exports has two class paths."""
    cls = pkgutil.resolve_name(class_path)
    return f"{cls.__module__}.{cls.__qualname__}"


def _differences(settings: Settings, recipe: Settings) -> list[str]:
    result = []
    for path in OBJECTIVE:
        here, there = _leaves(settings, path), _leaves(recipe, path)
        for key in sorted(here.keys() | there.keys()):
            if here.get(key) != there.get(key):
                short = key.removesuffix(".class_path").replace(".init_args", "")
                result.append(f"{short} is {_short(here.get(key))}, there {_short(there.get(key))}")
    return result


def _leaves(settings: Settings, path: str) -> dict[str, Any]:
    value: Any = settings
    for part in path.split("."):
        value = value.get(part)
    flat: dict[str, Any] = {}

    def walk(key: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for name, inner in value.items():
                walk(f"{key}.{name}", inner)
        else:
            flat[key] = _home(value) if key.endswith(".class_path") else value

    walk(path, value)
    return flat


def _short(value: Any) -> str:
    """Class paths by their last part."""
    return "unset" if value is None else re.sub(r"\blightning_agentrl(\.\w+)*\.", "", str(value))
