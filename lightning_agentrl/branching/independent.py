"""No branching: every trajectory of a group starts from the prompt."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_agentrl.branching.base import Branching


@dataclass(frozen=True)
class Independent(Branching):
    """The whole budget goes to roots, as in GRPO."""

    def initial(self, budget: int) -> int:
        """All of it."""
        return budget
