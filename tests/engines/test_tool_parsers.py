"""vLLM's tool parsers behind a format of ours: they read what chat templates write, and no failure passes for talk."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from lightning_agentrl.engines.tool_parsers import VLLMToolParser
from lightning_agentrl.formats.template import TemplateFormat
from lightning_agentrl.types import CallError, ParsedCall

sys.path.insert(0, str(Path(__file__).parent.parent / "formats"))
from dialects import PYTHONIC, QWEN3, QWEN25, QWEN_CODER, llama, mistral, speaking

needs_more = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("ijson", "mistral_common")),
    reason="vLLM's parsers of Mistral's and of XML calls need ijson and mistral_common",
)
DIALECTS = pytest.mark.parametrize(
    ("name", "attempt", "tokenizer"),
    [
        ("hermes", "", speaking(QWEN25)),
        ("hermes", "", speaking(QWEN3)),
        ("llama3_json", "", llama()),
        ("pythonic", r"\A\[\w+\(", llama(PYTHONIC)),
        pytest.param("mistral", "", mistral(), marks=needs_more),
    ],
)
ARGUMENTS = {"query": "mentor of “Anra”", "limit": 3}


@pytest.mark.vllm
@DIALECTS
def test_calls_are_read_as_the_template_wrote_them(name: str, attempt: str, tokenizer: PreTrainedTokenizerFast) -> None:
    form = TemplateFormat(VLLMToolParser(name), attempt)
    form.check(tokenizer)
    said = form.action(tokenizer, form.call(tokenizer, "search", ARGUMENTS))
    assert form.parse(tokenizer, said).calls == (ParsedCall("search", ARGUMENTS),)


@pytest.mark.vllm
@DIALECTS
def test_what_vllm_takes_for_talk_is_answered(
    name: str, attempt: str, tokenizer: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture
) -> None:
    form = TemplateFormat(VLLMToolParser(name), attempt)
    broken = form.call(tokenizer, "search", ARGUMENTS).replace(": 3", ": three'").replace("=3", "=three'")
    (call,) = form.parse(tokenizer, form.action(tokenizer, broken)).calls
    assert call.error_kind in {CallError.NOT_A_CALL, CallError.BAD_JSON}
    assert not caplog.records  # a traceback of vLLM's for every mistake of a policy


@pytest.mark.vllm
def test_arguments_that_are_no_object_are_no_call() -> None:
    (call,) = VLLMToolParser("hermes")(speaking(QWEN25), '<tool_call>{"name": "search", "arguments": [1]}</tool_call>')
    assert (call.name, call.error_kind) == ("search", CallError.NOT_A_CALL)


@pytest.mark.vllm
def test_arguments_that_only_python_takes_are_no_json() -> None:
    (call,) = VLLMToolParser("hermes")(
        speaking(QWEN25), '<tool_call>{"name": "search", "arguments": {"x": NaN}}</tool_call>'
    )
    assert (call.name, call.error_kind) == ("search", CallError.BAD_JSON)


@pytest.mark.vllm
@needs_more
def test_a_parser_that_needs_schemas_is_found_out_before_the_run() -> None:
    with pytest.raises(ValueError, match=r"does not read this tokenizer's calls: .* 'limit': '3'"):
        TemplateFormat(VLLMToolParser("qwen3_coder")).check(speaking(QWEN_CODER))


@pytest.mark.vllm
def test_a_name_that_vllm_does_not_know_is_answered_with_those_that_it_does() -> None:
    with pytest.raises(ValueError, match=r"knows no tool parser 'hermse'; it knows .*hermes, "):
        VLLMToolParser("hermse")(speaking(QWEN25), "x")


@pytest.mark.vllm
def test_a_tokenizer_without_the_parsers_tokens_is_named() -> None:
    with pytest.raises(ValueError, match=r"llama3_json does not fit this tokenizer: .*python_tag"):
        VLLMToolParser("llama3_json")(speaking(QWEN25), "x")


@pytest.mark.vllm
def test_importing_the_parsers_leaves_the_environment_alone() -> None:
    code = (
        "import os; before = dict(os.environ); import lightning_agentrl.engines.tool_parsers as t;"
        "import torch; threads = torch.get_num_threads(); t._parser('hermes');"
        "assert dict(os.environ) == before and torch.get_num_threads() == threads"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))


def test_without_vllm_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.setitem(sys.modules, "vllm.tool_parsers", None)
    with pytest.raises(ImportError, match=r"lightning-agentrl\[vllm\]"):
        VLLMToolParser("hermes")(speaking(QWEN25), "x")
