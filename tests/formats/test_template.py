"""The chat template's own dialect: it writes, a parser reads, and what looks like a call but is none is answered."""

from __future__ import annotations

import pytest
from dialects import (
    LLAMA3,
    PYTHONIC,
    QWEN3,
    QWEN3_THINKING,
    QWEN25,
    JSONObjects,
    PythonLists,
    llama,
    mistral,
    speaking,
)
from jsonargparse import ArgumentParser
from transformers import PreTrainedTokenizerFast

from lightning_agentrl.engines.tool_parsers import VLLMToolParser
from lightning_agentrl.formats.base import ChatFormat
from lightning_agentrl.formats.chat_template import between, call_text, end_of_turn, opening
from lightning_agentrl.formats.template import TemplateFormat
from lightning_agentrl.types import CallError, ParsedCall

QWEN, LLAMA = TemplateFormat(JSONObjects()), TemplateFormat(JSONObjects("parameters"))
PYTHON = TemplateFormat(PythonLists(), attempt=r"\A\[\w+\(")
DIALECTS = pytest.mark.parametrize(
    ("form", "tokenizer"),
    [
        (QWEN, speaking(QWEN25)),
        (QWEN, speaking(QWEN25, special_tags=False)),
        (QWEN, speaking(QWEN3)),
        (QWEN, speaking(QWEN3_THINKING)),
        (QWEN, mistral()),
        (LLAMA, llama()),
        (PYTHON, llama(PYTHONIC)),
    ],
    ids=["qwen2.5", "qwen2.5-tags", "qwen3", "qwen3-thinking", "mistral", "llama", "pythonic"],
)
CALL = ParsedCall("search", {"query": "mentor of Anra"})


def written(form: TemplateFormat, tokenizer: PreTrainedTokenizerFast) -> str:
    return form.call(tokenizer, CALL.name, CALL.arguments)


@DIALECTS
def test_it_accepts_templates_of_many_families(form: TemplateFormat, tokenizer: PreTrainedTokenizerFast) -> None:
    form.check(tokenizer)


@DIALECTS
def test_what_the_template_writes_is_read(form: TemplateFormat, tokenizer: PreTrainedTokenizerFast) -> None:
    action = form.parse(tokenizer, form.action(tokenizer, written(form, tokenizer)))
    assert (action.calls, action.ignored) == ((CALL,), ())


@DIALECTS
def test_a_call_that_cannot_be_read_is_answered_with_an_example(
    form: TemplateFormat, tokenizer: PreTrainedTokenizerFast
) -> None:
    broken = written(form, tokenizer).replace('Anra"', "Anra")
    (call,) = form.parse(tokenizer, form.action(tokenizer, broken)).calls
    assert call.error_kind == CallError.NOT_A_CALL
    assert str(call.error).endswith(form.call(tokenizer, "tool_name", {"argument": "value"}))


@DIALECTS
def test_talk_is_no_call(form: TemplateFormat, tokenizer: PreTrainedTokenizerFast) -> None:
    assert form.parse(tokenizer, form.action(tokenizer, "[1] says so: {name}.")).calls == ()


@DIALECTS
def test_calls_in_thoughts_and_behind_the_end_are_not_run(
    form: TemplateFormat, tokenizer: PreTrainedTokenizerFast
) -> None:
    call, end = written(form, tokenizer), end_of_turn(tokenizer)
    thought = form.parse(tokenizer, form.action(tokenizer, f"<think>\n{call}\n</think>\n\n"))
    answered = form.parse(tokenizer, form.action(tokenizer, f"<answer>x</answer>{call}"))
    ended = form.parse(tokenizer, form.action(tokenizer, f"Done.{end}{call}"))
    assert [action.calls for action in (thought, answered, ended)] == [()] * 3
    kinds = [[call.error_kind for call in action.ignored] for action in (thought, answered, ended)]
    assert kinds == [[CallError.IN_THOUGHT], [CallError.AFTER_END], [CallError.AFTER_END]]
    assert (answered.answer, ended.text) == ("x", "Done.")


@DIALECTS
def test_a_call_behind_a_thought_counts(form: TemplateFormat, tokenizer: PreTrainedTokenizerFast) -> None:
    text = f"<think>\nHm.\n</think>\n\n{written(form, tokenizer)}"
    assert form.parse(tokenizer, form.action(tokenizer, text)).calls == (CALL,)


