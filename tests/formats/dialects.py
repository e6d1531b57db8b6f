"""Chat templates with the traits of well-known ones, in a few lines each, tokenizers that speak them, and parsers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lightning_agentrl.data.tiny_tokenizer import train_tokenizer
from lightning_agentrl.types import ParsedCall

TEXTS = ['{"name": "search", "arguments": {"query": "mentor of Anra"}}', "The mentor of Anra is Bodor."] * 10

CHATML = """\
{%- for m in messages %}
{%- if m.role == "tool" %}
{%- if loop.first or messages[loop.index0 - 1].role != "tool" %}{{- "<|im_start|>user" }}{% endif %}
{{- "\\n<tool_response>\\n" + m.content + "\\n</tool_response>" }}
{%- if loop.last or messages[loop.index0 + 1].role != "tool" %}{{- "<|im_end|>\\n" }}{% endif %}
{%- elif m.role == "assistant" %}
{{- "<|im_start|>assistant\\n" }}ASSISTANT
{%- for call in m.tool_calls or [] %}
{{- CALL }}
{%- endfor %}
{{- "<|im_end|>\\n" }}
{%- else %}
{{- "<|im_start|>" + m.role + "\\n" + m.content + "<|im_end|>\\n" }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<|im_start|>assistant\\n" }}OPENING{% endif %}
"""
JSON_CALL = """\
'<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' + (call.function.arguments | tojson)\
 + "}\\n</tool_call>\""""
XML_CALL = """\
"<tool_call>\\n<function=" + call.function.name + ">\\n" }}
{%- for name, value in call.function.arguments.items() %}
{{- "<parameter=" + name + ">\\n" + (value | string) + "\\n</parameter>\\n" }}
{%- endfor %}
{{- "</function>\\n</tool_call>\""""
# The newest turn of the policy is written with a thought, if only an empty one; one that a user answered without.
THOUGHTFUL = """
{%- set ns = namespace(last=0) %}
{%- for each in messages %}{% if each.role == "user" %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- set parts = m.content.split("</think>") %}
{%- if loop.index0 < ns.last %}{{- parts[-1].lstrip("\\n") }}
{%- elif loop.last and parts | length == 1 %}{{- "<think>\\n\\n</think>\\n\\n" + m.content }}
{%- else %}{{- m.content }}{% endif %}"""

QWEN25 = CHATML.replace("ASSISTANT", "{{- m.content }}").replace("CALL", JSON_CALL).replace("OPENING", "")
QWEN3 = CHATML.replace("ASSISTANT", THOUGHTFUL).replace("CALL", JSON_CALL).replace("OPENING", "")
QWEN3_THINKING = (
    CHATML.replace("ASSISTANT", THOUGHTFUL).replace("CALL", JSON_CALL).replace("OPENING", '{{- "<think>\\n" }}')
)
QWEN_CODER = CHATML.replace("ASSISTANT", "{{- m.content }}").replace("CALL", XML_CALL).replace("OPENING", "")

LLAMA3 = """\
{{- "<|begin_of_text|>" }}
{%- for m in messages %}
{%- if m.role == "tool" %}
{{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" + (m.content | tojson) + "<|eot_id|>" }}
{%- elif m.tool_calls %}
{%- if m.tool_calls | length != 1 %}{{ raise_exception("one call at a time") }}{% endif %}
{%- set call = m.tool_calls[0].function %}
{{- "<|start_header_id|>assistant<|end_header_id|>\\n\\n" + m.content }}
{{- '{"name": "' + call.name + '", "parameters": ' + (call.arguments | tojson) + "}<|eot_id|>" }}
{%- else %}
{{- "<|start_header_id|>" + m.role + "<|end_header_id|>\\n\\n" + (m.content | trim) + "<|eot_id|>" }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<|start_header_id|>assistant<|end_header_id|>\\n\\n" }}{% endif %}
"""
PYTHONIC = """\
{{- "<|begin_of_text|>" }}
{%- for m in messages %}
{{- "<|start_header_id|>" + ("ipython" if m.role == "tool" else m.role) + "<|end_header_id|>\\n\\n" + m.content }}
{%- if m.tool_calls %}
{%- set call = m.tool_calls[0].function %}
{{- "[" + call.name + "(" }}
{%- for name, value in call.arguments.items() %}
{{- name + "=" + (value | tojson) }}{% if not loop.last %}{{- ", " }}{% endif %}
{%- endfor %}
{{- ")]" }}
{%- endif %}
{{- "<|eot_id|>" }}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<|start_header_id|>assistant<|end_header_id|>\\n\\n" }}{% endif %}
"""
MISTRAL = """\
{{- "<s>" }}
{%- for m in messages %}
{%- if m.role == "user" %}{{- "[INST] " + m.content + "[/INST]" }}
{%- elif m.role == "tool" %}
{%- if m.tool_call_id | length != 9 %}{{ raise_exception("ids have nine characters") }}{% endif %}
{{- '[TOOL_RESULTS]{"content": ' + (m.content | tojson) + ', "call_id": "' + m.tool_call_id + '"}[/TOOL_RESULTS]' }}
{%- elif m.tool_calls %}
{{- m.content + "[TOOL_CALLS][" }}
{%- for call in m.tool_calls %}
{{- '{"name": "' + call.function.name + '", "arguments": ' + (call.function.arguments | tojson) }}
{{- ', "id": "' + call.id + '"}' }}{% if not loop.last %}{{- ", " }}{% endif %}
{%- endfor %}
{{- "]</s>" }}
{%- else %}{{- m.content + "</s>" }}{% endif %}
{%- endfor %}
"""
LLAMA_TOKENS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>")
MISTRAL_TOKENS = ("<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]")


@cache
def speaking(
    template: str, eos: str = "<|im_end|>", markers: tuple[str, ...] = (), special_tags: bool = True
) -> PreTrainedTokenizerFast:
    """A tokenizer with a chat template, its end of text, and tokens of its own.

    Args:
        template: the chat template.
        eos: end of text.
        markers: further tokens.
        special_tags: whether tags are special tokens; in Qwen's tokenizers they are not.
    """
    trained = train_tokenizer(TEXTS, 384, markers)
    described = json.loads(trained.backend_tokenizer.to_str())
    for added in described["added_tokens"]:
        added["special"] = added["special"] and (special_tags or added["content"].startswith("<|"))
    backend = Tokenizer.from_str(json.dumps(described))
    made = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=eos, pad_token="<|endoftext|>")
    made.chat_template = template
    return made


