"""How well several samples of a prompt do together: pass@k and pass^k with confidence intervals."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_agentrl.metrics.bootstrap import Bootstrap
from lightning_agentrl.metrics.estimators import pass_at_k, pass_hat_k
from lightning_agentrl.metrics.names import key
from lightning_agentrl.metrics.table import Table
from lightning_agentrl.ops import pool_index
from lightning_agentrl.types import Trajectory

Outcomes = Sequence[Trajectory] | Mapping[str, Sequence[float]]
"""Rollouts, or the outcomes of each prompt by its name."""


class PerPrompt(Table):
    """An unbiased estimate for k samples of each prompt; logged are the mean over prompts and its bootstrap interval.

    Samples belong to one prompt if their tasks have one id, whatever update, rank or group they came with. Prompts with
    fewer than k samples are no part of the mean, and where there are any ``…@k_skipped`` counts them. The samples must
    be independent: branches of one another are not.

    Args:
        ks: numbers of samples; none takes the powers of two up to the most samples that a prompt has.
        section: first part of the logged names.
        success: least outcome that is a success. Outcomes are compared in float32, as in a `RolloutBatch`.
        bootstrap: of the intervals.
    """

    higher_is_better = True
    columns: ClassVar = {"prompts": torch.int64, "outcomes": torch.float32}

    def __init__(
        self,
        ks: Sequence[int] | None = None,
        section: str = "val",
        success: float = 1.0,
        bootstrap: Bootstrap = Bootstrap(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(section)
        if ks is not None and min(ks, default=0) < 1:
            raise ValueError(f"ks must be numbers of samples of at least 1, got {list(ks)}; null takes powers of two.")
        self.ks = None if ks is None else tuple(sorted(set(ks)))
        self.success = success
        self.bootstrap = bootstrap

    @property
    @abstractmethod
    def symbol(self) -> str:
        """What is logged, up to the number of samples."""

    @abstractmethod
    def estimates(self, prompts: Int[Tensor, " M"], n: Int[Tensor, " P"], k: int) -> Float[Tensor, " P"]:
        """For each prompt; NaN where n < k.

        Args:
            prompts: number of each sample's prompt, 0…P−1.
            n: samples of each prompt.
            k: samples drawn from them.
        """

    def numbers(self) -> dict[str, Tensor | float]:
        """For each k."""
        # Prompts are numbered by their keys, so that neither the order of samples nor of ranks shows in a bit.
        prompts, count = pool_index(self.column("prompts"))
        n = prompts.bincount(minlength=count)
        found: dict[str, Tensor | float] = {}
        for k in self._sizes(int(n.max())) if count else ():
            estimates, name = self.estimates(prompts, n, k), f"{self.symbol}{k}"
            found |= self.bootstrap.named(name, estimates[n >= k])
            if bool((n < k).any()):
                found[f"{name}_skipped"] = (n < k).sum()
        return found

    def successes(self) -> Tensor:
        """Whether each sample succeeded; an outcome that is not a number is none."""
        return self.column("outcomes") >= self.success

    def _sizes(self, most: int) -> tuple[int, ...]:
        return tuple(2**power for power in range(most.bit_length())) if self.ks is None else self.ks


class PassAtK(PerPrompt):
    """Probability that at least one of k samples succeeds, ``pass@k``; see `PerPrompt` for settings and details."""

    symbol = "pass@"

    def update(self, rollouts: Outcomes) -> None:
        """Add samples."""
        self.add_rows(**sampled(rollouts))

    def estimates(self, prompts: Int[Tensor, " M"], n: Int[Tensor, " P"], k: int) -> Float[Tensor, " P"]:
        """See `pass_at_k`."""
        return pass_at_k(n, prompts[self.successes()].bincount(minlength=len(n)), k)


class PassHatK(PerPrompt):
    """Probability that all of k samples succeed, ``pass^k``: how much one can rely on a policy. Else as `PassAtK`."""

    symbol = "pass^"

    def update(self, rollouts: Outcomes) -> None:
        """Add samples."""
        self.add_rows(**sampled(rollouts))

    def estimates(self, prompts: Int[Tensor, " M"], n: Int[Tensor, " P"], k: int) -> Float[Tensor, " P"]:
        """See `pass_hat_k`."""
        return pass_hat_k(n, prompts[self.successes()].bincount(minlength=len(n)), k)


def sampled(rollouts: Outcomes) -> dict[str, list[int] | list[float]]:
    """Prompt and outcome of each sample."""
    if isinstance(rollouts, Mapping):
        pairs = [(prompt, outcome) for prompt, outcomes in rollouts.items() for outcome in outcomes]
    else:
        pairs = [(trajectory.task.id, trajectory.outcome) for trajectory in rollouts]
    return {"prompts": [key(prompt) for prompt, _ in pairs], "outcomes": [outcome for _, outcome in pairs]}
