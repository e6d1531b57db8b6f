"""Demonstrations in Hermes' spelling, for policies that speak something else."""

import pytest

from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.formats.respelling import respelled
from lightning_agentrl.formats.tags import TagFormat

TURN = 'I look.\n<tool_call>\n{"name": "search",  "arguments": {"query": "mentor of É"}}\n</tool_call>'


def test_hermes_turns_stay_untouched() -> None:
    assert respelled(TURN, HermesFormat()) == TURN  # two blanks and all


def test_calls_are_written_as_the_format_writes_them() -> None:
    assert respelled(TURN, TagFormat()) == "I look.\n<search>mentor of É</search>"
    assert respelled(TURN, HermesFormat(tool_call="call")) == (
        'I look.\n<call>\n{"name": "search", "arguments": {"query": "mentor of É"}}\n</call>'
    )


def test_several_calls_are_all_written() -> None:
    calls = TURN + TURN.replace("mentor", "pupil")
    assert respelled(calls, TagFormat()) == (
        "I look.\n<search>mentor of É</search>I look.\n<search>pupil of É</search>"
    )


def test_a_turn_without_calls_is_what_it_was() -> None:
    assert respelled("<answer> Bodor </answer>", TagFormat()) == "<answer> Bodor </answer>"


def test_a_call_that_cannot_be_read_or_written_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"a call that cannot be read, '\{': not valid JSON"):
        respelled("<tool_call>{</tool_call>", TagFormat())
    with pytest.raises(ValueError, match="No tag calls search with query, limit"):
        respelled(TURN.replace('"}}', '", "limit": 3}}'), TagFormat())