def llama(template: str = LLAMA3) -> PreTrainedTokenizerFast:
    return speaking(template, "<|eot_id|>", LLAMA_TOKENS)


def mistral() -> PreTrainedTokenizerFast:
    return speaking(MISTRAL, "</s>", MISTRAL_TOKENS)


@dataclass(frozen=True)
class JSONObjects:
    """Reads objects with a name and arguments, wherever they are; like parsers of servers it skips what it cannot."""

    key: str = "arguments"

    def __call__(self, tokenizer: PreTrainedTokenizerBase, text: str) -> Sequence[ParsedCall]:
        calls, decoder = [], json.JSONDecoder()
        for match in re.finditer(r'\{"name"', text):
            try:
                read, _ = decoder.raw_decode(text[match.start() :])
                calls.append(ParsedCall(read["name"], read[self.key]))
            except (ValueError, KeyError):
                continue
        return calls


@dataclass(frozen=True)
class PythonLists:
    """Reads ``[name(argument="text", …)]`` that is the whole turn."""

    def __call__(self, tokenizer: PreTrainedTokenizerBase, text: str) -> Sequence[ParsedCall]:
        pair = r'(\w+)=("[^"]*"|\d+)'
        whole = re.fullmatch(rf"\[(\w+)\(({pair}(?:, {pair})*)\)\]", text)
        return (
            [ParsedCall(whole[1], {key: json.loads(value) for key, value in re.findall(pair, whole[2])})]
            if whole
            else []
        )
