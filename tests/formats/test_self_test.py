"""What a format finds out about a tokenizer before a run begins."""

import logging

import pytest
from dialects import QWEN3, QWEN3_THINKING, QWEN25, QWEN_CODER, llama, mistral, speaking
from transformers import PreTrainedTokenizerFast

from lightning_agentrl.data.tiny_tokenizer import CHAT_TEMPLATE
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.formats.self_test import first_difference
from lightning_agentrl.formats.tags import TagFormat

FORMAT = HermesFormat()


def test_it_accepts_the_tiny_policys_tokenizers(
    tokenizer: PreTrainedTokenizerFast, qwen_like: PreTrainedTokenizerFast
) -> None:
    FORMAT.check(tokenizer)
    FORMAT.check(qwen_like)


@pytest.mark.parametrize("template", [QWEN25, QWEN3, QWEN3_THINKING])
def test_it_accepts_templates_of_the_qwen_form(template: str) -> None:
    FORMAT.check(speaking(template))


def test_a_template_that_drops_old_thoughts_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        FORMAT.check(speaking(QWEN3))
    (record,) = caplog.records
    assert "drops earlier thoughts from a chat of user, assistant, user; rollouts keep them" in record.getMessage()


def test_a_template_that_keeps_thoughts_is_not_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        FORMAT.check(speaking(QWEN25))
    assert not caplog.records


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        (None, "this tokenizer has none"),
        (
            CHAT_TEMPLATE.replace("tool_response", "result"),
            r"user, assistant, tool: at token \d+, .*<result>.*the form",
        ),
        (
            CHAT_TEMPLATE.replace("message.content +", "message.content | trim + ' ' +"),
            r"template has '[^']* <\|im_end",
        ),
        ("{{ raise_exception('no tools here') }}", "cannot render a chat of user: no tools here"),
        (CHAT_TEMPLATE.replace('"\\n</tool_response>"', '"</tool_response>"'), "the template has '</tool_response>"),
        (CHAT_TEMPLATE.replace('"<|im_end|>\\n" }}{% endif', '"<|im_end|>" }}{% endif'), "and the format '\\\\n<"),
        (CHAT_TEMPLATE.replace('.role != "tool" %}', '.role != "" %}'), "in a chat of user, assistant, tool, tool: at"),
        (QWEN_CODER, r"does not read this tokenizer's calls: '<tool_call>\\n<function=search>.*\(not valid JSON"),
        (QWEN25.replace('"name"', '"tool"'), r'came back as \[\(.*has no "name"'),
        (
            QWEN25.replace("m.content }}\n{%- for call", "m.content | upper }}\n{%- for call"),
            "has 'ERE.*and the format 'ere",
        ),
    ],
)
def test_it_says_where_a_template_parts_from_the_format(template: str | None, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        FORMAT.check(speaking(template))  # type: ignore[arg-type]


def test_models_of_other_families_are_refused() -> None:
    for tokenizer in (llama(), mistral()):
        with pytest.raises(ValueError, match="the template has"):
            FORMAT.check(tokenizer)


def test_a_tokenizer_without_an_end_of_text_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lacks: an end-of-text token \(eos_token\)"):
        FORMAT.check(speaking(QWEN25, None))  # type: ignore[arg-type]


def test_markers_that_are_not_single_tokens_are_named(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match="which this tokenizer lacks: <function>, </function>"):
        HermesFormat(tool_call="function").check(tokenizer)


def test_tags_need_nothing_but_a_template_that_appends() -> None:
    for tokenizer in (speaking(QWEN25), speaking(QWEN3), speaking(QWEN3_THINKING), llama(), mistral()):
        TagFormat().check(tokenizer)
    with pytest.raises(ValueError, match="this tokenizer has none"):
        TagFormat().check(speaking(None))  # type: ignore[arg-type]


def test_a_turn_without_a_control_token_behind_it_is_refused() -> None:
    template = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
    with pytest.raises(ValueError, match=r"ends a turn of the policy with '\\n'; expected a control token"):
        TagFormat().check(speaking(template))


def test_the_first_difference_is_shown_from_both_sides(tokenizer: PreTrainedTokenizerFast) -> None:
    ours, theirs = tokenizer.encode("mentor of Anra"), tokenizer.encode("mentor of Bodor")
    assert first_difference(tokenizer, ours, ours) is None
    shared = next(n for n, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other)
    shown = str(first_difference(tokenizer, ours, theirs))
    assert shown.startswith(f"at token {shared}, behind 'mentor of")
    assert shown.endswith("nra'.")
    assert "template has nothing more" in str(first_difference(tokenizer, ours, ours[:-1]))
