"""How a turn of a text game is read."""

from __future__ import annotations

import pytest

from lightning_agentrl.environments.text_actions import TextAction, TextActions

read = TextActions()
strict = TextActions(needs_thought=True)


def test_the_command_stands_between_the_tags_in_lower_case() -> None:
    assert read("I think.\n<action> Go  EAST\n</action> done") == TextAction("go east", True)


def test_the_first_opening_tag_and_the_next_closing_one_count() -> None:
    assert read("</action><action>look</action><action>wait</action>").command == "look"


def test_tags_may_be_written_in_capitals() -> None:
    assert read("<ACTION>look</Action>") == TextAction("look", True)


@pytest.mark.parametrize("text", ["<action>open the door", "open the door</action>", "</action>open<action>", "go", ""])
def test_without_both_tags_in_order_a_turn_is_invalid(text: str) -> None:
    assert not read(text).valid


def test_without_tags_the_last_thirty_characters_are_sent() -> None:
    text = "I would like to open the big wooden door NOW"
    assert read(text) == TextAction("o open the big wooden door now", False)  # the last 30 characters begin within "to"


def test_a_line_break_cannot_smuggle_in_a_second_command() -> None:
    assert read("<action>look\ngo east</action>").command == "look go east"


@pytest.mark.parametrize("thought", ["", "<think>so", "so</think>"])
def test_a_missing_thought_makes_a_turn_invalid_only_where_one_is_asked_for(thought: str) -> None:
    text = f"{thought}<action>look</action>"
    assert (read(text).valid, strict(text).valid) == (True, False)


def test_a_thought_makes_a_turn_valid() -> None:
    assert strict("<think>where?</think><action>look</action>") == TextAction("look", True)


@pytest.mark.parametrize("thought", ["<Think>where?</think>", "<think>where?</Think>"])
def test_the_tags_of_a_thought_are_case_sensitive(thought: str) -> None:
    assert not strict(f"{thought}<action>look</action>").valid


def test_chinese_characters_make_a_turn_invalid_and_its_command_is_still_sent() -> None:
    assert read("看 <action>look</action>") == TextAction("look", False)


def test_an_impossible_command_is_valid_for_the_game_answers_it() -> None:
    assert read("<action>fly to the moon</action>").valid
