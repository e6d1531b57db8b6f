"""vLLM's tool parsers, for models whose dialect they know."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lightning_agentrl.engines.host_guard import environment_kept, torch_settings_kept
from lightning_agentrl.engines.vllm_backend import ENVIRONMENT
from lightning_agentrl.types import CallError, ParsedCall

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class VLLMToolParser:
    """Reads tool calls as vLLM's server does; for `TemplateFormat`, which tells the policy about what it cannot read.

    It lives here since vLLM is imported in engines only, and formats and engines do not know each other: the
    configuration brings the two together.

    vLLM gives all calls of a turn up when one cannot be read, and knows no tool schemas here: a dialect that writes
    plain text for arguments of any type (``qwen3_coder``) gives strings.
    """

    name: str
    """What vLLM calls the parser: hermes, llama3_json, mistral, pythonic, deepseek_v3, glm45, kimi_k2 …"""

    def __call__(self, tokenizer: PreTrainedTokenizerBase, text: str) -> Sequence[ParsedCall]:
        """The calls in a text; none where vLLM reads none.

        Raises:
            ImportError: vLLM, or what the parser needs, is not installed.
            ValueError: vLLM knows no such parser, or the tokenizer lacks a token of it.
        """
        parser, request = _parser(self.name), _request()
        try:
            reader = parser(tokenizer)  # a new one each time: it keeps the state of a response
        except Exception as error:
            raise ValueError(f"vLLM's parser {self.name} does not fit this tokenizer: {error}") from error
        try:
            found = reader.extract_tool_calls(text, request).tool_calls
        except Exception as error:  # noqa: BLE001 - made for well-formed text, it may fail on any other
            reason = f"the call cannot be read ({type(error).__name__}: {error})"
            return [ParsedCall("", {}, reason, CallError.NOT_A_CALL)]
        return [_call(call.function.name, call.function.arguments) for call in found]


def _call(name: str, written: str) -> ParsedCall:
    try:
        arguments = json.loads(written)
        json.dumps(arguments, ensure_ascii=False, allow_nan=False).encode()  # nor half a surrogate pair
    except (ValueError, RecursionError) as error:
        return ParsedCall(name, {}, f"the arguments are not valid JSON ({error})", CallError.BAD_JSON)
    if not name or not isinstance(arguments, dict):
        return ParsedCall(name, {}, "a call needs a name, and arguments that are an object", CallError.NOT_A_CALL)
    return ParsedCall(name, arguments)


@lru_cache(maxsize=8)
def _parser(name: str) -> Any:
    with environment_kept(), torch_settings_kept():
        os.environ.update(ENVIRONMENT)
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        try:
            from vllm.tool_parsers import ToolParserManager
        except ImportError as error:
            raise ImportError(
                f"VLLMToolParser needs vLLM: pip install 'lightning-agentrl[vllm]', or make setup on a CPU. ({error})"
            ) from error
        for source in ("vllm.tool_parsers", "vllm.parser"):  # what a policy writes wrong is not their users' concern
            logging.getLogger(source).setLevel(logging.CRITICAL + 1)
        try:
            return ToolParserManager.get_tool_parser(name)
        except KeyError as error:
            known = ", ".join(sorted({*ToolParserManager.tool_parsers, *ToolParserManager.lazy_parsers}))
            raise ValueError(f"vLLM knows no tool parser {name!r}; it knows {known}.") from error


@lru_cache(maxsize=1)
def _request() -> Any:
    """What the parsers take as the request: one without tools, which none of ours needs to be told."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    return ChatCompletionRequest(messages=[{"role": "user", "content": ""}])
