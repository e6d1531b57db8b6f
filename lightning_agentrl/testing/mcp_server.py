"""A small MCP server: ``python mcp_server.py [--corpus FILE] [--port N]``, over standard input and output or HTTP.

With a corpus its only tool searches that. Without one its tools behave well and badly, each in its own way.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer


def searching(server: MCPServer[Any], corpus: Path, top_k: int) -> None:
    """Give a server one tool: full-text search over passages."""
    from mcp.server.mcpserver.exceptions import ToolError

    from lightning_agentrl.data.readers import read_passages
    from lightning_agentrl.tools.search import SearchTool

    index = SearchTool([passage.contents for passage in read_passages(corpus)], top_k)

    @server.tool(description=index.description)
    def search(query: str) -> str:
        found = index.lookup(query)
        if not found.ok:
            raise ToolError(found.text)
        return found.text


def behaving(server: MCPServer[Any]) -> None:
    """Give a server tools that answer, refuse, flood, hang and die."""
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp.types import EmbeddedResource, ImageContent, ResourceLink, TextContent, TextResourceContents

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two whole numbers."""
        return a + b

    @server.tool()
    def refuse(reason: str) -> str:
        """Fail, for the reason given."""
        raise ToolError(reason)

    @server.tool(structured_output=False)
    def flood(characters: int) -> str:
        """Return so many characters."""
        return "x" * characters

    @server.tool()
    async def wait(seconds: float) -> str:
        """Answer after so many seconds; the server goes on meanwhile."""
        await asyncio.sleep(seconds)
        return "waited"

    @server.tool()
    async def freeze(seconds: float) -> str:
        """Hold up the whole server for so many seconds."""
        time.sleep(seconds)
        return "thawed"

    @server.tool()
    async def die() -> str:
        """End the server's process at once."""
        os._exit(3)

    @server.tool()
    def pid() -> int:
        """Number of the server's process."""
        return os.getpid()

    @server.tool(structured_output=False)
    def nothing() -> None:
        """Return nothing."""

    @server.tool(structured_output=False)
    def mixed() -> list[Any]:
        """Return content of every kind."""
        text = TextResourceContents(uri="memo://1", text="a memo")
        return [
            TextContent(type="text", text="words"),
            ImageContent(type="image", data="AAAA", mime_type="image/png"),
            ResourceLink(type="resource_link", name="page", uri="https://example.org/"),
            EmbeddedResource(type="resource", resource=text),
        ]


def main() -> None:
    """Serve until standard input ends; with a port, tell the address and serve until a signal comes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, help="passages to search: JSON lines or Parquet with id and contents")
    parser.add_argument("--top-k", type=int, default=1, help="passages per result")
    parser.add_argument("--port", type=int, help="serve HTTP at this loopback port instead; 0 takes a free one")
    arguments = parser.parse_args()
    from mcp.server.mcpserver import MCPServer

    server: MCPServer[Any] = MCPServer("examples")
    if arguments.corpus is None:
        behaving(server)
    else:
        searching(server, arguments.corpus, arguments.top_k)
    if arguments.port is None:
        server.run("stdio")
        return
    import uvicorn

    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", arguments.port))
        listening.listen()
        print(f"http://127.0.0.1:{listening.getsockname()[1]}/mcp", flush=True)  # noqa: T201 - for who started this
        config = uvicorn.Config(server.streamable_http_app(), log_level="warning")
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
