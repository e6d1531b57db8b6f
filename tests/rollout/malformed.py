"""Mistakes that a policy can make in a call, by format, and what each comes to."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedTokenizerFast

from lightning_agentrl.data.tiny_tokenizer import train_tokenizer
from lightning_agentrl.formats.base import ChatFormat
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.formats.tags import Tag, TagFormat
from lightning_agentrl.formats.template import TemplateFormat
from lightning_agentrl.types import CallError

sys.path.insert(0, str(Path(__file__).parent.parent / "formats"))
from dialects import JSONObjects, llama

HERMES = HermesFormat()
TAGS = TagFormat(
    tools={"search": Tag("search", "query"), "plus": Tag("add", "left"), "look": Tag("lookup", "name")}, boxed=False
)
LLAMA = TemplateFormat(JSONObjects("parameters"))
TEXTS = ['<tool_call>{"name": "search", "arguments": {"query": "Anra"}}</tool_call>', "Error: there is no tool"] * 5


@dataclass(frozen=True)
class Row:
    """A turn, and what it comes to."""

    said: str
    """Control tokens included."""
    heard: tuple[str, ...]
    """The results that answer it; none where it ends the episode."""
    kinds: tuple[CallError | None, ...]
    """Of the calls that are kept, in order; None for one that was run."""


CALL = '<tool_call>{"name": "search", "arguments": {"query": "Anra"}}</tool_call>'
FORM = 'expected <tool_call>{"name": ..., "arguments": {...}}</tool_call>.'
HALF = f"Error: <tool_call> without </tool_call>; {FORM}"


def called(name: str, arguments: str) -> str:
    return f'<tool_call>{{"name": "{name}", "arguments": {arguments}}}</tool_call>'


HERMES_ROWS = {
    "bad json": Row(
        '<tool_call>{"name": "search", "arguments": {"query": "Anra}}</tool_call>',
        (f"Error: not valid JSON (Unterminated string starting at: line 1 column 43 (char 42)); {FORM}",),
        (CallError.BAD_JSON,),
    ),
    "not a call": Row(
        "<tool_call>[1]</tool_call>",
        (f"Error: the call is a list, not an object; {FORM}",),
        (CallError.NOT_A_CALL,),
    ),
    "no arguments": Row(
        '<tool_call>{"name": "search"}</tool_call>',
        (f'Error: the call has no "arguments" that are an object; {FORM}',),
        (CallError.NOT_A_CALL,),
    ),
    "opening tag alone": Row(f"Let me see. {CALL[:-12]}", (HALF,), (CallError.HALF_TAG,)),
    "closing tag alone": Row(
        f"Let me see. {CALL[11:]}",
        (f"Error: </tool_call> without <tool_call>; {FORM}",),
        (CallError.HALF_TAG,),
    ),
    "half a tag": Row("<tool_call", (f"Error: a tag is not finished; {FORM}",), (CallError.HALF_TAG,)),
    "two calls in a tag": Row(
        CALL.replace("}}", '}}\n{"name": "search", "arguments": {"query": "Bodor"}}'),
        (f"Error: two calls in one tag, none was run; write a tag for each; {FORM}",),
        (CallError.TWO_CALLS,),
    ),
    "a list of calls": Row(
        '<tool_call>[{"name": "a", "arguments": {}}, {"name": "b", "arguments": {}}]</tool_call>',
        (f"Error: two calls in one tag, none was run; write a tag for each; {FORM}",),
        (CallError.TWO_CALLS,),
    ),
    "parallel calls": Row(CALL + CALL.replace("Anra", "é"), ("about Anra", "about é"), (None, None)),
    "one of two is wrong": Row(f"<tool_call>{CALL}", (HALF, "about Anra"), (CallError.HALF_TAG, None)),
    "call in a thought": Row(
        f"<think>{CALL}</think>",
        (
            "Error: a call inside of <think> is not run; "
            'write <tool_call>{"name": ..., "arguments": {...}}</tool_call> behind </think>.',
        ),
        (CallError.IN_THOUGHT,),
    ),
    "call in a thought and a real one": Row(
        f"<think>{CALL}</think>{CALL}", ("about Anra",), (None, CallError.IN_THOUGHT)
    ),
    "call behind the answer": Row(f"<answer>Bodor</answer>{CALL}", (), (CallError.AFTER_END,)),
    "call behind the end": Row(
        f"Done.<|im_end|>{CALL}<|im_end|>",
        ("Error: a call behind the answer or the end of a turn is not run; call before.",),
        (CallError.AFTER_END,),
    ),
    "unknown tool": Row(
        called("lookup", "{}"), ("Error: there is no tool 'lookup', only search, add.",), (CallError.UNKNOWN_TOOL,)
    ),
    "missing argument": Row(
        called("search", "{}"), ("Error: missing argument 'query'.",), (CallError.MISSING_ARGUMENT,)
    ),
    "extra argument": Row(
        called("search", '{"query": "x", "limit": 3}'),
        ("Error: unexpected argument 'limit'; the tool takes 'query'.",),
        (CallError.EXTRA_ARGUMENT,),
    ),
    "wrong type": Row(
        called("add", '{"left": "x"}'),
        ("Error: argument 'left' must be of type integer, got str.",),
        (CallError.WRONG_TYPE,),
    ),
    "too many calls": Row(
        CALL * 3,
        ("about Anra", "about Anra", "Error: at most 2 calls in one turn; the rest were not run."),
        (None, None, CallError.TOO_MANY_CALLS),
    ),
    "no call at all": Row("Let me see.", (), ()),
}
QUERY = "expected <search>...</search> with the query in between."
TAG_ROWS = {
    "closing tag alone": Row("Anra</search>", (f"Error: </search> without <search>; {QUERY}",), (CallError.HALF_TAG,)),
    "another closing tag": Row(
        "<plus>1</search>", (f"Error: </search> without <search>; {QUERY}",), (CallError.HALF_TAG,)
    ),
    "opening tag alone": Row("<search>Anra<|im_end|>", (), ()),
    "call before the end of text": Row("<search>Anra</searc<|im_end|>", (), ()),
    "not a call": Row("<search> </search>", (f"Error: nothing stands in <search>; {QUERY}",), (CallError.NOT_A_CALL,)),
    "two calls": Row("<search>a <search>Anra</search>", ("about Anra",), (None,)),
    "call in a thought": Row("<think>Hm. <search>Anra</search>", ("about Anra",), (None,)),
    "call behind the answer": Row("<answer>Bodor</answer><search>Anra</search>", (), (CallError.AFTER_END,)),
    "unknown tool": Row(
        "<look>x</look>", ("Error: there is no tool 'lookup', only search, add.",), (CallError.UNKNOWN_TOOL,)
    ),
    "wrong type": Row(
        "<plus>1</plus>", ("Error: argument 'left' must be of type integer, got str.",), (CallError.WRONG_TYPE,)
    ),
    "no call at all": Row("Let me see.<|im_end|>", (), ()),
}


EXAMPLE = '{"name": "tool_name", "parameters": {"argument": "value"}}'
UNREAD = f"Error: what looks like a call cannot be read as one; expected {EXAMPLE}."
LLAMA_CALL = '{"name": "search", "parameters": {"query": "Anra"}}'
LLAMA_ROWS = {
    "bad json": Row('{"name": "search", "parameters": {', (UNREAD,), (CallError.NOT_A_CALL,)),
    "not a call": Row('{"name": "search"}', (UNREAD,), (CallError.NOT_A_CALL,)),
    "one of two is wrong": Row(f'{LLAMA_CALL}{{"name": "x', ("about Anra", UNREAD), (None, CallError.NOT_A_CALL)),
    "parallel calls": Row(f"{LLAMA_CALL}; {LLAMA_CALL}", ("about Anra", "about Anra"), (None, None)),
    "call in a thought": Row(
        f"<think>{LLAMA_CALL}</think>",
        ("Error: a call inside of <think> is not run; call behind </think>.",),
        (CallError.IN_THOUGHT,),
    ),
    "call behind the answer": Row(f"<answer>Bodor</answer>{LLAMA_CALL}", (), (CallError.AFTER_END,)),
    "call behind the end": Row(
        f"Done.<|eot_id|>{LLAMA_CALL}",
        ("Error: a call behind the end is not run; call before.",),
        (CallError.AFTER_END,),
    ),
    "unknown tool": Row(
        LLAMA_CALL.replace("search", "lookup"),
        ("Error: there is no tool 'lookup', only search, add.",),
        (CallError.UNKNOWN_TOOL,),
    ),
    "wrong type": Row(
        '{"name": "add", "parameters": {"left": null}}',
        ("Error: argument 'left' must be of type integer, got NoneType.",),
        (CallError.WRONG_TYPE,),
    ),
    "no call at all": Row("Let me see.", (), ()),
}


class Dialect(NamedTuple):
    """What stands around results in a format, and what its rows leave out."""

    before: str
    """All results."""
    around: tuple[str, str]
    """Each result."""
    behind: str
    """All results."""
    end: str
    """What ends a turn that a row does not end itself."""
    write: Callable[[str], str] = str
    """A result in this format."""


CHAT = Dialect(
    "\n<|im_start|>user",
    ("\n<tool_response>\n", "\n</tool_response>"),
    "<|im_end|>\n<|im_start|>assistant\n",
    "<|im_end|>",
)
SPLICED = Dialect("", (" <result>\n", "\n</result>"), "", "")
HEADED = Dialect(
    "",
    ('<|start_header_id|>ipython<|end_header_id|>\n\n"', '"<|eot_id|>'),
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "<|eot_id|>",
    lambda result: json.dumps(result, ensure_ascii=False)[1:-1],
)


@dataclass(frozen=True)
class Case:
    """A row in a format."""

    form: ChatFormat
    dialect: Dialect
    row: Row
    tokenizer: PreTrainedTokenizerFast

    @property
    def said(self) -> list[int]:
        """What the policy samples."""
        text = self.row.said.removesuffix(self.dialect.end) + self.dialect.end
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    @property
    def heard(self) -> list[int]:
        """What it reads then."""
        if not self.row.heard:
            return []
        results = [self.cut(self.dialect.write(result)) for result in self.row.heard]
        whole = "".join(result.join(self.dialect.around) for result in results)
        pieces = f"{self.dialect.before}{whole}{self.dialect.behind}".split("\0")
        return [token for piece in pieces for token in self.tokenizer.encode(piece, add_special_tokens=False)]

    def cut(self, result: str) -> str:
        """A result with a cut behind the first character of whatever spells a tag that is a token."""
        added = self.tokenizer.get_added_vocab()
        return re.sub(r"(<)(/?\w+>)", lambda tag: "<\0" + tag[2] if tag[0] in added else tag[0], result)


def cases() -> Iterator[Case]:
    """Every mistake in every format; tags also where they are no tokens."""
    plain, marked = train_tokenizer(TEXTS, 384), train_tokenizer(TEXTS, 384, TAGS.markers)
    rows = [(HERMES, CHAT, HERMES_ROWS, plain), (LLAMA, HEADED, LLAMA_ROWS, llama())]
    rows += [(TAGS, SPLICED, TAG_ROWS, plain), (TAGS, SPLICED, TAG_ROWS, marked)]
    for form, dialect, table, tokenizer in rows:
        for row in table.values():
            yield Case(form, dialect, row, tokenizer)
