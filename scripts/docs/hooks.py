"""What is on the site: tutorials as they lie, the files of the top folder, executed notebooks, a reference of the code.

Pages link to each other as they do in the repository. Here a link to a file that is no page leads to the reference, if
it is a module, and otherwise to a copy of the file, so that the site needs no host of the repository.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[2]
TOP = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files of the top folder, and the pages that they are."""
PACKAGE = "lightning_agentrl"
REFERENCE = (
    *("types/*", "ops", "prefix_tree", "credit/*", "losses/*", "branching/*", "rewards/*", "figures/*", "callbacks/*"),
    *("engines/base", "environments/base", "formats/base", "tools/base", "tools/function", "testing/*"),
    *("module", "datamodule"),
)
"""What the reference covers: all that somebody builds on or sets in a configuration."""
LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")
CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)
MATH = re.compile(r"\$\$(.+?)\$\$|\$(?!\s)([^$\n]+?)(?<!\s)\$", re.DOTALL)


class LiteralUnderscores(Extension):
    """Formulas in prose keep their indices: emphasis is written with asterisks."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Forget about emphasis by underscores."""
        md.delimiters.remove("_")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The navigation, in the order of file names; headings are cut at their dash."""
    tutorials = Path(config.docs_dir)

    def pages(folder: Path) -> list[dict[str, str]]:
        found = {
            path.relative_to(tutorials).as_posix(): path.read_text(encoding="utf-8") for path in folder.glob("*.md")
        }
        return [{text.lstrip("# ").split("\n")[0].split(" — ")[0]: uri} for uri, text in sorted(found.items())]

    config.markdown_extensions.append(LiteralUnderscores())  # type: ignore[arg-type]
    sections: dict[str, list[str] | list[dict[str, str]]] = {
        "Tutorials": pages(tutorials),
        "Algorithms": pages(tutorials / "algorithms"),
        "Recipes": pages(tutorials / "recipes"),
        "Notebooks": [f"notebooks/{path.stem}.md" for path in _notebooks()],
        "Reference": [f"reference/{name}.md" for name in _modules()],
        "Project": [page for page in TOP.values() if page != "index.md"],
    }
    config.nav = [{"Home": "index.md"}, *({title: found} for title, found in sections.items() if found)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what does not lie below tutorials/."""
    made: dict[str, str | bytes] = {page: (ROOT / name).read_text(encoding="utf-8") for name, page in TOP.items()}
    made["site.css"] = Path(__file__).with_name("site.css").read_text(encoding="utf-8")
    for notebook in _notebooks():
        made |= _rendered(notebook)
    for name, modules in _modules().items():
        made[f"reference/{name}.md"] = "\n\n".join([f"# {name}", *(f"::: {module}" for module in modules)])
    for uri, content in made.items():
        files.append(File.generated(config, uri, content=content))
    for path in sorted({path for page in _sources() for path in _linked(page)}):
        if _uri(path, files) is None and (ROOT / path).is_file():
            files.append(File.generated(config, f"files/{path}", content=(ROOT / path).read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they are in the repository become links as they are on the site."""
    if page.file.src_uri == "index.md":
        page.meta["hide"] = ["navigation"]
    home = _path(page.file.src_uri)

    def replaced(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(home), link[2]))
        uri = _uri(path, files)
        if uri is None:
            return link[0]  # which the strict build reports
        target, _, anchor = uri.partition("#")
        shown = posixpath.relpath(target, posixpath.dirname(page.file.src_uri) or ".")
        return f"{link[1]}{shown}{f'#{anchor}' if anchor else link[3] or ''}"

    return _outside_code(markdown, lambda text: LINK.sub(replaced, text))


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """The text with all but its code changed."""
    return "".join(part if number % 2 else change(part) for number, part in enumerate(CODE.split(text)))


def _notebooks() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def _rendered(notebook: Path) -> dict[str, str | bytes]:
    """A notebook as it was executed, and its pictures."""
    body, resources = MarkdownExporter().from_filename(str(notebook))
    pictures = {f"notebooks/{notebook.stem}/{name}": data for name, data in resources["outputs"].items()}
    for name in resources["outputs"]:
        body = body.replace(f"]({name})", f"]({notebook.stem}/{name})")
    return {f"notebooks/{notebook.stem}.md": _outside_code(body, lambda text: MATH.sub(_mathml, text)), **pictures}


def _mathml(formula: re.Match[str]) -> str:
    return str(convert(formula[1] or formula[2], display="block" if formula[1] else "inline")).replace("\n", " ")


@cache
def _modules() -> dict[str, list[str]]:
    """Page of the reference → modules with public names."""
    found: dict[str, list[str]] = {}
    for pattern in REFERENCE:
        for path in sorted((ROOT / PACKAGE).glob(f"{pattern}.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if not parts[-1].startswith("_") and _is_public(path):
                found.setdefault(parts[1], []).append(".".join(parts))
    return found


def _is_public(path: Path) -> bool:
    """Whether a module defines something that has a name without an underscore."""
    return any(
        isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
    )


def _sources() -> Iterator[str]:
    """Pages by their path in the repository."""
    yield from TOP
    for path in sorted((ROOT / "tutorials").rglob("*.md")):
        yield path.relative_to(ROOT).as_posix()


def _linked(page: str) -> Iterator[str]:
    text = "".join(CODE.split((ROOT / page).read_text(encoding="utf-8"))[::2])
    for link in LINK.finditer(text):
        yield posixpath.normpath(posixpath.join(posixpath.dirname(page), link[2]))


def _path(uri: str) -> str:
    """Where a page lies in the repository."""
    top = {page: name for name, page in TOP.items()}
    return top.get(uri) or (uri if uri.startswith("notebooks/") else f"tutorials/{uri}")


def _uri(path: str, files: Files) -> str | None:
    """Where a path of the repository is on the site."""
    found = TOP.get(path) or path.removeprefix("tutorials/")
    if path.startswith("notebooks/") and path.endswith(".ipynb"):
        found = path.removesuffix(".ipynb") + ".md"
    if path.startswith(f"{PACKAGE}/") and path.endswith(".py"):
        module = path.removesuffix(".py").replace("/", ".")
        for name, modules in _modules().items():
            if module in modules:
                return f"reference/{name}.md#{module}"
    for uri in (found, f"files/{path}"):
        if files.get_file_from_path(uri) is not None:
            return uri
    return None
