"""Visiting the shop: how turns are read, what a visit earns, and which goals there are."""

import asyncio
from typing import Any

import pytest
from shopping import SHOP, play, turn, verdict, way_to_buy

from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.data.tiny_tokenizer import train_tokenizer
from lightning_agentrl.engines.base import SamplingParams
from lightning_agentrl.environments.shop import Shop, Shopper
from lightning_agentrl.environments.shop.rules import ShopRules
from lightning_agentrl.environments.text_actions import TextActions
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.rollout.jobs import Job, Limits
from lightning_agentrl.rollout.sampler import Sampler
from lightning_agentrl.testing import ScriptedEngine
from lightning_agentrl.types import Action, Reward, StopReason


def test_every_goal_can_be_met() -> None:
    for task in (*SHOP.tasks("validation"), *SHOP.tasks("train")):
        seen, reward = play(task, *map(turn, way_to_buy(task)))
        assert (reward.outcome, seen[-1].done) == (1.0, True)


def test_a_purchase_without_the_options_earns_a_part_of_the_score() -> None:
    task = next(task for task in SHOP.tasks("train") if task.meta["options"] == 2)
    commands = list(way_to_buy(task))
    _, reward = play(task, *map(turn, [*commands[:-3], commands[-1]]))
    wanted = task.meta["attributes"] + 3
    assert reward.outcome == pytest.approx((wanted - 2) / wanted)
    assert reward.components["options"] == 0.0


def test_a_visit_without_a_purchase_earns_nothing() -> None:
    task = SHOP.tasks("train")[0]
    assert play(task, turn("search[mug]"))[1] == Reward(0.0, 0.0, {"bought": 0.0, "task_score": 0.0})


def test_success_times_10_may_be_trained_on_as_verl_agent_does() -> None:
    rules = ShopRules(outcome="success", reward_scale=10.0)
    shop = Shop(products=300, train_goals=200, validation_goals=40, page_size=4, rules=rules)
    task = next(task for task in shop.tasks("train") if task.meta["options"] == 2)
    commands = list(way_to_buy(task))
    best = play(task, *map(turn, commands), shop=shop)[1]
    assert (best.outcome, best.shaped) == (1.0, 10.0)
    lesser = play(task, *map(turn, [*commands[:-3], commands[-1]]), shop=shop)[1]
    assert (lesser.outcome, lesser.shaped) == (0.0, 0.0)
    assert 0 < lesser.components["task_score"] < 1


def test_an_inadmissible_action_shows_the_same_page_in_the_same_state() -> None:
    first, second = play(SHOP.tasks("train")[0], turn("search[mug]"), turn("click[buy now]"))[0]
    assert (first.message, first.state_key) == (second.message, second.state_key)
    assert (second.tool_calls[0].error_kind, second.penalty) == ("inadmissible", 0.0)


def test_equal_pages_are_equal_states_however_they_were_reached() -> None:
    direct = play(SHOP.tasks("train")[0], turn("search[mug]"))[0][-1]
    detour = play(SHOP.tasks("train")[1], *map(turn, ("search[tea]", "click[back to search]", "search[mug]")))[0][-1]
    assert direct.state_key == detour.state_key
    assert play(SHOP.tasks("train")[0], turn("search[tea]"))[0][-1].state_key != direct.state_key


def test_a_turn_without_an_action_is_penalised_and_its_end_is_tried() -> None:
    rules = ShopRules(invalid_action_penalty=0.1)
    shop = Shop(products=300, train_goals=200, validation_goals=40, rules=rules)
    assert (shop.gives_turn_rewards, SHOP.gives_turn_rewards) == (True, False)
    seen = play(
        SHOP.tasks("train")[0], Action("I think search[mug]"), Action("hm, 20 more: search[shiny red mug]"), shop=shop
    )[0]
    # "i think search[mug]" has 19 characters, of which none reads as a command; the last 20 of the other one do not
    # reach back to "search[shiny red mug]", which has 21.
    assert [step.penalty for step in seen] == [0.1, 0.1]
    assert [step.tool_calls[0].error_kind for step in seen] == ["invalid_action"] * 2
    tail = play(SHOP.tasks("train")[0], Action("…and so I do this: search[blue tea mug]"), shop=shop)[0][0]
    assert (tail.penalty, "Page 1" in (tail.message or "")) == (0.1, True)


