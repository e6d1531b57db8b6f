"""Where ``-c algorithm/grpo`` finds its file: the path as given, else the configurations that ship with the package."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

PACKAGED = Path(__file__).parent / "configs"
CHECKOUT = Path(__file__).parent.parent / "configs"


def config_root() -> Path:
    """The folder of shipped configurations: inside an installed package, or beside it in a checkout."""
    return PACKAGED if PACKAGED.is_dir() else CHECKOUT


def config_names() -> list[str]:
    """Names of all shipped configurations, such as ``algorithm/grpo``."""
    root = config_root()
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))


def find_config(name: str) -> Path:
    """The file that a ``-c`` option means.

    Raises:
        ValueError: when there is none, with the nearest shipped names.
    """
    given = Path(name)
    if given.is_file():
        return given
    shipped = name.removeprefix("configs/").removesuffix(".yaml")
    if shipped in config_names():
        return config_root() / f"{shipped}.yaml"
    last = {known.rsplit("/", 1)[-1]: known for known in config_names()}
    found = difflib.get_close_matches(shipped.rsplit("/", 1)[-1], last, n=3, cutoff=0.5)
    near = [last[known] for known in found] or config_names()
    raise ValueError(f"No configuration {name!r}: neither a file here nor a shipped name. Near: {', '.join(near)}.")


def expand(arguments: Sequence[str]) -> list[str]:
    """The command line with every ``-c NAME`` replaced by its file, and ``--print_config`` made to show help.

    Raises:
        ValueError: when a name means no file, or two of them are algorithms.
    """
    result: list[str] = []
    methods: list[str] = []
    expecting = False
    for argument in arguments:
        if expecting or argument.startswith("--config="):
            name = argument.removeprefix("--config=")
            path = find_config(name)
            result.append(str(path) if expecting else f"--config={path}")
            if path.resolve().parent == (config_root() / "algorithm").resolve():
                methods.append(name)
        elif argument == "--print_config":
            result.append("--print_config=comments")  # each option with its help
        else:
            result.append(argument)
        expecting = not expecting and argument in ("-c", "--config")
    if len(methods) > 1:
        raise ValueError(
            f"{' and '.join(methods)} are each a whole method, and what the last one does not name would stay from the "
            f"others. Give one, and change parts of it by options such as --model.credit."
        )
    return result
