"""How a verdict is made of outcome, bonuses and gates; and the rules of the papers, written as a configuration."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from told import answered, from_yaml, told, turn, verdict

from lightning_agentrl.rewards.base import Bonus, Gate, RewardFunction, Rewards, Score
from lightning_agentrl.rewards.exact_match import ExactMatch
from lightning_agentrl.rewards.token_f1 import TokenF1
from lightning_agentrl.types import Trajectory

ARPO = """
reward:
  outcome:
    class_path: lightning_agentrl.rewards.token_f1.TokenF1
    init_args: {normalisation: arpo, boxed: true}
  bonuses:
    - reward: lightning_agentrl.rewards.tool_use.BothTools
      weight: 0.1
      when: success
  gates:
    - class_path: lightning_agentrl.rewards.gates.TagGate
"""
A2TGPO = """
reward:
  outcome:
    class_path: lightning_agentrl.rewards.exact_match.ExactMatch
    init_args: {boxed: true}
  gates:
    - class_path: lightning_agentrl.rewards.gates.TagGate
      init_args: {calls: [search]}
"""
IGPO = """
reward:
  outcome:
    class_path: lightning_agentrl.rewards.token_f1.TokenF1
    init_args: {normalisation: igpo}
  gates:
    - lightning_agentrl.rewards.gates.BalancedTagsGate
"""
SEARCH = turn("<think> look </think> <search> president </search>", "He is one.", calls=[("search", None)])
PYTHON = turn("<think> count </think> <python> print(2) </python>", "2\n", calls=[("python", None)])


@dataclass(frozen=True)
class Says(RewardFunction):
    """A reward that says a number."""

    number: float
    name: str = "says"
    parts: dict[str, float] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)

    async def __call__(self, trajectory: Trajectory) -> Score:
        return Score(self.number, self.parts)

    def close(self) -> None:
        self.closed.append(self.name)


@dataclass(frozen=True)
class Fails(Gate):
    """A gate that says a number, or None."""

    number: float | None
    name: str = "fails"

    def __call__(self, trajectory: Trajectory) -> float | None:
        return self.number


def test_bonuses_add_up_with_their_weights() -> None:
    bonuses = [Bonus(Says(2.0, "long"), -0.25), Bonus(Says(1.0, "neat"), 0.1)]
    assert verdict(Rewards(Says(0.5), bonuses), told("")).shaped == pytest.approx(0.5 - 0.5 + 0.1)


@pytest.mark.parametrize(("outcome", "shaped"), [(0.0, 0.0), (-1.0, -1.0), (0.01, 0.11), (1.0, 1.1)])
def test_a_bonus_for_success_needs_a_positive_outcome(outcome: float, shaped: float) -> None:
    rewards = Rewards(Says(outcome), [Bonus(Says(1.0, "neat"), 0.1, when="success")])
    assert verdict(rewards, told("")).shaped == pytest.approx(shaped)


def test_a_closed_gate_overrules_everything_but_the_raw_outcome() -> None:
    rewards = Rewards(Says(1.0), [Bonus(Says(1.0, "neat"))], [Fails(None, "first"), Fails(-2.0), Fails(-1.0, "third")])
    judged = verdict(rewards, told(""))
    assert (judged.outcome, judged.shaped) == (1.0, -2.0)


def test_a_gate_may_give_zero() -> None:
    assert verdict(Rewards(Says(1.0), gates=[Fails(0.0)]), told("")).shaped == 0.0


def test_every_part_is_reported_unweighted() -> None:
    bonuses = [Bonus(Says(2.0, "long"), -0.25), Bonus(Says(3.0, "long"), when="success", label="longer")]
    judged = verdict(Rewards(Says(0.0), bonuses, [Fails(None, "open"), Fails(-1.0, "shut")]), answered("x"))
    parts = {"says": 0.0, "long": 2.0, "longer": 3.0, "open": 1.0, "shut": 0.0, "answered": 1.0}
    assert judged.components == parts


def test_a_reward_may_report_more_than_its_number() -> None:
    judged = verdict(Rewards(Says(1.0, parts={"timeout": 0.0})), told(""))
    assert (judged.shaped, judged.components["timeout"]) == (1.0, 0.0)


def test_parts_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="names of their own, got says, long, long"):
        Rewards(Says(1.0), [Bonus(Says(1.0, "long")), Bonus(Says(2.0, "long"))])


def test_closing_the_verdict_closes_its_parts() -> None:
    closed: list[str] = []
    Rewards(Says(1.0, closed=closed), [Bonus(Says(1.0, "long", closed=closed))]).close()
    assert closed == ["says", "long"]


def test_outcome_alone_is_the_shaped_reward() -> None:
    judged = verdict(Rewards(ExactMatch()), answered("Bodor", "Bodor"))
    assert (judged.outcome, judged.shaped, judged.components) == (1.0, 1.0, {"exact_match": 1.0, "answered": 1.0})


@pytest.mark.parametrize(
    ("good_format", "f1", "both", "reward"),
    [(1, 0.8, 0, 0.8), (1, 0.8, 1, 0.9), (1, 0.0, 1, 0.0), (0, 1.0, 1, -1.0), (1, 1.0, 1, 1.1)],
)
def test_the_reward_of_arpo(good_format: bool, f1: float, both: bool, reward: float) -> None:
    answer = {0.8: "Barack Obama", 0.0: "Nobody", 1.0: "the Barack Hussein Obama."}[f1]
    last = f"<think> so </think> <answer> \\boxed{{{answer}}} </answer>" + ("" if good_format else "<think>")
    trajectory = told(SEARCH, *([PYTHON] if both else []), last, golden=["Barack Hussein Obama"])
    judged = verdict(from_yaml(ARPO), trajectory)
    assert (judged.outcome, judged.shaped) == pytest.approx((f1, reward))


@pytest.mark.parametrize(
    ("last", "reward"),
    [
        (r"<think> so </think> <answer> \boxed{Kenya} </answer>", 1.0),
        (r"<think> so </think> <answer> \boxed{Republic of Kenya} </answer>", 0.0),
        (r"<think> so </think> <answer> Kenya </answer>", -1.0),
        (r"<think> so </think> Kenya", -1.0),
    ],
)
def test_the_reward_of_a2tgpo(last: str, reward: float) -> None:
    assert verdict(from_yaml(A2TGPO), told(SEARCH, last, golden=["Kenya"])).shaped == reward


@pytest.mark.parametrize(
    ("last", "reward"),
    [
        ("<think> so </think> <answer> Kenya </answer>", 1.0),
        ("<answer> Republic of Kenya </answer>", 0.5),  # precision 1/3, recall 1
        ("<answer> Chad </answer>", 0.0),
        ("<think> so <answer> Kenya </answer>", -2.0),
        ("Kenya", -2.0),
    ],
)
def test_the_reward_of_igpo(last: str, reward: float) -> None:
    search = turn('<think> look </think> <tool_call> {"name": "search"} </tool_call>', "It is <code> Kenya.")
    assert verdict(from_yaml(IGPO), told(search, last, golden=["Kenya"])).shaped == pytest.approx(reward)


def test_short_names_of_rewards_are_enough_in_a_configuration() -> None:
    assert from_yaml("reward: {outcome: {class_path: TokenF1}}").outcome == TokenF1()
