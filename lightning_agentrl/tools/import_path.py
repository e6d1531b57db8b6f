"""Classes and functions that a configuration names by their import path."""

from __future__ import annotations

import importlib
from typing import Any


def imported(path: str, what: str) -> Any:
    """The object behind ``package.module.name``.

    Args:
        path: with at least one dot.
        what: which setting named it, for the message.

    Raises:
        ValueError: when there is no such module or name; an error inside the module is raised as it is.
    """
    module, _, name = path.rpartition(".")
    if not module:
        raise ValueError(f"{what} must be an import path such as my_package.my_module.{path}, got {path!r}.")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and something that it imports is not
        raise ValueError(f"{what} names {path}, but there is no module {error.name}.") from error
    if not hasattr(found, name):
        raise ValueError(f"{what} names {path}, but {module} has no {name}.")
    return getattr(found, name)
