"""What every engine checks before it takes a request."""

from __future__ import annotations

import math

from lightning_agentrl.engines.base import EngineSetup, SamplingParams


def check_temperature(temperature: float, lowest: float = 0.0, highest: float = math.inf) -> None:
    """Raise a ValueError unless a rollout temperature is in [lowest, highest] and positive."""
    if not (temperature > 0 and lowest <= temperature <= highest):
        raise ValueError(
            f"The rollout temperature must be positive and within [{lowest}, {highest}], got {temperature}. "
            f"Greedy requests set temperature=0 in their own SamplingParams."
        )


def check_request(token_ids: list[int], params: SamplingParams, setup: EngineSetup) -> None:
    """Raise a ValueError unless the prompt leaves room for a token and the temperature is greedy or the engine's."""
    if not token_ids:
        raise ValueError("A prompt needs at least one token, got none.")
    if len(token_ids) >= setup.max_model_len:
        raise ValueError(
            f"A prompt of {len(token_ids)} tokens leaves no room in a context of {setup.max_model_len}; "
            f"shorten it or raise max_model_len."
        )
    if params.max_tokens < 1:
        raise ValueError(f"max_tokens must be at least 1, got {params.max_tokens}.")
    if params.temperature not in (0.0, setup.temperature):
        raise ValueError(
            f"The engine was started for temperature {setup.temperature}; a request may use that or 0 (greedy), "
            f"got {params.temperature}."
        )
