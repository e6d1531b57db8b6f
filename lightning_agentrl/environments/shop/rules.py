"""How turns in the shop are read and judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lightning_agentrl.environments.text_actions import TextActions


@dataclass(frozen=True)
class ShopRules:
    """How turns in the shop are read and judged."""

    outcome: Literal["score", "success"] = "score"
    """The outcome: WebShop's task score in [0, 1], or 1 where that is 1 and otherwise 0."""
    reward_scale: float = 1.0
    """The shaped reward is so many outcomes; verl-agent trains on success times 10."""
    actions: TextActions = field(default_factory=lambda: TextActions(tail=20))
    """How the action is read from a turn; verl-agent sends WebShop the last 20 characters of a turn without tags."""
    invalid_action_penalty: float = 0.0
    """Penalty of a turn without a well-formed action, for assigners that read turns; verl-agent takes 0.1."""
    list_actions: bool = True
    """Whether each page is followed by the list of admissible actions; the buttons of a page are in brackets anyway."""

    def __post_init__(self) -> None:
        if self.invalid_action_penalty < 0 or self.reward_scale <= 0:
            raise ValueError(f"invalid_action_penalty must be at least 0 and reward_scale positive, got {self}.")
