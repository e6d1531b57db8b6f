"""How well the answer does that most of k samples give: maj@k, also known as self-consistency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_agentrl.metrics.bootstrap import Bootstrap
from lightning_agentrl.metrics.estimators import majority_at_k
from lightning_agentrl.metrics.names import NOTHING, key
from lightning_agentrl.metrics.samples import PerPrompt, sampled
from lightning_agentrl.types import Trajectory

Votes = Sequence[Trajectory] | Mapping[str, Sequence[tuple[str | None, float]]]
"""Rollouts, or answer and outcome of each sample by the name of its prompt."""


def plain(answer: str) -> str:
    """An answer without regard to case and blanks."""
    return " ".join(answer.casefold().split())


class MajorityAtK(PerPrompt):
    """Probability that the majority's answer is right, ``maj@k``: Wang et al. 2022 (arXiv:2203.11171).

    Ties are broken by lot, samples without an answer do not vote, and where nobody votes the answer is wrong; see
    `majority_at_k`. Of equal answers with different outcomes each counts as right as they are on average. Where no
    sample has an answer, as in games, there are no numbers. Other settings and details as of `PerPrompt`.

    Args:
        ks: numbers of samples.
        section: first part of the logged names.
        success: least outcome that is a success.
        bootstrap: of the intervals.
        normalize: what answers are compared by; equal results are one answer. To be pickled, a function of a module.
            Two metrics with different ones need ``compute_groups=False`` in a `MetricCollection`; see `Table.columns`.
    """

    symbol = "maj@"
    columns: ClassVar = {**PerPrompt.columns, "answers": torch.int64}

    def __init__(
        self,
        ks: Sequence[int] | None = None,
        section: str = "val",
        success: float = 1.0,
        bootstrap: Bootstrap = Bootstrap(),  # noqa: B008 - frozen
        normalize: Callable[[str], str] = plain,
    ) -> None:
        super().__init__(ks, section, success, bootstrap)
        self.normalize = normalize

    def update(self, rollouts: Votes) -> None:
        """Add samples."""
        if isinstance(rollouts, Mapping):
            columns = sampled({prompt: [outcome for _, outcome in votes] for prompt, votes in rollouts.items()})
            answers = [answer for votes in rollouts.values() for answer, _ in votes]
        else:
            columns, answers = sampled(rollouts), [trajectory.answer for trajectory in rollouts]
        keys = [NOTHING if answer is None else key(self.normalize(answer)) for answer in answers]
        self.add_rows(**columns, answers=keys)

    def numbers(self) -> dict[str, Tensor | float]:
        """For each k."""
        return super().numbers() if bool((self.column("answers") != NOTHING).any()) else {}

    def estimates(self, prompts: Int[Tensor, " M"], n: Int[Tensor, " P"], k: int) -> Float[Tensor, " P"]:
        """See `majority_at_k`."""
        chosen: list[Counter[int]] = [Counter() for _ in n]
        right: list[Counter[int]] = [Counter() for _ in n]
        rows = zip(prompts.tolist(), self.column("answers").tolist(), self.successes().tolist(), strict=True)
        for prompt, answer, success in rows:
            chosen[prompt][answer] += 1
            right[prompt][answer] += success
        found = []
        for sizes, hits in zip(chosen, right, strict=True):
            silent = sizes.pop(NOTHING, 0)
            # Sorted, so that the order of samples does not show in the last bit, and equal ballots are counted once.
            votes = tuple(sorted((size, hits[answer] / size) for answer, size in sizes.items()))
            found.append(majority_at_k(votes, silent, k))
        return torch.tensor(found, dtype=torch.float64)
