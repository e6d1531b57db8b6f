"""What A²TGPO must keep whatever the batch, and what each of its switches changes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_batches import MANY, batches

from lightning_agentrl.credit.a2tgpo import A2TGPO
from lightning_agentrl.credit.apply import apply_credit
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.ops import per_token
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch

FEW = settings(MANY, max_examples=50)
OPTIONS = [
    A2TGPO(),
    A2TGPO(gain="prob", gamma=0.9, alpha=0.3, eps=1e-6),
    A2TGPO(first_turn_gain=False, gamma=0.5),
    A2TGPO(normalize="leave-one-out", rescale=False),
]
REACHED = A2TGPO(normalize="reached", rescale=False)  # charges the answer turn, too


def batch(scores: list[list[float]], rewards: list[float]) -> RolloutBatch:
    """One token per turn; the last turn answers."""
    made = rollouts([[1] * len(row) for row in scores], rewards, answer_logprobs=scores)
    return made._map(lambda t: t.double().round(decimals=6) if t.is_floating_point() else t)


def per_turn(values: torch.Tensor, made: RolloutBatch) -> list[float]:
    return values[made.action_mask].tolist()


@FEW
@given(batches(branches=True))
def test_without_gains_it_is_grpo(made: RolloutBatch) -> None:
    flat = replace(made, answer_logprobs=torch.where(made.turn_ends >= 0, -0.7, math.nan).double())
    credit = A2TGPO(eps=1e-6)(flat)
    torch.testing.assert_close(credit.advantages, GRPO(ddof=0)(made).advantages)
    assert (credit.clip_scale == 1).all()


@FEW
@given(batches())
def test_turns_of_the_same_number_have_mean_0_and_std_1(made: RolloutBatch) -> None:
    normed = A2TGPO(floor=0.0, rescale=False, gamma=0.0)(made).components["information gain"]
    for group in made.group_ids.unique():
        for turn in range(made.turn_mask.shape[1]):
            values = normed[(made.group_ids == group) & made.process_mask[:, turn], turn]
            if values.any():
                assert values.mean().item() == pytest.approx(0, abs=1e-9)
                assert values.std(correction=0).item() == pytest.approx(1)


@FEW
@given(batches(branches=True), st.sampled_from([A2TGPO(beta=0.9), A2TGPO(first_turn_gain=False)]))
def test_clip_ranges_stay_within_beta_and_the_answers_is_untouched(made: RolloutBatch, assigner: A2TGPO) -> None:
    scale = assigner(made).clip_scale
    assert scale is not None
    assert ((scale - 1).abs() < assigner.beta).all()
    assert (scale[per_token(made.process_mask.double(), made.turn_ids) == 0] == 1).all()


@FEW
@given(batches(branches=True), st.sampled_from(OPTIONS))
def test_the_answer_turn_earns_the_outcome_alone(made: RolloutBatch, assigner: A2TGPO) -> None:
    credit, answer = assigner(made), per_token((~made.process_mask).double(), made.turn_ids) == 1
    outcome = GRPO(ddof=assigner.ddof, eps=assigner.eps)(made).advantages
    torch.testing.assert_close(credit.advantages[answer], outcome[answer])


@FEW
@given(batches(branches=True), st.sampled_from([A2TGPO(), A2TGPO(normalize="group", ddof=1), *OPTIONS[2:], REACHED]))
def test_a_constant_per_prompt_changes_nothing(made: RolloutBatch, assigner: A2TGPO) -> None:
    shift = made.group_ids.double() * 0.25 + 1
    moved = replace(made, answer_logprobs=made.answer_logprobs - shift[:, None], rewards=made.rewards + shift)  # type: ignore[operator]
    torch.testing.assert_close(assigner(moved).advantages, assigner(made).advantages, rtol=0, atol=1e-9)


@FEW
@given(batches(branches=True))
def test_each_switch_changes_its_own_part_alone(made: RolloutBatch) -> None:
    plain = A2TGPO()(made)
    gain, outcome = plain.components["information gain"], plain.components["outcome"]
    left = made.process_mask.flip(1).cumsum(1).flip(1).clamp(min=1)  # process turns from here on
    unscaled, light, still = A2TGPO(rescale=False)(made), A2TGPO(alpha=0.25)(made), A2TGPO(beta=0.0)(made)
    torch.testing.assert_close(unscaled.components["information gain"], gain * left.sqrt())
    torch.testing.assert_close(light.components["information gain"], gain * 0.25)
    torch.testing.assert_close(still.advantages, plain.advantages, rtol=0, atol=0)
    assert still.clip_scale is None
    assert not A2TGPO(beta=0.0).scales_clip
    for other in (unscaled, light):
        torch.testing.assert_close(other.clip_scale, plain.clip_scale, rtol=0, atol=0)
        torch.testing.assert_close(other.components["outcome"], outcome, rtol=0, atol=0)


def test_turns_of_equal_merit_earn_root_n_times_it() -> None:
    # Two rows, so that n̂ = ±1 on each of three process turns: 3/√3, 2/√2, 1/√1.
    credit = A2TGPO()(batch([[-2, -1.5, -1.2, -1.1], [-2, -2, -2, -2]], [0, 0]))
    root = [math.sqrt(3), math.sqrt(2), 1, 0]
    assert credit.components["information gain"][0].tolist() == pytest.approx(root)
    assert credit.components["information gain"][1].tolist() == pytest.approx([-x for x in root])


def test_pooling_the_prompt_compares_first_turns_with_later_ones() -> None:
    # Gains .6, .2 and .1, .3: μ = .3, σ = √.035 = .187083; z = 1.603567, −.534522, −1.069045, 0.
    credit = A2TGPO(normalize="group", rescale=False, gamma=0.0)(batch([[-2, -1.4, -1.2], [-2, -1.9, -1.6]], [0, 0]))
    found = credit.components["information gain"].tolist()
    assert found == [pytest.approx([1.603567, -0.534522, 0], abs=2e-6), pytest.approx([-1.069045, 0, 0], abs=2e-6)]


def test_a_floor_keeps_rounding_noise_small() -> None:
    # Gains ±1e-4 around .5: n̂ = ±1 without a floor, ±1e-4/1e-3 = ±.1 with the default.
    made = batch([[-2, -1.4999], [-2, -1.5001]], [0, 0])
    assert per_turn(A2TGPO(floor=0.0)(made).advantages, made) == pytest.approx([1, 0, -1, 0])
    assert per_turn(A2TGPO()(made).advantages, made) == pytest.approx([0.1, 0, -0.1, 0])


def test_a_gain_without_a_finite_score_is_left_out_and_counted_but_its_turn_counts() -> None:
    # Row 1 lost gains 1 and 2; its third has no sibling. Row 2's gains are alone in their pools, too.
    made = rollouts([[1] * 4, [1] * 3], [1, 0], answer_logprobs=[[-2, math.nan, -1, -0.6], [-2, -1.8, -1.7]])
    credit = A2TGPO()(made)
    assert credit.metrics["missing_gains"] == 2
    assert credit.advantages[made.action_mask].tolist() == [1] * 4 + [-1] * 3


@pytest.mark.parametrize(
    "made",
    [
        batch([[-2]], [5]),
        batch([[-2, -1, -0.5]], [5]),
        batch([[-2], [-2]], [0.1, 0.1]),
        batch([[-2, -1], [-2, -1]], [math.nan, 1]),
        rollouts([[0, 1], [0, 0]], [0, 0], answer_logprobs=[[-2, -2], [-2, -2]]),
        rollouts([[1, 1], [1, 1]], [0, 0], answered=[False] * 2, truncated=[True] * 2, answer_logprobs=[[-2] * 3] * 2),
    ],
    ids=["a lone answer", "a lone rollout", "answers alone", "no reward", "empty actions", "cut, nothing gained"],
)
@pytest.mark.parametrize("assigner", [*OPTIONS, REACHED])
def test_nothing_to_compare_earns_nothing(assigner: A2TGPO, made: RolloutBatch) -> None:
    made = replace(made, rewards=made.rewards.double(), answer_logprobs=made.answer_logprobs.double())  # type: ignore[union-attr]
    credited, numbers = apply_credit(assigner, made)
    assert not credited.advantages.any()  # type: ignore[union-attr]
    assert numbers["credit/missing_gains"] == 0


@pytest.mark.parametrize(
    "options",
    [
        *({"normalize": "leave-one-out"}, {"normalize": "reached"}),
        {"normalize": "reached", "rescale": False, "first_turn_gain": False},
        *({"beta": 1.0}, {"beta": -0.1}, {"gamma": 1.5}, {"gamma": -0.1}),
        *({"ddof": 2}, {"eps": -1.0}, {"floor": -1.0}),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"A2TGPO\.[\w=]+ (must|is not read)"):
        A2TGPO(**options)  # type: ignore[arg-type]


def test_probability_gains_are_not_drowned_by_the_floor() -> None:
    # exp(−13) ≈ 2e-6: gains of that size still give z = ±1.
    made = rollouts([[1, 1], [1, 1]], [0.0, 0.0], answer_logprobs=[[-13.5, -13.0], [-13.5, -13.4]])
    gain = A2TGPO(gain="prob")(made).components["information gain"]
    torch.testing.assert_close(gain[:, 0], torch.tensor([1.0, -1.0]))
