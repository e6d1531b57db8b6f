"""Headings, lists and paragraphs."""

from .inline import plain, render


def heading_level(line: str, deepest: int = 3) -> int:
    """Number of # before a blank at the beginning, at most ``deepest``; 0 for other lines."""
    count = len(line) - len(line.lstrip("#"))
    if count == 0 or line[count : count + 1] != " ":
        return 0
    return min(count, deepest)


def to_html(text: str) -> list[str]:
    """Lines of HTML; list items begin with ``- ``, and neighbouring ones make one list."""
    result: list[str] = []
    in_list = False
    for line in text.split("\n"):
        is_item = line.startswith("- ")
        if is_item and not in_list:
            result.append("<ul>")
        elif in_list and not is_item:
            result.append("</ul>")
        in_list = is_item
        level = heading_level(line)
        if is_item:
            result.append(f"<li>{render(line[2:])}</li>")
        elif level:
            result.append(f"<h{level}>{render(line.lstrip('#').strip())}</h{level}>")
        elif line.strip():
            result.append(f"<p>{render(line.strip())}</p>")
    if in_list:
        result.append("</ul>")
    return result


def contents(text: str, deepest: int = 2) -> list[str]:
    """Headings down to a level, two blanks before each for every level below the first."""
    lines = []
    for line in text.split("\n"):
        level = heading_level(line, 6)
        if 0 < level <= deepest:
            lines.append("  " * (level - 1) + plain(line.lstrip("#").strip()))
    return lines
