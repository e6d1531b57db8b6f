"""Calls as JSON: what is written is read, and everything else has one name for what is wrong with it."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.formats.json_calls import read_call, write_call
from lightning_agentrl.types import CallError

FORMAT = HermesFormat()
MANY = settings(deadline=None, derandomize=True)
CALL = '{"name": "search", "arguments": {"query": "x"}}'
# What spells a control token ends the call or the turn, so that no policy can write it into an argument.
TEXT = st.text(st.characters(codec="utf-8"), max_size=12).filter(lambda text: not re.search(r"<\||</?\w+>", text))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXT, values, max_size=3),
    max_leaves=8,
)
ARGUMENTS = st.dictionaries(TEXT, JSON, max_size=3)


@MANY
@given(TEXT.filter(bool), ARGUMENTS)
def test_a_written_call_is_read_as_it_was(name: str, arguments: dict[str, object]) -> None:
    call = read_call(write_call(name, arguments), "")
    assert (call.name, call.arguments, call.error) == (name, arguments, None)


@MANY
@given(arguments=ARGUMENTS, name=st.from_regex(r"[a-z_]{1,8}", fullmatch=True))
def test_calls_survive_tokens_and_back(
    tokenizer: PreTrainedTokenizerFast, name: str, arguments: dict[str, object]
) -> None:
    action = FORMAT.parse(tokenizer, FORMAT.action(tokenizer, FORMAT.call(tokenizer, name, arguments)))
    assert [(call.name, call.arguments, call.error) for call in action.calls] == [(name, arguments, None)]


@MANY
@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_text_is_read_or_answered(text: str) -> None:
    call = read_call(text, "a call")
    assert (call.error is None) == (call.error_kind is None)
    assert call.error is None or call.error.endswith("; expected a call")


@MANY
@given(st.text(st.sampled_from('{}[]":, "namerguts\\\n'), max_size=30))
def test_any_broken_json_is_read_or_answered(text: str) -> None:
    call = read_call(text, "")
    assert (call.error is None) == (call.error_kind is None)


@pytest.mark.parametrize("between", ["", " ", "\n", ", ", ";"])
def test_two_objects_are_two_calls(between: str) -> None:
    call = read_call(CALL + between + CALL, "one")
    assert (call.error_kind, call.error) == (
        CallError.TWO_CALLS,
        "two calls in one tag, none was run; write a tag for each; expected one",
    )


def test_a_list_of_calls_is_two_calls() -> None:
    assert read_call(f"[{CALL}, {CALL}]", "").error_kind == CallError.TWO_CALLS


def test_a_list_of_one_call_is_no_call() -> None:
    assert read_call(f"[{CALL}]", "").error_kind == CallError.NOT_A_CALL


@pytest.mark.parametrize("rest", ["}", " and so on", ",", '{"name'])
def test_what_stands_behind_the_object_is_no_json_unless_it_begins_another(rest: str) -> None:
    kind = read_call(CALL + rest, "").error_kind
    assert kind == (CallError.TWO_CALLS if rest.startswith("{") else CallError.BAD_JSON)


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e999", '"\\ud83d"', "0" * 5000, "01", "'x'", "{" * 4000])
def test_what_python_would_take_but_json_does_not_know_is_no_json(value: str) -> None:
    call = read_call(CALL.replace('"x"', value), "")
    assert call.error_kind == CallError.BAD_JSON
    assert str(call.error).encode()  # and what is wrong can be written


def test_a_key_that_comes_twice_is_named() -> None:
    call = read_call('{"name": "search", "arguments": {"query": "x", "query": "y"}}', "")
    assert (call.error_kind, "the key 'query' comes twice" in str(call.error)) == (CallError.BAD_JSON, True)


def test_a_call_without_arguments_keeps_its_name() -> None:
    call = read_call('{"name": "search"}', "")
    assert (call.name, call.arguments, call.error_kind) == ("search", {}, CallError.NOT_A_CALL)


def test_other_keys_do_no_harm() -> None:
    assert read_call(json.dumps({**json.loads(CALL), "id": 3}), "").error is None