def test_a_turn_without_a_thought_can_be_invalid() -> None:
    rules = ShopRules(actions=TextActions(needs_thought=True, tail=20), invalid_action_penalty=0.5)
    shop = Shop(products=300, train_goals=200, validation_goals=40, rules=rules)
    said = [turn("search[mug]"), Action("<think>hm</think><action>click[back to search]</action>")]
    assert [step.penalty for step in play(SHOP.tasks("train")[0], *said, shop=shop)[0]] == [0.5, 0.0]


def test_the_admissible_actions_are_listed_or_not() -> None:
    shop = Shop(products=300, train_goals=200, validation_goals=40, page_size=4, rules=ShopRules(list_actions=False))
    task = SHOP.tasks("train")[0]
    (with_list,), (without,) = (play(task, turn("search[xyzzy]"), shop=one)[0] for one in (SHOP, shop))
    assert with_list.message == f"{without.message}\nAdmissible actions: click[back to search]"
    assert "search[<words>]" in task.messages[-1]["content"]
    assert "Admissible" not in shop.tasks("train")[0].messages[-1]["content"]


def test_an_expert_in_tokens_buys_what_is_wanted() -> None:
    task = next(task for task in SHOP.tasks("train") if task.meta["options"] == 2)
    commands, tokenizer, chat = list(way_to_buy(task)), train_tokenizer(["search", "click"] * 2, 320), HermesFormat()

    def speak(ids: list[int], params: SamplingParams) -> list[int]:
        turn = tokenizer.decode(ids).count("<|im_start|>assistant") - 1
        return chat.action(tokenizer, f"<action>{commands[turn]}</action>")

    engine = ScriptedEngine(speak, tokenizer=tokenizer)
    sampler = Sampler(engine, SHOP, chat, Independent(), tokenizer, Limits(15, 200, 8000))
    (rollout,) = asyncio.run(sampler.collect([Job(task, 0, 1)], temperature=1.0, seed=0, epoch=0))
    assert (rollout.outcome, rollout.stop, len(rollout.turns)) == (1.0, StopReason.FINISHED, len(commands))


def test_a_fork_goes_its_own_way() -> None:
    task = SHOP.tasks("train")[0]
    commands = list(way_to_buy(task))

    async def run() -> tuple[Reward, Reward]:
        episode = await SHOP.open(task, 0)
        for command in commands[:-1]:
            await episode.step(turn(command))
        copy = await episode.fork()
        await episode.step(turn("click[back to search]"))
        await copy.step(turn(commands[-1]))
        return await verdict(episode, task), await verdict(copy, task)

    left, bought = asyncio.run(run())
    assert (left.outcome, bought.outcome) == (0.0, 1.0)


def test_training_and_validation_share_no_goal() -> None:
    goals = {
        split: {SHOP._goals[task.meta["goal"]].identity for task in SHOP.tasks(split)}
        for split in ("train", "validation")
    }
    assert (len(goals["train"]), len(goals["validation"])) == (200, 40)
    assert not goals["train"] & goals["validation"]


def test_tasks_depend_on_the_seed_alone() -> None:
    same = Shop(products=300, train_goals=200, validation_goals=40, page_size=4)
    other = Shop(products=300, train_goals=200, validation_goals=40, page_size=4, seed=1)
    assert same.tasks("train") == SHOP.tasks("train") != other.tasks("train")


def test_more_training_goals_leave_the_validation_goals_alone() -> None:
    more = Shop(products=300, train_goals=300, validation_goals=40, page_size=4)
    assert more.tasks("validation") == SHOP.tasks("validation")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"train_goals": 0}, "must be at least 1"),
        ({"page_size": 0}, "must be at least 1"),
        ({"validation_goals": 0}, "must be at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Shop(**options)


def test_rules_and_shoppers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 0 and reward_scale positive"):
        ShopRules(invalid_action_penalty=-1)
    with pytest.raises(ValueError, match=r"hasty in \[0, 1\]"):
        Shopper(hasty=1.5)
