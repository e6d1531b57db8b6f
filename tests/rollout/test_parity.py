"""The parity check tells what is wrong with an engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from lightning_agentrl.engines.base import Completion, EngineSetup, SamplingParams
from lightning_agentrl.rollout.parity import PROMPT_TOKENS, ParityCheck, ParityError
from lightning_agentrl.testing import ScriptedEngine
from lightning_agentrl.types import RolloutBatch, Signal

PROMPTS = [[1, 2, 3], [4, 5], [6]]


class Trainer:
    """A learner of fixed opinions: every token has log-prob −1 at its own temperature, ``other`` at any other."""

    def __init__(self, gaps: list[float], *, tied: bool = False, dtype: torch.dtype = torch.float32) -> None:
        self.gaps = gaps
        self.temperature = 0.5
        self.policy_dtype = dtype
        self.policy_config = SimpleNamespace(tie_word_embeddings=tied)
        self.agrees_at_one = False

    def score(self, batch: RolloutBatch, signals: Signal, temperature: float | None = None) -> RolloutBatch:
        gaps = torch.tensor(self.gaps)[:, None]
        if temperature == 1.0 and self.agrees_at_one:
            gaps = torch.zeros_like(gaps)
        return replace(batch, old_logprobs=torch.where(batch.action_mask, -1.0 - gaps, 0.0))


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    engine = ScriptedEngine(lambda ids, params: [7] * params.max_tokens)
    engine.start(EngineSetup(None, torch.float32, torch.device("cpu"), 256, 0.5))  # type: ignore[arg-type]
    yield engine
    engine.close()


def check(engine: ScriptedEngine, trainer: Trainer) -> float:
    parity = ParityCheck(engine, trainer, PROMPTS, tolerance=1e-4)  # type: ignore[arg-type]

    async def sample() -> list[Completion]:
        await parity.before_sync()
        return await parity.sample()

    return parity.compare(asyncio.run(sample()))


def test_agreement_is_reported_as_the_largest_gap(engine: ScriptedEngine) -> None:
    assert check(engine, Trainer([0.0, 5e-5, 2e-5])) == pytest.approx(5e-5, rel=1e-2)


@pytest.mark.parametrize(
    ("trainer", "diagnosis"),
    [
        (Trainer([3.0, 0.0, 0.0]), "prefix cache is stale"),
        (Trainer([3.0, 3.0, 3.0], tied=True), "old copy of the output head"),
        (Trainer([0.01, 0.02, 0.01], dtype=torch.bfloat16), "rounding in torch.bfloat16"),
        (Trainer([3.0, 2.0, 4.0]), "does not hold the trainer's weights"),
        (Trainer([float("nan"), 0.0, 0.0]), "differ from the trainer's"),
    ],
)
def test_a_disagreement_is_diagnosed(engine: ScriptedEngine, trainer: Trainer, diagnosis: str) -> None:
    with pytest.raises(ParityError, match=diagnosis):
        check(engine, trainer)


def test_log_probs_of_another_temperature_are_recognized(engine: ScriptedEngine) -> None:
    trainer = Trainer([2.0, 2.0, 2.0])
    trainer.agrees_at_one = True
    with pytest.raises(ParityError, match="raw instead of processed"):
        check(engine, trainer)


def test_one_prompt_is_cached_before_the_sync_and_all_are_long(engine: ScriptedEngine) -> None:
    check(engine, Trainer([0.0, 0.0, 0.0]))
    assert engine.prompts[0] == engine.prompts[1]
    assert {len(prompt) for prompt in engine.prompts} == {PROMPT_TOKENS}
    assert {type(params) for params in engine.params} == {SamplingParams}
