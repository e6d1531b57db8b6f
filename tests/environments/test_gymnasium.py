"""Games with gymnasium's interface: what the policy reads, what its words do, seeds, forks, and games that fail."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lightning_agentrl.data.demonstrations import read_demonstrations
from lightning_agentrl.environments.base import Episode, Observation, Unforkable
from lightning_agentrl.environments.gymnasium import GymnasiumGame
from lightning_agentrl.testing.guess_number import GuessNumber
from lightning_agentrl.tools.base import InfrastructureError
from lightning_agentrl.types import Action, CallError, Reward, Segment, Task, Trajectory

GUESS = "lightning_agentrl.testing.guess_number.GuessNumber"
FLAT = {"render_mode": "ansi", "is_slippery": False}
ARROWS = ["left", "down", "right", "up"]


def game(name: str = GUESS, **settings: Any) -> GymnasiumGame:
    return GymnasiumGame(name, **{"train_games": 3, "validation_games": 2, **settings})


def lake(**settings: Any) -> GymnasiumGame:
    pytest.importorskip("gymnasium")
    return game("FrozenLake-v1", **{"options": FLAT, "actions": ARROWS, "show": "render", **settings})


def trajectory(task: Task) -> Trajectory:
    return Trajectory(0, 0, 0, task, Segment((1,), sampled=False))


def play(environment: GymnasiumGame, *said: str, task: int = 0) -> tuple[list[Observation], Reward]:
    """What a game answers to these turns, and its verdict."""
    chosen = environment.tasks("train")[task]

    async def run() -> tuple[list[Observation], Reward]:
        episode = await environment.open(chosen, seed=99)
        try:
            heard = [await episode.step(Action(text)) for text in said]
            return heard, await episode.reward(trajectory(chosen))
        finally:
            await episode.close()

    return asyncio.run(run())


class Echo(GuessNumber):
    """Shows what it was made to show, and does what it is told to do."""

    def __init__(self, shows: Any = "start") -> None:
        super().__init__()
        self.shows = shows

    def reset(self, *, seed: int) -> tuple[Any, dict[str, Any]]:
        return self.shows, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if action in ("break", 0):
            raise ZeroDivisionError("no way")
        if action in ("hang", 1):
            threading.Event().wait()
        shown = {"flood": "x" * 10_000_000, "bytes": b"raw \xff", "half": "half \ud800", "none": None}
        return shown.get(action, action), -0.5, action == "lose", action == "late", {}


class Fickle(GuessNumber):
    """Starts otherwise each time."""

    times = 0

    def reset(self, *, seed: int) -> tuple[str, dict[str, Any]]:
        Fickle.times += 1
        return f"start {Fickle.times}", {}


def describe(observation: Any, info: Mapping[str, Any]) -> str:
    """Puts a place on the lake into words."""
    return f"row {observation // 4}, column {observation % 4}, chance {info['prob']:g}"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Test modules are no packages; what they hold is found by an import path all the same."""
    module = types.ModuleType("games_of_a_test")
    module.__dict__.update(Echo=Echo, Fickle=Fickle, describe=describe)
    monkeypatch.setitem(sys.modules, "games_of_a_test", module)


# --- prompts and seeds -------------------------------------------------------------------------------------------


def test_the_prompt_ends_in_the_first_observation() -> None:
    (message,) = game(instructions="Win.").tasks("train")[0].messages
    assert message == {"role": "user", "content": "Win.\n\nGuess my number, 1 to 15."}


def test_every_member_of_a_group_meets_the_same_chance() -> None:
    environment = game()
    task = environment.tasks("train")[1]

    async def answers(seed: int) -> list[str | None]:
        episode = await environment.open(task, seed)
        return [(await episode.step(Action(str(guess)))).message for guess in (2, 14, 7)]

    first, second, other = (asyncio.run(answers(seed)) for seed in (1, 1, 2))
    assert first == second == other


def test_tasks_differ_in_their_seeds_and_validation_has_others() -> None:
    environment = game()
    seeds = [task.meta["seed"] for split in ("train", "validation") for task in environment.tasks(split)]
    assert len(set(seeds)) == 5


def test_a_game_that_does_not_follow_from_its_seed_is_refused() -> None:
    environment = game("games_of_a_test.Fickle")
    task = environment.tasks("train")[0]
    with pytest.raises(ValueError, match="started in two ways from seed 0"):
        asyncio.run(environment.open(task, seed=0))


# --- actions -----------------------------------------------------------------------------------------------------


def test_text_is_handed_on_and_the_answer_is_the_next_message() -> None:
    (low, high), _ = play(game(), " 0 ", "16")
    assert (low.message, high.message) == ("higher", "lower")
    assert low.results == ()
    assert not low.done


def test_thoughts_are_no_part_of_the_action() -> None:
    (heard,), _ = play(game(), "<think>16?</think>\n0")
    assert heard.message == "higher"


def test_the_game_ends_the_episode_and_its_rewards_add_up_to_the_outcome() -> None:
    heard, reward = play(game("games_of_a_test.Echo"), "on", "lose")
    assert [each.done for each in heard] == [False, True]
    assert (reward.outcome, reward.components["return"], reward.components["steps"]) == (-1.0, -1.0, 2)


def test_a_game_that_is_cut_by_its_own_limit_says_so() -> None:
    heard, reward = play(game("games_of_a_test.Echo"), "late")
    assert heard[-1].done
    assert reward.components["cut_by_game"] == 1


@pytest.mark.parametrize(("enough", "outcome"), [(-1.0, 1.0), (-0.9, 0.0)])
def test_with_a_threshold_the_outcome_says_whether_it_was_reached(enough: float, outcome: float) -> None:
    _, reward = play(game("games_of_a_test.Echo", success_at=enough), "on", "lose")
    assert reward.outcome == outcome


