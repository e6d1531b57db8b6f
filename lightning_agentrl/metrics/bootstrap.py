"""How sure one can be of a mean over prompts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

CHUNK = 1 << 22
"""Draws held in memory at a time."""


@dataclass(frozen=True)
class Bootstrap:
    """Percentile interval of a mean over prompts, from resampling the prompts (Efron 1979).

    Rollouts of a prompt resemble each other, so it is prompts that are drawn, with all that is known of each: this
    covers both the choice of the prompts and the luck of the rollouts. Where all prompts are equal the interval has no
    width, which says that there are too few of them to tell.
    """

    interval: float = 0.95
    """Probability that the interval is meant to cover, in (0, 1)."""
    resamples: int = 1000
    """Means of resampled prompts; 0 gives no interval."""
    seed: int = 0
    """Of the draws. Equal for every number and rank, so that all ranks log one interval."""

    def __post_init__(self) -> None:
        if not 0 < self.interval < 1 or self.resamples < 0:
            raise ValueError(f"Bootstrap needs an interval in (0, 1) and resamples of at least 0, got {self}.")

    def bounds(self, values: Float[Tensor, " P"]) -> tuple[Tensor, Tensor] | None:
        """Lower and upper end of the interval; None for fewer than two prompts, which say nothing of their spread."""
        count = len(values)
        if count < 2 or not self.resamples:
            return None
        generator = torch.Generator().manual_seed(self.seed)
        means = []
        for first in range(0, self.resamples, step := max(CHUNK // count, 1)):
            size = (min(step, self.resamples - first), count)
            means.append(values[torch.randint(count, size, generator=generator)].mean(1))
        tail = (1 - self.interval) / 2
        low, high = torch.cat(means).quantile(torch.tensor([tail, 1 - tail], dtype=values.dtype))
        return low, high

    def named(self, name: str, values: Float[Tensor, " P"]) -> dict[str, Tensor]:
        """The mean over prompts as ``name``, and the ends of its interval as ``name_low`` and ``name_high``."""
        bounds = self.bounds(values)
        ends = {} if bounds is None else {f"{name}_low": bounds[0], f"{name}_high": bounds[1]}
        return {name: values.mean(), **ends}
