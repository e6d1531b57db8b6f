"""Tools of an MCP server: listed once, called over a session that stays open."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from lightning_agentrl.tools.base import InfrastructureError, Tool, ToolLimits, ToolResult
from lightning_agentrl.tools.mcp_connection import Connection, reasons
from lightning_agentrl.tools.sources import ToolSource

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult
    from mcp.types import Tool as Listed

LARGEST_EVENT = 1 << 26
"""Bytes of one message over HTTP. Results are cut to `ToolLimits.max_characters` later, and must arrive before."""
TETHER = Path(__file__).with_name("tether.py")


@dataclass(frozen=True)
class MCPTools(ToolSource):
    """The tools of one MCP server, shared by all trajectories, so the server must keep no state of theirs.

    A server that dies or no longer answers is started, or connected to, anew; calls that were under way are repeated.
    """

    command: Sequence[str] = ()
    """What starts a server that speaks over its standard input and output, with its arguments. ``python`` is the
    interpreter that trains. The process ends with the run, however that ends."""
    url: str | None = None
    """Instead: address of a server that is running already and speaks streamable HTTP."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the command; of the run's own it only gets HOME, PATH and the like."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """HTTP headers of every request to the address, such as Authorization."""
    include: Sequence[str] | None = None
    """Names of the tools to offer, as the server calls them; null offers all."""
    prefix: str = ""
    """Put before each name that the policy sees, for servers with tools of the same name."""
    start_timeout: float = 60.0
    """Seconds that starting or connecting may take."""
    limits: ToolLimits = field(default_factory=ToolLimits)
    """What a call of each of the tools may cost."""

    def __post_init__(self) -> None:
        if bool(self.command) == bool(self.url):
            raise ValueError(f"MCPTools needs either command or url, got {self.command!r} and {self.url!r}.")
        if self.start_timeout <= 0:
            raise ValueError(f"start_timeout must be positive, got {self.start_timeout}.")

    def tools(self) -> Sequence[Tool]:
        """One per tool that the server lists; it is asked once."""
        return self._tools

    def close(self) -> None:
        """End the session, and the server if it was started here."""
        self.connection.close()

    @property
    def name(self) -> str:
        """Of the server, in messages."""
        return f"The MCP server {self.url or ' '.join(self.command)!r}"

    @cached_property
    def connection(self) -> Connection:
        """The session; nothing is started before the first request."""
        try:
            import mcp  # noqa: F401
        except ImportError as error:
            raise ImportError("MCPTools needs the MCP client: pip install lightning-agentrl[mcp]") from error
        return Connection(self.name, self._session, self.start_timeout)

    @cached_property
    def _tools(self) -> tuple[Tool, ...]:
        try:
            listed = {tool.name: tool for tool in self.connection.ask_now(_list)}
        except InfrastructureError as error:
            raise ValueError(f"{error} Check command or url of MCPTools.") from error
        chosen = list(listed) if self.include is None else list(self.include)
        missing = [name for name in chosen if name not in listed]
        if missing or not chosen:
            lacks = f"no tool {', '.join(missing)}" if missing else "no tools"
            raise ValueError(f"{self.name} has {lacks}; it lists {', '.join(listed) or 'none'}.")
        return tuple(MCPTool(self, listed[name]) for name in chosen)

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[Client]:
        from mcp import Client, StdioServerParameters, stdio_client

        async with contextlib.AsyncExitStack() as stack:
            if self.url is not None:
                yield await stack.enter_async_context(Client(await self._over_http(stack), cache=None))
                return
            command = [sys.executable if self.command[0] in ("python", "python3") else self.command[0]]
            command = [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *command, *self.command[1:]]
            server = StdioServerParameters(command=command[0], args=command[1:], env=dict(self.env))
            errors = _Overheard()
            try:
                with errors.file as file:
                    client = await stack.enter_async_context(Client(stdio_client(server, file), cache=None))
            except Exception as error:
                raise RuntimeError(f"{reasons(error)}{errors}") from error
            yield client

    async def _over_http(self, stack: contextlib.AsyncExitStack) -> Any:
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        # The toolbox cuts off slow calls; a stream may be silent for as long as a tool runs.
        timeout = httpx2.Timeout(self.start_timeout, read=None)
        client = await stack.enter_async_context(httpx2.AsyncClient(headers=dict(self.headers), timeout=timeout))
        return streamable_http_client(str(self.url), http_client=client, max_sse_event_size=LARGEST_EVENT)


class MCPTool(Tool):
    """One tool of a server, with the description and the JSON schema that the server gives."""

    def __init__(self, source: MCPTools, listed: Listed) -> None:
        self._source = source
        self._listed = listed

    @property
    def name(self) -> str:
        """The server's, behind the prefix."""
        return self._source.prefix + self._listed.name

    @property
    def description(self) -> str:
        """The server's; a title where it has none."""
        return self._listed.description or self._listed.title or ""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The server's JSON schema."""
        return self._listed.input_schema

    @property
    def limits(self) -> ToolLimits:
        """The source's."""
        return self._source.limits

    async def __call__(self, **arguments: Any) -> ToolResult:
        """Call it; what the server calls an error is a result that is not ok, of the kind ``tool_error``."""
        from mcp import MCPError

        # Half a surrogate pair is valid JSON, but the client could not write it, and its session would end.
        sound = json.loads(json.dumps(arguments, ensure_ascii=False).encode(errors="replace"))
        try:
            result = await self._source.connection.ask(lambda client: client.call_tool(self._listed.name, sound))
        except MCPError as refusal:
            return ToolResult(f"Error: {refusal}", ok=False, error_kind="tool_error")
        text = readable(result)
        return ToolResult(text, ok=False, error_kind="tool_error") if result.is_error else ToolResult(text)

    def close(self) -> None:
        """Close the server's session, for all of its tools."""
        self._source.close()


def readable(result: CallToolResult) -> str:
    """The content of a result as text: what is no text is named, with its kind and size."""
    if not result.content and result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return "\n".join(_block(block.model_dump(mode="json")) for block in result.content)


def _block(block: Mapping[str, Any]) -> str:
    match block["type"]:
        case "text":
            return str(block["text"])
        case "resource":
            resource = block["resource"]
            return str(resource["text"]) if "text" in resource else f"[resource {resource['uri']}]"
        case "resource_link":
            return f"[link {block['name']}: {block['uri']}]"
        case kind:  # image, audio
            return f"[{kind} {block.get('mime_type')}, {len(block.get('data', ''))} characters of base64]"


async def _list(client: Client) -> list[Listed]:
    """All pages of the server's list."""
    page = await client.session.list_tools()
    tools = list(page.tools)
    while page.next_cursor:
        from mcp.types import PaginatedRequestParams

        page = await client.session.list_tools(params=PaginatedRequestParams(cursor=page.next_cursor))
        tools += page.tools
    return tools


class _Overheard:
    """The last lines that a server writes to its standard error, for the message should it not start."""

    def __init__(self) -> None:
        reading, writing = os.pipe()
        self.file: TextIO = os.fdopen(writing, "w")  # to be closed here once the server has it
        self._lines: deque[str] = deque(maxlen=10)
        self._thread = threading.Thread(target=self._read, args=(reading,), name="agentrl-mcp-stderr", daemon=True)
        self._thread.start()

    def _read(self, reading: int) -> None:
        with os.fdopen(reading, errors="replace") as pipe:
            self._lines.extend(pipe)

    def __str__(self) -> str:
        self._thread.join(1.0)
        said = "".join(self._lines).strip()
        return f"; it said: {said}" if said else ""
