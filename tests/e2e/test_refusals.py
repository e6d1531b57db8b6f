"""What stops a run before or as soon as it would go wrong, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers import data, module, trainer

from lightning_agentrl.engines.base import Completion, SamplingParams
from lightning_agentrl.engines.transformers import TransformersEngine
from lightning_agentrl.rollout.parity import ParityError
from lightning_agentrl.types import Weights


def test_a_wrong_engine_is_noticed_after_the_sync(policy: str, tmp_path: Path) -> None:
    class Stale(TransformersEngine):
        """Takes only the first weights."""

        def update_weights(self, weights: Weights, version: int) -> None:
            if version == 0:
                super().update_weights(weights, version)

    with pytest.raises(ParityError, match="Every prompt disagrees"):
        trainer(tmp_path).fit(module(policy, lr=1e-2), datamodule=data(engine=Stale()))


def test_raw_logprobs_at_another_temperature_are_named(policy: str, tmp_path: Path) -> None:
    class Raw(TransformersEngine):
        """Reports log-probs as if the temperature were 1."""

        async def generate(self, token_ids: list[int], params: SamplingParams) -> Completion:
            wrong = SamplingParams(params.max_tokens, 1.0, params.stop_token_ids, params.seed)
            return await super().generate(token_ids, wrong)

        def start(self, setup: Any) -> None:
            super().start(type(setup)(**{**setup.__dict__, "temperature": 1.0}))

    with pytest.raises(ParityError, match="raw instead of processed"):
        trainer(tmp_path).fit(module(policy, temperature=0.5), datamodule=data(engine=Raw()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_size": 1}, "group_size must be at least 2"),
        ({"top_p": 0.9}, "full distribution"),
        ({"top_k": 20}, "full distribution"),
        ({"min_p": 0.1}, "full distribution"),
        ({"max_turn_tokens": 128}, "must be smaller than max_model_len"),
        ({"minibatches": 0}, "minibatches must be at least 1"),
    ],
)
def test_contradictory_settings_stop_before_anything_loads(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"temperature": 0.0}, "greater than 0"), ({"aggregation_constant": 9.0}, "read with aggregation=constant")],
)
def test_contradictory_model_settings_stop_before_anything_loads(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module("nowhere", **options)


def test_a_prompt_that_leaves_no_room_is_named_before_the_policy_loads(policy: str, tmp_path: Path) -> None:
    model = module(policy)
    with pytest.raises(ValueError, match=r"task '\d+' has \d+ tokens, which leaves no room in a context of 12"):
        trainer(tmp_path).fit(model, datamodule=data(max_model_len=12, max_turn_tokens=4))
    assert model.policy is None


def test_training_on_a_part_of_a_collection_is_refused(policy: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="trained whole, in 4 micro-batches"):
        trainer(tmp_path, limit_train_batches=2).fit(module(policy), datamodule=data(minibatches=4))


def test_a_validation_temperature_the_engine_cannot_score_is_refused(policy: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="validation_temperature"):
        trainer(tmp_path).validate(module(policy), datamodule=data(validation_temperature=0.3))
