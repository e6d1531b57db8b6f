r"""What a response must look like."""

from __future__ import annotations

import pytest
from told import told, turn

from lightning_agentrl.rewards.gates import BalancedTagsGate, HermesGate, TagGate
from lightning_agentrl.types import CallError, StopReason, Trajectory

ANSWER = r"<think> so </think> <answer> \boxed{5} </answer>"
SEARCH = turn("<think> look </think> <search> five </search>", "It is 5.")


@pytest.mark.parametrize(
    "trajectory",
    [
        told(ANSWER),
        told(SEARCH, ANSWER),
        told(SEARCH, turn("<python> print(5) </python>", "5"), ANSWER),
        told(turn("<search> a </search> <think> x </think>", "found"), ANSWER),
    ],
)
def test_tags_in_order_pass(trajectory: Trajectory) -> None:
    assert TagGate()(trajectory) is None


@pytest.mark.parametrize(
    "trajectory",
    [
        told(r"<answer> \boxed{5} </answer>"),  # no thought
        told(r"<think> so <answer> \boxed{5} </answer>"),
        told(r"so </think> <answer> \boxed{5} </answer>"),
        told(r"<think> so </think> \boxed{5}"),
        told(r"<think> so </think> <answer> 5 </answer>"),
        told(r"<think> so </think> \boxed{5} <answer> 5 </answer>"),
        told(r"<think> so </think> <answer> \boxed{5 </answer>"),
        told(r"<think> so </think> </answer> \boxed{5} <answer>"),
        told(ANSWER + ANSWER),
        told(ANSWER + " </answer>"),
        told("<search> five", ANSWER),
        told("<search> five </search>", ANSWER),  # nothing answered it
        told(turn("<search> five", "found"), ANSWER),
        told(turn("<search> five", "found"), "</search>", ANSWER),
        told(turn("</python> <python> 5", "5"), ANSWER),
        told(SEARCH, "<search> six </search>", ANSWER),  # the second call is not answered
    ],
)
def test_tags_that_are_missing_doubled_or_out_of_order_fail(trajectory: Trajectory) -> None:
    assert TagGate()(trajectory) == -1.0


@pytest.mark.parametrize(
    ("gate", "fails"), [(TagGate(-0.5), -0.5), (BalancedTagsGate(0.0), 0.0), (HermesGate(-3.0), -3.0)]
)
def test_what_failing_costs_is_a_setting(gate: TagGate | BalancedTagsGate | HermesGate, fails: float) -> None:
    assert gate(told("nothing")) == fails


def test_each_part_of_the_rule_of_tags_can_be_left_out() -> None:
    assert TagGate(think=False)(told(r"<answer> \boxed{5} </answer>")) is None
    assert TagGate(box=False)(told("<think> so </think> <answer> 5 </answer>")) is None
    assert TagGate(calls=["python"])(told("<search> five", ANSWER)) is None
    assert TagGate(result="output")(told(SEARCH, ANSWER)) is None


def test_tags_in_the_prompt_never_count() -> None:
    prompt = "Write <think>, </search>, <answer> and </answer> once."
    assert TagGate()(told(SEARCH, ANSWER, prompt=prompt)) is None
    assert BalancedTagsGate()(told(ANSWER, prompt=prompt)) is None


@pytest.mark.parametrize("gate", [TagGate, BalancedTagsGate])
def test_tags_that_a_tool_returned_count_only_if_asked_for(gate: type[TagGate] | type[BalancedTagsGate]) -> None:
    found = told(turn("<think> look </think> <search> x </search>", "a page with <answer> in it"), ANSWER)
    assert gate()(found) is None
    assert gate(tool_text=True)(found) == gate().fails


def test_a_result_cannot_be_forged_by_the_tool() -> None:
    # Only with the tool's text would its own tag close the call of the policy.
    forged = told(turn("<search> x", "</search> <result> y </result>"), ANSWER)
    assert (TagGate()(forged), TagGate(tool_text=True)(forged)) == (-1.0, None)


@pytest.mark.parametrize(
    "text",
    [
        "<answer> 5 </answer>",
        "<think> a </think> <think> b </think> <answer> 5 </answer>",
        "<think> <think> a </think> </think> <answer> 5 </answer>",
        '<tool_call> {"name": "x"} </tool_call> <answer> 5 </answer>',
        "<answer> 4 </answer> <answer> 5 </answer>",
        "<other> <answer> 5 </answer>",  # no tag of the format
    ],
)
def test_balanced_tags_pass(text: str) -> None:
    assert BalancedTagsGate()(told(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "5",
        "<answer> 5",
        "</answer> 5 <answer>",
        "<code> <answer> 5 </answer>",
        "</tool_call> <answer> 5 </answer> <tool_call>",
        "<think> <think> </think> <answer> 5 </answer>",
    ],
)
def test_unbalanced_tags_and_missing_answers_fail(text: str) -> None:
    assert BalancedTagsGate()(told(text)) == -2.0


def test_tags_may_be_balanced_over_several_turns() -> None:
    assert BalancedTagsGate()(told("<think> a", "b </think> <answer> 5 </answer>")) is None


CALL = turn("<tool_call> … </tool_call>", "5", calls=[("python", None)])


@pytest.mark.parametrize(
    "trajectory",
    [
        told("<answer> 5 </answer>"),
        told(CALL, "<think> 5 <answer> </think> <answer> 5 </answer>"),
        told(CALL, "the prompt opened it </think> <answer> 5 </answer>"),
        told(turn("…", "Error", calls=[("python", "exception")]), "<answer> 5 </answer>"),
        told(turn("…", "Error", calls=[("snake", CallError.UNKNOWN_TOOL)]), "<answer> 5 </answer>"),
        told(turn("…", "Error", calls=[("python", CallError.WRONG_TYPE)]), "<answer> 5 </answer>"),
    ],
)
def test_readable_calls_and_one_answer_pass(trajectory: Trajectory) -> None:
    assert HermesGate()(trajectory) is None


@pytest.mark.parametrize(
    "trajectory",
    [
        told(),
        told(CALL),
        told(CALL, "5"),
        told("<answer> 4 </answer> <answer> 5 </answer>"),
        told("<answer> 5 </answer>", stop=StopReason.TURN_LENGTH),
        told("<answer> 5 </answer>", CALL),
        told("<think> <answer> 5 </answer>"),
        told("<think> a </think> <think> <answer> 5 </answer>"),
        *(
            told(turn("…", "Error", calls=[("", kind)]), "<answer> 5 </answer>")
            for kind in (CallError.BAD_JSON, CallError.NOT_A_CALL, CallError.HALF_TAG, CallError.TWO_CALLS)
        ),
        told(turn("<answer> 5 </answer> <tool_call>", calls=[("", CallError.AFTER_END)])),
        told(turn("<think> <tool_call> </think> <answer> 5 </answer>", calls=[("", CallError.IN_THOUGHT)])),
    ],
)
def test_unreadable_calls_open_thoughts_and_anything_but_one_answer_fail(trajectory: Trajectory) -> None:
    assert HermesGate()(trajectory) == -1.0


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("<think> a </think> <answer> 5 </answer>", True),
        ("\n<think> a </think> <answer> 5 </answer>", True),
        ("a </think> <answer> 5 </answer>", True),  # the prompt opened it
        ("<answer> 5 </answer>", False),
        ("So <think> a </think> <answer> 5 </answer>", False),
    ],
)
def test_thoughts_may_be_required(text: str, passes: bool) -> None:
    assert (HermesGate(think="required")(told(text)) is None) == passes
