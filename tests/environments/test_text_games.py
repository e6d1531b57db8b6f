"""How a text game is put to the policy, and the episode that plays one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest
from text_worlds import Corridor

from lightning_agentrl.environments.base import Observation, Unforkable
from lightning_agentrl.environments.text_games import Stage, TextEpisode, TextPrompt, TextRules
from lightning_agentrl.environments.tools import state_key
from lightning_agentrl.environments.workers import WorkerPool, Workers
from lightning_agentrl.tools.base import InfrastructureError
from lightning_agentrl.types import Action, Reward, Segment, Task, Trajectory, Turn

PROMPT = TextPrompt(first="{objective} | {observation} | {commands}", later="{observation} | {commands}")
TRAJECTORY = Trajectory(0, 0, 0, Task("task", ()), Segment((), sampled=False))
STATE = {"text": " -= Hall =-\nA hall.\n\n\nA  door.\n", "commands": ["go east", "look"], "objective": "Win\n it."}


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(Corridor, Workers(2))
    yield pool
    pool.close()


def stage(pool: WorkerPool, **rules: object) -> Stage:
    return Stage(pool, PROMPT, TextRules(**rules))  # type: ignore[arg-type]


def said(*commands: str) -> list[Action]:
    return [Action(f"<action>{command}</action>") for command in commands]


def play(stage: Stage, *commands: str, rooms: str = "3") -> tuple[list[Observation], Reward]:
    """What a game answers, and its verdict."""

    async def run() -> tuple[list[Observation], Reward]:
        episode = await stage.open(rooms, 0)
        heard = [await episode.step(action) for action in said(*commands)]
        reward = await episode.reward(TRAJECTORY)
        await episode.close()
        return heard, reward

    return asyncio.run(run())


# --- the prompt -----------------------------------------------------------------------------------------------------


def test_blank_lines_and_runs_of_spaces_are_left_out() -> None:
    assert PROMPT.messages(STATE)[0]["content"] == "Win it. | -= Hall =-\nA hall.\nA door. | go east, look"


def test_a_tiny_policy_may_see_the_first_line_only() -> None:
    assert replace(PROMPT, detail="first_line").answer(STATE) == "-= Hall =- | go east, look"


def test_text_of_the_game_that_looks_like_a_place_is_not_filled_in() -> None:
    assert PROMPT.answer({**STATE, "text": "{commands} {objective}"}) == "{commands} {objective} | go east, look"


def test_a_system_message_comes_first() -> None:
    roles = [message["role"] for message in replace(PROMPT, system="Play.").messages(STATE)]
    assert roles == ["system", "user"]


def test_a_prompt_that_hides_the_observation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"prompt.later must show the \{observation\}"):
        TextPrompt(later="{commands}")


# --- an episode -----------------------------------------------------------------------------------------------------


def test_a_turn_is_answered_with_what_the_game_says(pool: WorkerPool) -> None:
    (heard,), _ = play(stage(pool), "east")
    assert (heard.message, heard.done) == ("You come to room 1. | east, jump, wait", False)


def test_a_game_that_is_won_ends_the_episode(pool: WorkerPool) -> None:
    heard, reward = play(stage(pool), "east", "east", "east")
    assert [each.done for each in heard] == [False, False, True]
    assert (heard[-1].message, reward.outcome, reward.shaped) == (None, 1.0, 1.0)


def test_a_game_that_is_lost_ends_the_episode_too(pool: WorkerPool) -> None:
    (heard,), reward = play(stage(pool), "jump")
    assert (heard.done, reward.outcome, reward.components["lost"]) == (True, 0.0, 1.0)


def test_a_game_that_is_not_over_is_not_won(pool: WorkerPool) -> None:
    assert play(stage(pool), "east", "east")[1].outcome == 0.0


def test_the_outcome_may_be_the_share_of_points(pool: WorkerPool) -> None:
    assert play(stage(pool, outcome="score"), "east", "east")[1].outcome == pytest.approx(2 / 3)


def test_the_shaped_reward_is_scaled_and_the_outcome_is_not(pool: WorkerPool) -> None:
    _, reward = play(stage(pool, reward_scale=10.0), "east", "east", "east")
    assert (reward.outcome, reward.shaped) == (1.0, 10.0)


def test_a_turn_earns_its_share_of_the_points(pool: WorkerPool) -> None:
    heard, _ = play(stage(pool, turn_reward=0.6), "east", "wait", "east")
    assert [each.reward for each in heard] == pytest.approx([0.2, 0.0, 0.2])


def test_an_ill_formed_turn_is_penalised_and_sent_all_the_same(pool: WorkerPool) -> None:
    async def run() -> Observation:
        episode = await stage(pool).open("3", 0)
        heard = await episode.step(Action("east"))
        await episode.close()
        return heard

    heard = asyncio.run(run())
    assert (heard.penalty, heard.message) == (0.1, "You come to room 1. | east, jump, wait")


def test_an_impossible_command_costs_no_penalty(pool: WorkerPool) -> None:
    (heard,), _ = play(stage(pool), "fly")
    assert (heard.penalty, heard.message) == (0.0, "Nothing happens. | east, jump, wait")


def test_the_anchor_is_the_raw_observation_alone(pool: WorkerPool) -> None:
    (heard,), _ = play(stage(pool), "east")
    assert heard.state_key == state_key(("You come to room 1.",))


# --- copies ---------------------------------------------------------------------------------------------------------


def test_a_fork_goes_on_from_the_same_state_and_apart_from_its_parent(pool: WorkerPool) -> None:
    async def run() -> list[str | None]:
        parent = await stage(pool).open("3", 0)
        await parent.step(said("east")[0])
        copy = await parent.fork()
        heard = [await copy.step(said("east")[0]), await parent.step(said("wait")[0]), await copy.step(said("wait")[0])]
        for episode in (parent, copy):
            await episode.close()
        return [each.message and each.message.partition(" |")[0] for each in heard]

    assert asyncio.run(run()) == ["You come to room 2.", "Nothing happens.", "Nothing happens."]


def test_a_fork_of_a_fork_knows_all_commands(pool: WorkerPool) -> None:
    async def run() -> float:
        first = await stage(pool).open("3", 0)
        await first.step(said("east")[0])
        second = await first.fork()
        await second.step(said("east")[0])
        third = await second.fork()
        await third.step(said("east")[0])
        reward = (await third.reward(TRAJECTORY)).outcome
        for episode in (first, second, third):
            await episode.close()
        return reward

    assert asyncio.run(run()) == 1.0


def test_a_game_with_chance_in_it_is_not_forked(pool: WorkerPool) -> None:
    async def run() -> None:
        episode = await stage(pool).open("m3", 0)
        await episode.step(said("east")[0])
        try:
            await episode.fork()
        finally:
            await episode.close()

    with pytest.raises(Unforkable, match="chance"):
        asyncio.run(run())


def turns(stage: Stage, *commands: str, game: str = "3") -> list[Turn]:
    """As the sampler keeps them."""
    heard, _ = play(stage, *commands, rooms=game)
    return [
        Turn(Segment((), sampled=True), text=action.text, results=(each.message,) if each.message else ())
        for action, each in zip(said(*commands), heard, strict=True)
    ]


def test_a_resumed_episode_is_where_its_turns_led(pool: WorkerPool) -> None:
    async def run() -> TextEpisode:
        episode = await stage(pool).resume("3", 0, played)
        await episode.close()
        return episode

    played = turns(stage(pool), "east", "wait", "east")
    assert asyncio.run(run()).state["text"] == "You come to room 2."


def test_a_game_that_answers_otherwise_is_not_resumed(pool: WorkerPool) -> None:
    played = turns(stage(pool), "east", game="m3")
    with pytest.raises(Unforkable, match="another answer"):
        asyncio.run(stage(pool).resume("m3", 0, played))


def test_a_crash_is_no_observation_and_the_rest_can_be_rebuilt(pool: WorkerPool) -> None:
    async def run() -> str:
        episode = await stage(pool).open("d3", 0)
        await episode.step(said("east")[0])
        with pytest.raises(InfrastructureError):
            await episode.step(said("east")[0])
        await episode.close()
        again = await stage(pool).resume("d3", 0, played[:1])
        await again.close()
        return str(again.state["text"])

    played = turns(stage(pool), "east", game="d3")
    assert asyncio.run(run()) == "You come to room 1."


def test_a_game_that_cannot_be_opened_keeps_no_seat(pool: WorkerPool) -> None:
    async def run() -> None:
        await stage(pool).open("no number", 0)

    before = sum(keeper.seats for keeper in pool._keepers)
    with pytest.raises(InfrastructureError):
        asyncio.run(run())
    assert sum(keeper.seats for keeper in pool._keepers) == before


@pytest.mark.parametrize("wrong", [{"invalid_action_penalty": -0.1}, {"reward_scale": 0.0}])
def test_impossible_rules_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="invalid_action_penalty must be at least 0"):
        TextRules(**wrong)  # type: ignore[arg-type]
