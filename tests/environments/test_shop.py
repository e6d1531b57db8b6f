"""Visiting the shop: what can be done on which page, how turns are read, and what a visit earns."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.data.demonstrations import read_demonstrations
from lightning_agentrl.data.tiny_tokenizer import train_tokenizer
from lightning_agentrl.engines.base import SamplingParams
from lightning_agentrl.environments.base import Episode, Observation
from lightning_agentrl.environments.shop import Shop, Shopper
from lightning_agentrl.environments.shop.episode import ShopEpisode
from lightning_agentrl.environments.shop.pages import Shopfront, Visit
from lightning_agentrl.environments.shop.rules import ShopRules
from lightning_agentrl.environments.shop.score import score
from lightning_agentrl.environments.text_actions import TextActions
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.rollout.jobs import Job, Limits
from lightning_agentrl.rollout.sampler import Sampler
from lightning_agentrl.testing import ScriptedEngine
from lightning_agentrl.types import Action, Reward, Segment, StopReason, Task, Trajectory

SHOP = Shop(products=300, train_goals=200, validation_goals=40, page_size=4)
FRONT = SHOP._front


def turn(command: str) -> Action:
    return Action(f"<action>{command}</action>")


def play(task: Task, *actions: Action, shop: Shop = SHOP) -> tuple[list[Observation], Reward]:
    async def run() -> tuple[list[Observation], Reward]:
        episode = await shop.open(task, seed=0)
        seen = [await episode.step(action) for action in actions]
        return seen, await verdict(episode, task)

    return asyncio.run(run())


async def verdict(episode: Episode, task: Task) -> Reward:
    return await episode.reward(Trajectory(1, 0, 0, task, Segment((1,), False)))


def follow(front: Shopfront, *commands: str) -> Visit:
    visit = Visit()
    for command in commands:
        then = front.act(visit, command)
        assert then is not None, command
        visit = then
    return visit


def way_to_buy(task: Task) -> Iterator[str]:
    """Commands of somebody who knows which product is meant."""
    goal = SHOP._goals[task.meta["goal"]]
    yield f"search[{goal.product.title}]"
    visit = follow(FRONT, f"search[{goal.product.title}]")
    while f"click[{goal.product.id}]" not in FRONT.admissible(visit):
        yield "click[next >]"
        visit = follow_from(visit, "click[next >]")
    yield from (f"click[{button}]" for button in (goal.product.id, *goal.options.values(), "buy now"))


def follow_from(visit: Visit, command: str) -> Visit:
    then = FRONT.act(visit, command)
    assert then is not None
    return then


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


@pytest.mark.parametrize(
    ("commands", "admissible"),
    [
        ((), {"search[<words>]"}),
        (("search[xyzzy]",), {"click[back to search]"}),
        (("search[mug]", "click[back to search]"), {"search[<words>]"}),
    ],
)
def test_pages_without_products_offer_what_they_should(commands: tuple[str, ...], admissible: set[str]) -> None:
    assert set(FRONT.admissible(follow(FRONT, *commands))) == admissible


def test_results_come_in_pages() -> None:
    first = follow(FRONT, "search[shoes color red]")
    second = follow_from(first, "click[next >]")
    assert "click[< prev]" not in FRONT.admissible(first)
    shown = [{b for b in FRONT.buttons(visit) if b in FRONT.catalogue.by_id} for visit in (first, second)]
    assert [len(ids) for ids in shown] == [4, 4]
    assert not shown[0] & shown[1]
    assert follow_from(second, "click[< prev]") == first


def test_the_last_page_of_results_has_no_next_one() -> None:
    visit = follow(FRONT, "search[color]")
    pages = 1
    while "click[next >]" in FRONT.admissible(visit):
        visit, pages = follow_from(visit, "click[next >]"), pages + 1
    assert pages == -(-len(visit.found) // 4)


def item() -> Visit:
    results = follow(FRONT, "search[hiking boots]")
    return follow_from(results, f"click[{FRONT.buttons(results)[-1]}]")


def test_an_item_offers_its_options_its_texts_and_the_way_back() -> None:
    visit = item()
    assert visit.item is not None
    values = {value for values in visit.item.options.values() for value in values}
    others = {"back to search", "< prev", "description", "features", "buy now"}
    assert set(FRONT.buttons(visit)) == values | others


@pytest.mark.parametrize("page", ["description", "features"])
def test_the_texts_of_an_item_lead_back_to_it(page: str) -> None:
    visit = item()
    value = next(iter(next(iter(visit.item.options.values()))))  # type: ignore[union-attr]
    chosen = follow_from(visit, f"click[{value}]")
    text = follow_from(chosen, f"click[{page}]")
    assert set(FRONT.buttons(text)) == {"back to search", "< prev"}
    assert follow_from(text, "click[< prev]") == chosen


def test_leaving_an_item_forgets_the_chosen_options() -> None:
    visit = item()
    value = next(iter(next(iter(visit.item.options.values()))))  # type: ignore[union-attr]
    results = follow_from(follow_from(visit, f"click[{value}]"), "click[< prev]")
    assert (results.chosen, results.item) == ({}, None)


def test_the_last_choice_of_an_option_counts() -> None:
    visit = item()
    assert visit.item is not None
    kind, values = next(iter(visit.item.options.items()))
    one, two, *_ = values
    assert follow_from(follow_from(visit, f"click[{one}]"), f"click[{two}]").chosen == {kind: two}


def test_the_page_of_an_item_shows_what_was_chosen_and_what_it_costs() -> None:
    visit = next(
        Visit("item", item=product) for product in FRONT.catalogue.products if any(product.options.get("volume", ()))
    )
    assert visit.item is not None
    value, extra = list(visit.item.options["volume"].items())[-1]
    page = FRONT.text(follow_from(visit, f"click[{value}]"))
    assert f"volume {value}:" in page
    assert page != FRONT.text(visit)
    assert f", ${visit.item.price + extra:.2f}\n" in page


@pytest.mark.parametrize(
    "command",
    ["", "buy now", "click[]", "click[buy now]", "search[]", "search[ ]", "search", "look", "search[a", "click[b9999]"],
)
def test_what_cannot_be_done_on_the_search_page_does_nothing(command: str) -> None:
    assert FRONT.act(Visit(), command) is None


def test_one_cannot_search_from_another_page() -> None:
    assert FRONT.act(follow(FRONT, "search[mug]"), "search[tea]") is None


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


WORDS = st.sampled_from(
    [button for product in FRONT.catalogue.products[:5] for values in product.options.values() for button in values]
    + [product.id for product in FRONT.catalogue.products[:40]]
    + ["back to search", "next >", "< prev", "buy now", "description", "features", "mug", "hiking boots red", "]", ""]
)
COMMANDS = st.one_of(
    st.builds("{}[{}]".format, st.sampled_from(["search", "click"]), WORDS), st.text(max_size=30), st.none()
)


@given(choices=st.lists(st.tuples(COMMANDS, st.integers(0, 99)), max_size=15))
@settings(max_examples=60, deadline=None)
def test_any_walk_stays_in_the_shop(choices: list[tuple[str | None, int]]) -> None:
    """None in a walk is an admissible action; an integer chooses it."""
    task = SHOP.tasks("train")[0]

    async def walk() -> None:
        episode = await SHOP.open(task, 0)
        assert isinstance(episode, ShopEpisode)
        for command, number in choices:
            offered = FRONT.admissible(episode._visit)
            wanted = offered[number % len(offered)] if command is None else command
            heard = await episode.step(turn(wanted.replace("<words>", "red mug")))
            if heard.done:
                break
            assert heard.message
            assert len(heard.message) < 4000
        reward = await verdict(episode, task)
        assert 0.0 <= reward.outcome <= 1.0

    asyncio.run(walk())


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    shop = Shop(folder, products=200, train_goals=50, validation_goals=2000, page_size=3, shopper=Shopper(count=300))
    shop.prepare()
    return shop


def test_demonstrations_appear_once_they_are_prepared(shown: Shop, tmp_path: Path) -> None:
    assert shown.demonstrations is not None
    assert len(read_demonstrations(shown.demonstrations)) == 300
    assert Shop(tmp_path, shopper=Shopper(count=5)).demonstrations is None
    assert Shop(shown.data_dir, products=200).demonstrations is None


def test_demonstrations_are_written_once_and_again_for_other_settings(shown: Shop) -> None:
    assert shown.demonstrations is not None
    before = shown.demonstrations.stat().st_mtime_ns
    shown.prepare()
    assert shown.demonstrations.stat().st_mtime_ns == before
    assert Shop(shown.data_dir, products=201, shopper=Shopper(count=300)).demonstrations is None


def test_no_demonstration_shows_a_validation_goal(shown: Shop) -> None:
    assert shown.demonstrations is not None
    rows = [json.loads(line) for line in shown.demonstrations.read_text(encoding="utf-8").splitlines()]
    asked = {row["messages"][1]["content"] for row in rows}
    assert not asked & {task.messages[1]["content"] for task in shown.tasks("validation")}


def test_goals_to_demonstrate_leave_out_what_they_are_told_to() -> None:
    def instructions(*excluded: str) -> list[str]:
        return [goal.instruction for _, goal in Shopper(count=20).goals(200, 3, excluded, Random(0))]

    every = instructions()
    assert instructions(*every[::2])[:10] == every[1::2]


def demonstrate(hasty: float) -> list[tuple[float, int]]:
    """Scores of what is bought in demonstrations, and the number of wanted options."""
    shopper, result = Shopper(count=40, hasty=hasty), []
    rng = Random(0)
    for front, goal in shopper.goals(200, 3, (), rng):
        said = [m["content"] for m in shopper.visit(front, goal, rng, True) if m["role"] == "assistant"]
        visit = follow(front, *(text.removeprefix("<action>").removesuffix("</action>") for text in said))
        assert visit.item is not None
        result.append((score(visit.item, visit.chosen, goal).total, len(goal.options)))
    return result


def test_a_patient_shopper_always_scores_1() -> None:
    assert all(total == 1.0 for total, _ in demonstrate(hasty=0.0))


def test_a_hasty_shopper_scores_1_only_where_no_option_is_wanted() -> None:
    assert all((total == 1.0) == (options == 0) for total, options in demonstrate(hasty=1.0))
