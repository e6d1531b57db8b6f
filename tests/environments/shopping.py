"""Visits to a small shop, for the tests of `Shop`."""

import asyncio
from collections.abc import Iterator

from lightning_agentrl.environments.base import Episode, Observation
from lightning_agentrl.environments.shop import Shop
from lightning_agentrl.environments.shop.pages import Shopfront, Visit
from lightning_agentrl.types import Action, Reward, Segment, Task, Trajectory

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
