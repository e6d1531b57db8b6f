"""After every weight sync: does the engine assign the same log-probs as the trainer?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_agentrl.engines.base import Completion, RolloutEngine, SamplingParams
from lightning_agentrl.rollout.collate import collate
from lightning_agentrl.rollout.statistics import over_ranks
from lightning_agentrl.types import Learner, RolloutBatch, Segment, Signal, Task, Trajectory, Turn

PROBE_TOKENS = 4
"""Tokens sampled per fixed prompt."""
PROMPT_TOKENS = 96
"""Length of a fixed prompt: several cache blocks, so that a stale block would be used."""


class ParityError(RuntimeError):
    """Engine and trainer disagree about the policy."""


class ParityCheck:
    """Samples a few tokens after fixed prompts and lets the trainer score the same tokens.

    The first prompt is also run before the sync, so that its blocks are in the engine's cache: should the engine
    use them after the sync, that prompt alone disagrees.
    """

    def __init__(
        self, engine: RolloutEngine, learner: Learner, prompts: Sequence[Sequence[int]], tolerance: float
    ) -> None:
        """Prepare the prompts; ``tolerance`` is the largest allowed |Δ log-prob| in nats."""
        self.engine = engine
        self.learner = learner
        self.tolerance = tolerance
        self.prompts = [_stretch(prompt, PROMPT_TOKENS) for prompt in prompts]

    async def before_sync(self) -> None:
        """Put the first prompt into the engine's cache."""
        await self._sample(self.prompts[:1], tokens=1)

    async def sample(self) -> list[Completion]:
        """What the engine says about each prompt; to be handed to `compare`."""
        return await self._sample(self.prompts, PROBE_TOKENS)

    async def _sample(self, prompts: Sequence[list[int]], tokens: int) -> list[Completion]:
        params = SamplingParams(tokens, self.learner.temperature, stop_token_ids=(), seed=1)
        return list(await asyncio.gather(*(self.engine.generate(prompt, params) for prompt in prompts)))

    def compare(self, completions: Sequence[Completion]) -> float:
        """Largest |Δ log-prob|.

        Raises:
            ParityError: with the likely cause, when it is over the tolerance.
        """
        batch = collate([_trajectory(*pair) for pair in zip(self.prompts, completions, strict=True)])
        gaps = self._gaps(batch, self.learner.temperature)
        worst = float(gaps.max())
        if not worst <= self.tolerance:
            raise ParityError(
                f"After the weight sync the engine's log-probs differ from the trainer's by up to {worst:.2e} nats "
                f"(allowed: {self.tolerance:.0e}). {self._diagnosis(gaps, batch)}"
            )
        return worst

    def _gaps(self, batch: RolloutBatch, temperature: float) -> Tensor:
        """Largest |Δ| per prompt on any rank, [N]: all ranks stop, or none, for they look further together."""
        scored = self.learner.score(batch, Signal.OLD_LOGPROBS, temperature).old_logprobs
        assert scored is not None
        gaps = ((scored - batch.sampling_logprobs).abs() * batch.action_mask).amax(1).nan_to_num(nan=torch.inf)
        worst = over_ranks({f"{prompt}_max": float(gap) for prompt, gap in enumerate(gaps)})
        return torch.tensor([worst[f"{prompt}_max"] for prompt in range(len(gaps))])

    def _diagnosis(self, gaps: Tensor, batch: RolloutBatch) -> str:
        if gaps[0] > self.tolerance and bool((gaps[1:] <= self.tolerance).all()):
            return (
                "Only the prompt that was cached before the sync disagrees: the engine's prefix cache is stale. "
                "Its entries must be invalidated by every sync (cache salt or reset)."
            )
        if self.learner.temperature != 1 and float(self._gaps(batch, 1.0).max()) <= self.tolerance:
            return (
                f"They agree at temperature 1, but rollouts run at {self.learner.temperature}: the engine reports "
                f"raw instead of processed log-probs."
            )
        if float(gaps.max()) < 0.3 and self.learner.policy_dtype != torch.float32:
            return (
                f"The gap has the size of rounding in {self.learner.policy_dtype}: raise data.parity_tolerance, or "
                f"let the trainer and the engine compute in float32."
            )
        if getattr(self.learner.policy_config, "tie_word_embeddings", False):
            return (
                "The policy ties its embeddings: the engine probably kept an old copy of the output head. "
                "The sync must send both model.embed_tokens.weight and lm_head.weight."
            )
        return "Every prompt disagrees: the engine does not hold the trainer's weights, or computes in another dtype."


def _stretch(prompt: Sequence[int], length: int) -> list[int]:
    repeated = list(prompt) * (length // len(prompt) + 1)
    return repeated[:length]


def _trajectory(prompt: list[int], completion: Completion) -> Trajectory:
    turn = Turn(Segment(completion.token_ids, sampled=True, logprobs=completion.logprobs))
    return Trajectory(0, 0, 0, Task("parity", ()), Segment(tuple(prompt), sampled=False), (turn,))
