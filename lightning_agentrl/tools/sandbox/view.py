"""What of the machine a template gets to see, and the command that starts it in that view."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

INSIDE = Path(__file__).parent / "inside"
HARNESS = "/harness"
"""Where bubblewrap shows our code."""
FOLDER = "/sandbox"
"""Where bubblewrap shows a program's private folder."""
START = "import sys; sys.path.append({!r}); from inside.template import main; sys.path.pop(); main()"
SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")


@cache
def interpreter() -> str:
    """The Python below any virtual environment."""
    base: str = sys._base_executable  # type: ignore[attr-defined]  # CPython has it, though typeshed does not
    return os.path.realpath(base)


@cache
def libraries() -> tuple[str, ...]:
    """What an interpreter has to read: its standard library and the system's shared libraries."""
    prefix = Path(sys.base_prefix).resolve()
    own = [str(prefix / "lib"), str(prefix / sys.platlibdir)]
    return tuple(path for path in dict.fromkeys([*own, *SYSTEM_LIBRARIES]) if os.path.exists(path))


def search_folders(modules: Sequence[str]) -> tuple[str, ...]:
    """Where modules lie that are not part of the standard library.

    Raises:
        ValueError: for one that is not installed.
    """
    folders = []
    for name in modules:
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names:
            continue
        spec = find_spec(top)
        place = spec and (spec.origin or next(iter(spec.submodule_search_locations or ()), None))
        if not place:
            raise ValueError(f"A sandbox can preload modules that are installed, got {name!r}; install or drop it.")
        folder = os.path.dirname(place)
        folders.append(os.path.dirname(folder) if os.path.basename(place) == "__init__.py" else folder)
    return tuple(dict.fromkeys(folders))


def command(
    bubblewrap: str | None, arguments: Sequence[str], search: Sequence[str] = (), folder_bytes: int = 0
) -> list[str]:
    """The command line that starts Python, in a view of the machine that holds only what it needs.

    Args:
        bubblewrap: path of bubblewrap; None starts Python as it is.
        arguments: Python's, after ``-I -S``.
        search: folders of modules beside the standard library.
        folder_bytes: size of the private folder; 0 for none.
    """
    python = [interpreter(), "-I", "-S", *arguments]
    if bubblewrap is None:
        return python
    view = ["--ro-bind", str(INSIDE), f"{HARNESS}/inside"]
    for path in dict.fromkeys([*libraries(), interpreter(), *search]):
        view += ["--ro-bind", path, path]
    if folder_bytes:
        view += ["--size", str(folder_bytes), "--tmpfs", FOLDER]
    # No /proc and no /dev: nothing there is needed. The template is process 1 of its namespace: nobody inside can kill
    # it, its end ends all, and no process of bubblewrap's, with its environment, lies within reach.
    isolation = ["--unshare-all", "--hostname", "sandbox", "--die-with-parent", "--as-pid-1", "--cap-drop", "ALL"]
    return [bubblewrap, *isolation, *view, "--remount-ro", "/", "--chdir", "/", "--", *python]
