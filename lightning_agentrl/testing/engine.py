"""An engine that says what it is told to: rollouts become exact and instant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from lightning_agentrl.engines.base import Completion, EngineSetup, RolloutEngine, SamplingParams
from lightning_agentrl.types import Weights

Script = Callable[[list[int], SamplingParams], Sequence[int]]


class ScriptedEngine(RolloutEngine):
    """Completes a prompt with ``script(token_ids, params)``, after ``latency`` seconds.

    A reply longer than ``params.max_tokens`` is cut and reported as such; every log-prob is −1.
    """

    def __init__(self, script: Script, latency: float = 0.0) -> None:
        """Remember the script; ``prompts`` will hold every prompt that was asked for, in order."""
        self.script = script
        self.latency = latency
        self.prompts: list[list[int]] = []
        self.params: list[SamplingParams] = []
        self.versions: list[int] = []
        self._started = False

    def start(self, setup: EngineSetup) -> None:
        """Nothing to build."""
        self._started = True

    @property
    def started(self) -> bool:
        """Between `start` and `close`."""
        return self._started

    def update_weights(self, weights: Weights, version: int) -> None:
        """Remember the version."""
        self.versions.append(version)

    async def generate(self, token_ids: list[int], params: SamplingParams) -> Completion:
        """The script's reply."""
        self.prompts.append(list(token_ids))
        self.params.append(params)
        await asyncio.sleep(self.latency)
        reply = tuple(self.script(list(token_ids), params))
        kept = reply[: params.max_tokens]
        stopped = bool(kept) and kept[-1] in params.stop_token_ids
        return Completion(kept, (-1.0,) * len(kept), "stop" if stopped else "length")

    def close(self) -> None:
        """Nothing to free."""
        self._started = False
