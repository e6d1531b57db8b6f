"""The ground truth after every turn, teacher-forced: what to score, and what information gain compares."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_agentrl.ops import masked_mean
from lightning_agentrl.prefix_tree import TokenSequence
from lightning_agentrl.types import RolloutBatch


def answer_probes(batch: RolloutBatch) -> list[TokenSequence]:
    """A sequence for each row, turn end and alias that can be scored: the context up to there, and then the answer.

    Raises:
        ValueError: when the batch has no probes.
    """
    wanted = _scored(batch).cpu()
    assert batch.probe_ids is not None
    ids, probes, ends = batch.input_ids.cpu(), batch.probe_ids.cpu(), batch.turn_ends.cpu()
    groups = batch.group_ids.tolist()
    sequences = []
    for row, turn, alias in wanted.any(-1).nonzero().tolist():
        end = int(ends[row, turn])
        columns = wanted[row, turn, alias].nonzero()[:, 0]
        probe = probes[row, alias, : int(columns[-1]) + 1]  # padding lies behind the last token that counts
        sequences.append(TokenSequence(torch.cat([ids[row, :end], probe]), end + columns, groups[row]))
    return sequences


def answer_means(values: Float[Tensor, " E"], batch: RolloutBatch) -> Float[Tensor, "N K1"]:
    """Mean log-prob per token of the likeliest accepted answer, had the policy written it after 0…K turns.

    S of Eq. 3 in IGPO (arXiv:2510.14967) and Eq. 2 in A²TGPO (arXiv:2605.06200); NaN after turns that no further turn
    could follow, and in rows without an answer.

    Args:
        values: log-probs of what `answer_probes` asks about.
        batch: the same rows.
    """
    scored = _scored(batch)
    means = masked_mean(values.new_zeros(scored.shape).masked_scatter(scored, values), scored, -1)  # [N, K+1, A]
    absent = ~scored.any(-1)
    best = means.masked_fill(absent, -torch.inf).amax(-1)
    return best.masked_fill(absent.all(-1), torch.nan)


def _scored(batch: RolloutBatch) -> Bool[Tensor, "N K1 A L"]:
    """Tokens of the answers that count, after each turn that another could follow."""
    if batch.probe_ids is None or batch.probe_scored is None:
        raise ValueError("Answer log-probs need probes in the batch; `rollout.probes.with_probes` makes them.")
    return (batch.turn_ends >= 0)[:, :, None, None] & batch.probe_scored[:, None]
