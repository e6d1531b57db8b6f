"""The accepted answers of each task in tokens, as the policy would write them, for information gain to score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Literal

import torch

from lightning_agentrl.formats.base import ChatFormat
from lightning_agentrl.types import RolloutBatch, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Aliases = Literal["max", "first"]
Probe = tuple[list[int], list[bool]]


def with_probes(
    batch: RolloutBatch,
    tasks: Sequence[Task],
    chat_format: ChatFormat,
    tokenizer: PreTrainedTokenizerBase,
    *,
    template: str,
    aliases: Aliases = "max",
    pad_id: int = 0,
) -> RolloutBatch:
    """The batch with ``probe_ids`` and ``probe_scored``; a task without answers gets a probe of which nothing counts.

    Args:
        batch: collated rows.
        tasks: one per row.
        chat_format: how a turn is tokenised.
        tokenizer: the policy's.
        template: what the policy writes around an answer, with ``{answer}`` in its place.
        aliases: score every accepted answer and take the likeliest, or the first one alone.
        pad_id: fills probes up to equal length.
    """
    known: dict[tuple[str, ...], list[Probe]] = {}
    for task in tasks:
        if task.answers not in known:
            probes = (chat_format.probe(tokenizer, template, answer) for answer in dict.fromkeys(task.answers))
            usable = (probe for probe in probes if any(probe[1]))
            known[task.answers] = list(islice(usable, None if aliases == "max" else 1))
    count = max([1, *(len(probes) for probes in known.values())])
    length = max([1, *(len(ids) for probes in known.values() for ids, _ in probes)])
    ids = torch.full((len(tasks), count, length), pad_id)
    scored = torch.zeros(ids.shape, dtype=torch.bool)
    for row, task in enumerate(tasks):
        for number, (tokens, is_answer) in enumerate(known[task.answers]):
            ids[row, number, : len(tokens)] = torch.tensor(tokens)
            scored[row, number, : len(tokens)] = torch.tensor(is_answer)
    return replace(batch, probe_ids=ids, probe_scored=scored)


def check_template(template: str) -> None:
    """Raise a ValueError unless the template says once where the answer goes."""
    if template.count("{answer}") != 1:
        raise ValueError(f"answer_template must hold {{answer}} exactly once, got {template!r}.")
