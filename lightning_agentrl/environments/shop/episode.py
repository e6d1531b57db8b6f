"""One customer's visit to the shop: text actions in, pages out, a score for what was bought."""

from __future__ import annotations

from lightning_agentrl.data.shop_goals import Goal
from lightning_agentrl.environments.base import Episode, Observation
from lightning_agentrl.environments.shop.pages import COMMAND, Shopfront, Visit
from lightning_agentrl.environments.shop.rules import ShopRules
from lightning_agentrl.environments.shop.score import score
from lightning_agentrl.environments.tools import state_key
from lightning_agentrl.types import Action, Reward, ToolCall, Trajectory


class ShopEpisode(Episode):
    """Moves through the shop until something is bought."""

    def __init__(self, front: Shopfront, goal: Goal, rules: ShopRules, visit: Visit) -> None:
        """Start at ``visit``; ``Visit()`` is before the search page."""
        self._front = front
        self._goal = goal
        self._rules = rules
        self._visit = visit

    async def step(self, action: Action) -> Observation:
        """Do what the turn says. What cannot be done leaves the visit where it is, and the page is shown again."""
        said = self._rules.actions(action.text)
        then = self._front.act(self._visit, said.command)
        self._visit = then or self._visit
        call = _call(said.command, "" if then else "inadmissible" if said.valid else "invalid_action")
        penalty = 0.0 if said.valid else self._rules.invalid_action_penalty
        if self._visit.page == "bought":
            return Observation(done=True, tool_calls=(call,), penalty=penalty)
        page = self._front.text(self._visit)
        return Observation(
            message=message(self._front, self._visit, self._rules.list_actions),
            tool_calls=(call,),
            penalty=penalty,
            state_key=state_key((page,)),
        )

    async def reward(self, trajectory: Trajectory) -> Reward:
        """The score of the purchase; 0 without one."""
        visit = self._visit
        if visit.page != "bought" or visit.item is None:
            return Reward(0.0, 0.0, {"bought": 0.0, "task_score": 0.0})
        worth = score(visit.item, visit.chosen, self._goal)
        outcome = worth.total if self._rules.outcome == "score" else float(worth.total == 1)
        parts = {
            "bought": 1.0,
            "task_score": worth.total,
            "type": worth.r_type,
            "attributes": worth.attributes / len(self._goal.attributes),
            "price": float(worth.price),
        }
        if self._goal.options:
            parts["options"] = worth.options / len(self._goal.options)
        return Reward(outcome, self._rules.reward_scale * outcome, parts)

    async def fork(self) -> Episode:
        """A copy: visits never change, a step replaces them."""
        return ShopEpisode(self._front, self._goal, self._rules, self._visit)


def message(front: Shopfront, visit: Visit, list_actions: bool) -> str:
    """What the policy reads of a page."""
    page = front.text(visit)
    return f"{page}\nAdmissible actions: {', '.join(front.admissible(visit))}" if list_actions else page


def _call(command: str, problem: str) -> ToolCall:
    match = COMMAND.fullmatch(command)
    name, argument = (match[1], match[2]) if match else ("unreadable", command)
    return ToolCall(name, {"argument": argument}, ok=not problem, error_kind=problem or None)
