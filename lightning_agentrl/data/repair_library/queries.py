"""Query strings and paths of web addresses."""


def parse_query(text: str) -> dict[str, list[str]]:
    """Values by name, in order; a name without = has an empty value, and + stands for a blank."""
    result: dict[str, list[str]] = {}
    for part in text.removeprefix("?").split("&"):
        if not part:
            continue
        name, _, value = part.partition("=")
        result.setdefault(name, []).append(value.replace("+", " "))
    return result


def build_query(values: dict[str, list[str]]) -> str:
    """The query string, names by alphabet; an empty text without values."""
    parts = [f"{name}={value.replace(' ', '+')}" for name in sorted(values) for value in values[name]]
    return "?" + "&".join(parts) if parts else ""


def join(base: str, path: str) -> str:
    """Where a path leads from a base: one with a leading slash from the root, another from the base's folder."""
    if path.startswith("/"):
        return normalize(path)
    folder = base.rpartition("/")[0]
    return normalize(folder + "/" + path)


def normalize(path: str) -> str:
    """Without . and .. and doubled slashes; .. at the root leads to the root."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if kept:
                kept.pop()
        elif part and part != ".":
            kept.append(part)
    return "/" + "/".join(kept)


def extension(path: str) -> str:
    """What follows the last dot of the last part, in lower case; nothing for names that begin with their only dot."""
    name = path.rpartition("/")[2]
    stem, dot, ending = name.rpartition(".")
    return ending.lower() if dot and stem else ""


def depth(path: str) -> int:
    """Number of folders above the last part."""
    return max(0, normalize(path).count("/") - 1)
