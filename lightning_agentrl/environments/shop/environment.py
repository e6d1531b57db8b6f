"""The shop as an environment: goals as tasks, and demonstrations of a hasty customer for tiny policies."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random

from lightning_agentrl.data.shop_catalogue import Catalogue, make_catalogue
from lightning_agentrl.data.shop_goals import Goal, draw_goals
from lightning_agentrl.environments.base import Environment, Episode, Split
from lightning_agentrl.environments.shop.episode import ShopEpisode, message
from lightning_agentrl.environments.shop.pages import Shopfront, Visit
from lightning_agentrl.environments.shop.rules import ShopRules
from lightning_agentrl.environments.shop.shopper import Shopper
from lightning_agentrl.types import Task

LAYOUT = 1
"""Raise it when the same settings should give other demonstrations."""
SYSTEM_PROMPT = (
    "You shop for a customer. Every turn, write one action inside <action></action>: search[words] on the search page, "
    "or click[button] for a button of the page, which stands in brackets. Find a product that meets the wishes, choose "
    "each option that was asked for, then click[buy now]."
)


@dataclass(frozen=True)
class Shop(Environment):
    """Buys what a customer asks for in a made-up web shop, with WebShop's actions and task score (arXiv:2207.01206).

    Not WebShop: products and goals are drawn from a seed instead of being Amazon's, so numbers do not compare with
    those of papers. Deviations of the mechanics: searching is possible from the search page alone; choosing an option
    may change the price; the page of an item shows what was chosen, so that equal pages are equal states; for the score
    see `score`. Training and validation goals are disjoint: goals are drawn once, without repetition of (product,
    attributes, options), in an order that depends on ``seed`` alone, and cut in two. verl-agent shuffles
    WebShop's goals with the seed of each worker before it cuts, so that its validation goals occur in training.
    """

    data_dir: Path = Path("runs/data/shop")
    """Folder to write demonstrations to."""
    products: int = 1000
    """Number of products, up to 9000; WebShop's small catalogue has 1000."""
    train_goals: int = 2000
    """Number of training tasks."""
    validation_goals: int = 128
    """Number of validation tasks."""
    seed: int = 0
    """Seed of the catalogue and of the goals."""
    page_size: int = 10
    """Products on a page of results."""
    rules: ShopRules = field(default_factory=ShopRules)
    """How turns are read and judged."""
    system_prompt: str | None = SYSTEM_PROMPT
    """System message before each task; null gives none."""
    shopper: Shopper | None = None
    """Who demonstrates shopping to a tiny policy; none gives no demonstrations."""

    def __post_init__(self) -> None:
        if min(self.train_goals, self.validation_goals, self.page_size) < 1:
            raise ValueError(
                f"train_goals, validation_goals and page_size must be at least 1, got {self.train_goals}, "
                f"{self.validation_goals} and {self.page_size}."
            )

    @property
    def gives_turn_rewards(self) -> bool:
        """Where invalid actions are penalised."""
        return self.rules.invalid_action_penalty > 0

    @property
    def demonstrations(self) -> Path | None:
        """Those of the shopper."""
        return self._demonstrations if self.shopper and self._demonstrations.is_file() else None

    def prepare(self) -> None:
        """Write the demonstrations; nothing where the same settings wrote them before."""
        if self.shopper is None or self._demonstrations.is_file():
            return
        asked = {goal.instruction for goal in self._goals[: self.validation_goals]}
        chance = Random(f"shopper {self.seed}")
        self.data_dir.mkdir(parents=True, exist_ok=True)
        part = self._demonstrations.with_suffix(f".{os.getpid()}.part")
        with part.open("w", encoding="utf-8") as file:
            for front, goal in self.shopper.goals(self.products, self.page_size, asked, chance):
                said = self.shopper.visit(front, goal, chance, self.rules.list_actions)
                file.write(json.dumps({"messages": [*self._messages(goal), *said]}, ensure_ascii=False) + "\n")
        os.replace(part, self._demonstrations)

    def tasks(self, split: Split) -> Sequence[Task]:
        """Goals of a split."""
        return self._train_tasks if split == "train" else self._validation_tasks

    async def open(self, task: Task, seed: int) -> Episode:
        """Start before the search page; a visit has no chance, so the seed does not matter."""
        return ShopEpisode(self._front, self._goals[task.meta["goal"]], self.rules, Visit())

    @cached_property
    def _demonstrations(self) -> Path:
        # The catalogue stands for the code that draws products: other pages need other demonstrations.
        made_of = (LAYOUT, self._catalogue, self.validation_goals, self.seed, self.page_size)
        settings = repr((made_of, self.rules.list_actions, self.system_prompt, self.shopper))
        digest = hashlib.blake2b(settings.encode(), digest_size=6).hexdigest()
        return self.data_dir / f"demonstrations-{digest}.jsonl"

    @cached_property
    def _catalogue(self) -> Catalogue:
        return make_catalogue(self.products, Random(f"catalogue {self.seed}"))

    @cached_property
    def _front(self) -> Shopfront:
        return Shopfront(self._catalogue, self.page_size)

    @cached_property
    def _goals(self) -> list[Goal]:
        """Validation goals, then training goals."""
        return draw_goals(self._catalogue, self.validation_goals + self.train_goals, Random(f"goals {self.seed}"))

    @cached_property
    def _train_tasks(self) -> tuple[Task, ...]:
        return tuple(self._task(number, "train") for number in range(self.validation_goals, len(self._goals)))

    @cached_property
    def _validation_tasks(self) -> tuple[Task, ...]:
        return tuple(self._task(number, "validation") for number in range(self.validation_goals))

    def _task(self, number: int, split: Split) -> Task:
        goal = self._goals[number]
        meta = {"goal": number, "options": len(goal.options), "attributes": len(goal.attributes)}
        return Task(f"{split}-{number}", tuple(self._messages(goal)), meta=meta)

    def _messages(self, goal: Goal) -> list[dict[str, str]]:
        system = [{"role": "system", "content": self.system_prompt}] if self.system_prompt else []
        page = message(self._front, Visit(), self.rules.list_actions)
        return [*system, {"role": "user", "content": f"{goal.instruction}\n{page}"}]