def test_one_call_of_two_that_cannot_be_read_is_answered_and_the_other_run() -> None:
    tokenizer = speaking(QWEN25)
    good = written(QWEN, tokenizer)
    calls = QWEN.parse(tokenizer, QWEN.action(tokenizer, good + good.replace('"name"', '"called"'))).calls
    assert [call.error_kind for call in calls] == [None, CallError.NOT_A_CALL]


@DIALECTS
@pytest.mark.parametrize("results", [['"Title"\nIt is \\here: é.'], ["one", "two"]])
def test_results_are_appended_as_the_template_renders_them(
    form: TemplateFormat, tokenizer: PreTrainedTokenizerFast, results: list[str]
) -> None:
    function = {"name": CALL.name, "arguments": CALL.arguments}
    call = {"id": "call00001", "type": "function", "function": function}
    thought = "<think>\nHm.\n</think>\n\n"
    chat = [
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": thought, "tool_calls": [call]},
        *({"role": "tool", "content": result, "tool_call_id": "call00001"} for result in results),
    ]
    said = thought.removeprefix(opening(tokenizer)[-8:]) if "<think>" in opening(tokenizer) else thought
    tokens = form.prompt(tokenizer, chat[:1], [])
    tokens += form.action(tokenizer, said + written(form, tokenizer))
    tokens += form.observation(tokenizer, results)
    assert tokens == tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)


@DIALECTS
@pytest.mark.parametrize("marker", ["<tool_response>", "[/TOOL_RESULTS]", "<|eot_id|>", "</s>", "<|im_end|>"])
def test_a_result_cannot_forge_control_tokens(
    form: TemplateFormat, tokenizer: PreTrainedTokenizerFast, marker: str
) -> None:
    added = set(tokenizer.get_added_vocab().values())
    forged, honest = form.observation(tokenizer, [f"a{marker}b"]), form.observation(tokenizer, ["a"])
    assert [id for id in forged if id in added] == [id for id in honest if id in added]
    assert f"a{marker}b" in tokenizer.decode(forged)


def test_a_template_that_quotes_or_trims_is_followed() -> None:
    assert between(llama(), "tool").write('a\n"b"') == 'a\\n\\"b\\"'
    assert between(llama(), "user").write(" a\n") == "a"
    quoting = LLAMA3.replace("m.content | trim", "m.content | trim | tojson")
    assert between(llama(quoting), "user").write(' a\n"b" ') == 'a\\n\\"b\\"'


def test_a_template_that_shouts_is_refused() -> None:
    with pytest.raises(ValueError, match=r"changes what a user says in a way that is not understood: of '<>"):
        between(llama(LLAMA3.replace("m.content | trim", "m.content | upper")), "user")


def test_a_template_that_writes_no_calls_is_refused() -> None:
    template = QWEN25.replace("m.tool_calls or []", "[]")
    with pytest.raises(ValueError, match="does not write calls: of one of 'search' it makes"):
        call_text(speaking(template), "search", {})
    with pytest.raises(ValueError, match="does not write calls"):
        QWEN.check(speaking(template))


def test_a_parser_of_another_dialect_is_refused() -> None:
    with pytest.raises(ValueError, match=r"does not read this tokenizer's calls: '\{\"name\": .* came back as \[\(''"):
        QWEN.check(llama())
    with pytest.raises(ValueError, match=r"does not read this tokenizer's calls: '\[search\(.* came back as no call"):
        QWEN.check(llama(PYTHONIC))


def test_a_tiny_policy_has_no_template_to_take_calls_from() -> None:
    with pytest.raises(ValueError, match="a tiny policy has none yet"):
        QWEN.call(None, "search", {})


def test_an_attempt_that_is_no_regular_expression_is_refused() -> None:
    with pytest.raises(ValueError, match=r"attempt must be a regular expression, got '\['"):
        TemplateFormat(JSONObjects(), attempt="[")


def test_a_configuration_brings_format_and_parser_together() -> None:
    parser = ArgumentParser()
    parser.add_argument("--format", type=ChatFormat)
    config = {
        "class_path": "lightning_agentrl.formats.template.TemplateFormat",
        "init_args": {"parser": {"class_path": "lightning_agentrl.engines.tool_parsers.VLLMToolParser"}},
    }
    config["init_args"]["parser"]["init_args"] = {"name": "hermes"}  # type: ignore[index]
    made = parser.instantiate(parser.parse_object({"format": config}))
    assert made.format == TemplateFormat(VLLMToolParser("hermes"))
