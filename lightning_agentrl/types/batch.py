"""The device side: the signals one can ask for, the rollout batch, and the credit that an assigner returns."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Metrics = dict[str, Tensor]


class Signal(enum.Flag):
    """What credit, a loss or a brancher may ask for. ``Signal.X`` stands for the field ``x`` of the batch."""

    NONE = 0
    OLD_LOGPROBS = enum.auto()
    CURRENT_LOGPROBS = enum.auto()
    REF_LOGPROBS = enum.auto()
    ENTROPIES = enum.auto()
    ANSWER_LOGPROBS = enum.auto()
    SAMPLING_ENTROPIES = enum.auto()
    STATE_KEYS = enum.auto()
    TURN_REWARDS = enum.auto()
    PARENT_IDS = enum.auto()

    @property
    def field_names(self) -> tuple[str, ...]:
        """Names of the `RolloutBatch` fields that this set of signals stands for."""
        return tuple(str(member.name).lower() for member in self)


@dataclass(frozen=True)
class RolloutBatch:
    """Trajectories as right-padded tensors. ``None`` means *not computed*, never zero."""

    input_ids: Int[Tensor, "N T"]
    attention_mask: Bool[Tensor, "N T"]
    action_mask: Bool[Tensor, "N T"]
    """The policy sampled this token."""
    turn_ids: Int[Tensor, "N T"]
    """Turn of an action token, −1 elsewhere."""
    turn_mask: Bool[Tensor, "N K"]
    process_mask: Bool[Tensor, "N K"]
    """An observation followed the turn: False on the answer turn and on a cut turn."""
    turn_ends: Int[Tensor, "N K1"]
    """Column where the next action would start after 0…K turns, −1 where there is none."""
    sampling_logprobs: Float[Tensor, "N T"]
    outcomes: Float[Tensor, " N"]
    rewards: Float[Tensor, " N"]
    truncated: Bool[Tensor, " N"]
    group_ids: Int[Tensor, " N"]
    trajectory_ids: Int[Tensor, " N"]
    turn_rewards: Float[Tensor, "N K"] | None = None
    turn_penalties: Float[Tensor, "N K"] | None = None
    parent_ids: Int[Tensor, " N"] | None = None
    """Trajectory id of the parent, −1 for a root."""
    inherited: Int[Tensor, " N"] | None = None
    """Number of leading columns copied from the parent."""
    branch_score: Float[Tensor, " N"] | None = None
    state_keys: Int[Tensor, "N K"] | None = None
    probe_ids: Int[Tensor, "N A L"] | None = None
    """Tokens of each accepted answer as the policy would write it, from where its next turn would start."""
    probe_scored: Bool[Tensor, "N A L"] | None = None
    """Which of a probe's tokens are the answer itself; none of them for a missing alias."""
    old_logprobs: Float[Tensor, "N T"] | None = None
    current_logprobs: Float[Tensor, "N T"] | None = None
    ref_logprobs: Float[Tensor, "N T"] | None = None
    entropies: Float[Tensor, "N T"] | None = None
    answer_logprobs: Float[Tensor, "N K1"] | None = None
    """Mean log-prob of the ground truth after 0…K turns (nats per token), NaN where there is none."""
    sampling_entropies: Float[Tensor, "N T"] | None = None
    advantages: Float[Tensor, "N T"] | None = None
    clip_scale: Float[Tensor, "N T"] | None = None
    loss_mask: Bool[Tensor, "N T"] | None = None
    """What is trained. Set before credit, it says what may be: truncated or surplus rows are off."""
    offered_mask: Bool[Tensor, "N T"] | None = None
    """What credit could choose from: the ``loss_mask`` as it was before."""
    components: Mapping[str, Float[Tensor, "N K"]] = field(default_factory=dict)
    loss_weights: Float[Tensor, "N T"] | None = None

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    @property
    def trainable(self) -> Bool[Tensor, "N T"]:
        """Tokens that may be trained: those of the ``loss_mask``, or every action token while there is none."""
        return self.action_mask if self.loss_mask is None else self.loss_mask

    def to(self, device: torch.device | str, **options: Any) -> RolloutBatch:
        """The same batch on ``device``. Lightning calls this; a frozen dataclass without it is refused."""
        return self._map(lambda tensor: tensor.to(device, **options))

    def select(self, rows: Int[Tensor, " M"]) -> RolloutBatch:
        """Some of the rows, in the order given."""
        return self._map(lambda tensor: tensor[rows])

    def trim(self) -> RolloutBatch:
        """Without the columns that are padding in every row (at least one column stays)."""
        width = max(int(self.attention_mask.sum(1).max()), 1) if len(self) else 1
        cut = {
            f.name: value[:, :width]
            for f in fields(self)
            if f.name in TOKEN_FIELDS and (value := getattr(self, f.name)) is not None
        }
        return replace(self, **cut)

    def require(self, signals: Signal, asked_by: str) -> None:
        """Raise a ValueError that names exactly the signals which are missing, and who asked for them."""
        missing = [name for name in signals.field_names if getattr(self, name) is None]
        if missing:
            raise ValueError(
                f"{asked_by} needs {', '.join(missing)}, which this batch does not hold. Declare the signal in "
                f"`requires` so that it is computed, or pass it to `lightning_agentrl.testing.rollouts`."
            )

    def _map(self, function: Any) -> RolloutBatch:
        changed: dict[str, Any] = {"components": {name: function(value) for name, value in self.components.items()}}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor):
                changed[f.name] = function(value)
        return replace(self, **changed)


TOKEN_FIELDS = frozenset(
    "input_ids attention_mask action_mask turn_ids sampling_logprobs old_logprobs current_logprobs ref_logprobs "
    "entropies sampling_entropies advantages clip_scale loss_mask offered_mask loss_weights".split()
)
"""The fields of `RolloutBatch` whose second dimension is T."""


@dataclass(frozen=True)
class Credit:
    """What an assigner says about a batch."""

    advantages: Float[Tensor, "N T"]
    """Zero off the action mask."""
    clip_scale: Float[Tensor, "N T"] | None = None
    """Factor on the clip range per token (A²TGPO); None leaves it alone."""
    loss_mask: Bool[Tensor, "N T"] | None = None
    """What is trained; None means every action token."""
    components: Mapping[str, Float[Tensor, "N K"]] = field(default_factory=dict)
    """Named parts of each turn's credit."""
    metrics: Metrics = field(default_factory=dict)
