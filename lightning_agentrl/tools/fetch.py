"""The fetch tool: opens a page that a search named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightning_agentrl.tools.base import Tool, ToolLimits, ToolResult
from lightning_agentrl.tools.retrieval.pages import Pages

NOT_FOUND = "not_found"
"""Kind of failure: there is no such page, or no such part of it."""
ROOM = 200
"""Characters of a result beside the part of a page."""


@dataclass(frozen=True)
class FetchTool(Tool):
    """Opens a page by the id or URL that a search showed, a part at a time."""

    pages: Pages
    """Where pages come from."""
    page_characters: int = 4000
    """Length of a part, at least 1."""
    name: str = "fetch"
    """What the policy calls it by."""
    description: str = "Open a page that a search found, by its id or URL. A long page comes in parts."
    """What the policy is told about it."""

    def __post_init__(self) -> None:
        if self.page_characters < 1:
            raise ValueError(f"page_characters must be at least 1, got {self.page_characters}.")
        patience = self.pages.timeout
        if patience is not None and patience >= self.limits.timeout:
            raise ValueError(
                f"The pages may take {patience:g} seconds, the tool {self.limits.timeout:g}: the policy would be "
                f"blamed for a slow server. Let the timeout of the pages be the smaller one."
            )

    @property
    def parameters(self) -> Mapping[str, Any]:
        """JSON schema of the arguments."""
        id = {"type": "string", "description": "Id or URL of the page, as the search showed it."}
        page = {"type": "integer", "description": "Which part of a long page, 1 (the first) by default."}
        return {"type": "object", "properties": {"id": id, "page": page}, "required": ["id"]}

    @property
    def limits(self) -> ToolLimits:
        """Room for a part of a page."""
        return ToolLimits(max_characters=self.page_characters + ROOM)

    async def __call__(self, **arguments: Any) -> ToolResult:
        """Open part ``page`` of the page ``id``."""
        id, number = arguments["id"].strip(), arguments.get("page", 1)
        contents = await self.pages.contents(id)
        if contents is None:
            reason = f"Error: there is no page {id[: ROOM // 4]!r}; use an id that a search showed."
            return ToolResult(reason, ok=False, error_kind=NOT_FOUND)
        parts = count_parts(contents, self.page_characters)
        if not 1 <= number <= parts:
            reason = f"Error: the page has {parts} {'part' if parts == 1 else 'parts'}, there is no part {number}."
            return ToolResult(reason, ok=False, error_kind=NOT_FOUND)
        return ToolResult(part(contents, number, self.page_characters))

    def close(self) -> None:
        """Close the pages."""
        self.pages.close()


def count_parts(contents: str, length: int) -> int:
    """Number of parts of a page."""
    return max(1, -(-len(contents) // length))


def part(contents: str, number: int, length: int) -> str:
    """What the policy reads: a part of a page, counted from 1, and which one it is if there are several."""
    text = contents[(number - 1) * length : number * length]
    count = count_parts(contents, length)
    return text if count == 1 else f"{text}\n[part {number} of {count}]"
