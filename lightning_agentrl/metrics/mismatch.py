"""How far the engine that sampled is from the trainer that learns: two implementations of one policy."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from lightning_agentrl.metrics.table import Table
from lightning_agentrl.ops import masked_sum
from lightning_agentrl.types import RolloutBatch


class EngineMismatch(Table):
    """KL(engine ‖ trainer) per token and differences of log-probs, over the action tokens.

    With d = log π_trainer − log π_engine of a token that the engine sampled:

    ``kl_k1``
        mean of −d. Unbiased, of either sign by chance.
    ``kl_k3``
        mean of e^d − 1 − d. Unbiased, never negative, and less noisy (Schulman 2020, "Approximating KL divergence").
    ``logprob_gap``, ``logprob_gap_max``
        mean and greatest |d|, in nats.
    ``nonfinite_tokens``
        number of tokens whose d is NaN or infinite; they are no part of the others. Not logged where there are none.

    Of a branch only what was sampled for it counts, so that a shared prefix counts once. As estimates of a KL they need
    an engine that samples from its whole distribution, without top-p or greedy choice; training demands that anyway.
    """

    columns: ClassVar = {
        "finite_tokens": torch.int64,  # per row
        "other_tokens": torch.int64,
        "k1": torch.float32,  # summed over the row's tokens
        "k3": torch.float32,
        "gaps": torch.float32,
        "worst": torch.float32,
    }
    higher_is_better = False

    def __init__(self, section: str = "engine") -> None:
        super().__init__(section)

    def update(self, batch: RolloutBatch) -> None:
        """Add rollouts with log-probs of the policy at collection: ``old_logprobs``, else ``current_logprobs``.

        Raises:
            ValueError: when the batch holds neither.
        """
        trainer = batch.current_logprobs if batch.old_logprobs is None else batch.old_logprobs
        if trainer is None:
            raise ValueError(
                "EngineMismatch needs old_logprobs or current_logprobs, and this batch holds neither; score it with "
                "Signal.OLD_LOGPROBS first."
            )
        mask = batch.action_mask
        if batch.inherited is not None:
            mask = mask & (torch.arange(mask.shape[1], device=mask.device) >= batch.inherited[:, None])
        mask = mask.cpu()
        # In float32, e^d − 1 − d of a good engine, about d² / 2, would be lost in rounding.
        d = trainer.detach().cpu().double() - batch.sampling_logprobs.cpu().double()
        counted = mask & d.isfinite()
        self.add_rows(
            finite_tokens=counted.sum(1),
            other_tokens=(mask & ~counted).sum(1),
            k1=masked_sum(-d, counted, 1),
            k3=masked_sum(torch.expm1(d) - d, counted, 1),
            gaps=masked_sum(d.abs(), counted, 1),
            worst=torch.where(counted, d.abs(), 0).amax(1),
        )

    def numbers(self) -> dict[str, Tensor | float]:
        """See the class."""
        tokens, others = self.column("finite_tokens").sum(), self.column("other_tokens").sum()
        found: dict[str, Tensor | float] = {"nonfinite_tokens": others} if others else {}
        if not tokens:
            return found
        return {
            **found,
            "kl_k1": self.column("k1").double().sum() / tokens,
            "kl_k3": self.column("k3").double().sum() / tokens,
            "logprob_gap": self.column("gaps").double().sum() / tokens,
            "logprob_gap_max": self.column("worst").max(),
        }