def test_rewards_of_steps_are_rewards_of_turns_where_that_is_asked_for() -> None:
    for asked, expected in ((True, -0.5), (False, 0.0)):
        environment = game("games_of_a_test.Echo", turn_rewards=asked)
        (heard,), _ = play(environment, "on")
        assert heard.reward == expected
        assert environment.gives_turn_rewards is asked


def test_named_actions_are_found_whatever_their_case() -> None:
    (heard,), _ = play(lake(), "Down")
    assert heard.message == "  (Down)\nSFFF\n[F]HFH\nFFFH\nHFFG"  # the place was coloured red


def test_a_name_that_is_no_action_is_told_and_changes_nothing() -> None:
    heard, reward = play(lake(invalid_action_penalty=0.1), "down", "fly", "down")
    wrong = "Error: 'fly' is not an action; choose one of left, down, right, up."
    assert heard[1].message == f"{wrong}\n{heard[0].message}"
    assert heard[1].penalty == 0.1
    assert heard[1].tool_calls[0].error_kind == CallError.WRONG_TYPE
    assert heard[1].state_key == heard[0].state_key != heard[2].state_key
    assert (reward.components["steps"], reward.components["invalid_actions"]) == (2, 1)


def test_with_a_tag_only_the_last_tagged_text_counts() -> None:
    environment = lake(action_tag="action")
    heard, _ = play(environment, "<action>up</action> no, <action> down </action>", "down")
    assert "(Down)" in str(heard[0].message)
    assert heard[1].tool_calls[0].error_kind == CallError.NOT_A_CALL


def test_observations_that_are_no_text_can_be_described() -> None:
    environment = lake(show="observation", describe="games_of_a_test.describe")
    assert environment.tasks("train")[0].messages[0]["content"] == "row 0, column 0, chance 1"


def test_observations_that_are_no_text_are_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="Set describe to a function"):
        lake(show="observation").tasks("train")


# --- games that fail ---------------------------------------------------------------------------------------------


def test_what_words_of_the_policy_break_is_told_to_it() -> None:
    heard, reward = play(game("games_of_a_test.Echo"), "break", "on")
    assert heard[0].message == "Error: no way\nstart"
    assert heard[0].tool_calls[0].error_kind == "exception"
    assert heard[1].message == "on"
    assert reward.components["invalid_actions"] == 1


def test_a_game_that_breaks_at_a_proper_action_is_no_fault_of_the_policy() -> None:
    with pytest.raises(InfrastructureError, match="ZeroDivisionError: no way"):
        play(game("games_of_a_test.Echo", actions=["break", "hang"]), "break")


def test_a_game_that_hangs_is_given_up_and_left_alone() -> None:
    with pytest.raises(InfrastructureError, match=r"longer than 0\.1 seconds"):
        play(game("games_of_a_test.Echo", timeout=0.1), "hang")


def test_what_a_game_shows_is_readable_text_of_bounded_length() -> None:
    (flood, raw, half), _ = play(game("games_of_a_test.Echo", max_characters=100), "flood", "bytes", "half")
    assert flood.message == "x" * 100 + " [cut off]"
    assert raw.message == "raw \ufffd"
    assert half.message == "half ?"


def test_a_game_that_shows_nothing_is_told_as_an_error() -> None:
    (heard,), _ = play(game("games_of_a_test.Echo"), "none")
    assert "NoneType" in str(heard.message)


def test_a_game_that_cannot_be_found_is_named() -> None:
    with pytest.raises(ValueError, match=r"no module no_such"):
        game("no_such.Game").tasks("train")
    with pytest.raises(ValueError, match="has no Gone"):
        game("games_of_a_test.Gone").tasks("train")
    pytest.importorskip("gymnasium")
    with pytest.raises(ValueError, match=r"NoLake-v1 does not start: NameNotFound"):
        game("NoLake-v1").tasks("train")


# --- branches ----------------------------------------------------------------------------------------------------


async def _forked(environment: GymnasiumGame) -> tuple[Episode, Episode]:
    episode = await environment.open(environment.tasks("train")[0], seed=0)
    await episode.step(Action("down"))
    return episode, await episode.fork()


def test_a_copy_goes_its_own_way() -> None:
    async def run() -> tuple[Observation, Observation]:
        parent, twin = await _forked(lake(fork="copy"))
        return await parent.step(Action("down")), await twin.step(Action("up"))

    down, up = asyncio.run(run())
    assert "[F]FFH" in str(down.message)
    assert "[S]FFF" in str(up.message)


def test_without_copies_a_fork_is_left_to_replaying() -> None:
    with pytest.raises(Unforkable):
        asyncio.run(_forked(lake()))


# --- demonstrations ----------------------------------------------------------------------------------------------


def test_a_script_plays_demonstrations_in_seeds_that_nobody_else_has(tmp_path: Path) -> None:
    path = tmp_path / "made" / "demonstrations.jsonl"
    environment = game(
        player="lightning_agentrl.testing.guess_number.play", demonstrations=path, demonstration_games=20
    )
    environment.prepare()
    assert len(read_demonstrations(path)) == 20
    seeds = {int(json.loads(line)["id"].split("-")[1]) for line in path.read_text().splitlines()}
    tasks = [*environment.tasks("train"), *environment.tasks("validation")]
    assert not seeds & {task.meta["seed"] for task in tasks}
    before = path.read_bytes()
    environment.prepare()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"train_games": 0}, "at least 1"),
        ({"actions": ["up", "UP"]}, "names of their own"),
        ({"player": "a.b"}, "no place for its demonstrations"),
        ({"timeout": 0}, "positive"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        game(**wrong)
