"""Bodies of the retrieval protocol: ``/retrieve`` as Search-R1 defined it, and ``/access`` as ASearcher added it.

``POST /retrieve {"queries": [text], "topk": k, "return_scores": true}`` is answered with
``{"result": [[{"document": {"id", "contents"}, "score"}]]}``, a list per query; ``POST /access {"urls": [id]}`` with
``{"result": [{"contents"} or null]}``. Servers in use differ in details, so a little more is understood: documents
without the wrapping of scores, with a url instead of an id, or with title and text instead of contents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_agentrl.data.readers import titled
from lightning_agentrl.tools.retrieval.base import Hit
from lightning_agentrl.tools.retrieval.client import SHOWN, ReplyError
from lightning_agentrl.tools.text import sound


def retrieve_body(queries: Sequence[str], k: int) -> dict[str, Any]:
    """What to post to ``/retrieve``."""
    return {"queries": [sound(query) for query in queries], "topk": k, "return_scores": True}


def read_retrieved(reply: Any, queries: int) -> list[list[Hit]]:
    """What a server found.

    Raises:
        ReplyError: the reply has another form, or not as many results as there were queries.
    """
    return [
        [hit for rank, item in enumerate(_list(found)) if (hit := _hit(item, rank)).contents.strip()]
        for found in _results(reply, queries)
    ]


def access_body(ids: Sequence[str]) -> dict[str, Any]:
    """What to post to ``/access``."""
    return {"urls": [sound(id) for id in ids]}


def read_accessed(reply: Any, ids: int) -> list[str | None]:
    """Contents of pages; None where the server has no such page.

    Raises:
        ReplyError: the reply has another form, or not as many results as there were ids.
    """
    return [_contents(page) for page in _results(reply, ids)]


def _results(reply: Any, expected: int) -> list[Any]:
    if not isinstance(reply, dict) or not isinstance(reply.get("result"), list):
        raise ReplyError(f'A retrieval server must answer {{"result": [...]}}, got {_shown(reply)}.')
    results: list[Any] = reply["result"]
    if len(results) != expected:
        raise ReplyError(f"A retrieval server was asked {expected} things and answered {len(results)}.")
    return results


def _list(found: Any) -> list[Any]:
    if not isinstance(found, list):
        raise ReplyError(f"A retrieval server must answer each query with a list, got {_shown(found)}.")
    return found


def _hit(item: Any, rank: int) -> Hit:
    """A document, wrapped with its score or bare; without any identity it is known by its rank."""
    wrapped = isinstance(item, dict) and "document" in item
    document = item["document"] if wrapped else item
    score = item.get("score") if wrapped else None
    if not isinstance(document, dict) or not isinstance(score or 0.0, int | float):
        raise ReplyError(f"A retrieval server must find documents with contents, got {_shown(item)}.")
    id = next((document[key] for key in ("id", "_id", "url") if document.get(key) is not None), rank)
    contents = document.get("contents")
    if contents is None and isinstance(document.get("text"), str):
        contents = titled(document.get("title"), document["text"])
    if not isinstance(contents, str):
        raise ReplyError(f"A retrieval server must find documents with contents, got {_shown(item)}.")
    return Hit(str(id), contents, float(score or 0.0))


def _contents(page: Any) -> str | None:
    if page is None or page == {} or (isinstance(page, dict) and page.get("contents") == ""):
        return None
    contents = page.get("contents") if isinstance(page, dict) else page
    if not isinstance(contents, str):
        raise ReplyError(f'A page server must answer {{"contents": text}} or null, got {_shown(page)}.')
    return contents


def _shown(reply: Any) -> str:
    return repr(reply)[:SHOWN]
