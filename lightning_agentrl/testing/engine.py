"""An engine that says what it is told to: rollouts become exact and instant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightning_agentrl.engines.base import Completion, EngineSetup, RolloutEngine, SamplingParams
from lightning_agentrl.engines.stop_strings import StopStrings, check_stop_strings
from lightning_agentrl.types import Weights

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Reply:
    """What a script says, and how sure it is of it."""

    token_ids: Sequence[int]
    logprobs: Sequence[float] | None = None
    """Of each token; −1 if left out."""
    entropies: Sequence[float] | None = None
    """Of each token, in nats; passed on where a request asks for a top-k, as engines do."""
    cached_tokens: int = 0
    """Of the prompt."""


Script = Callable[[list[int], SamplingParams], Sequence[int] | Reply]


class ScriptedEngine(RolloutEngine):
    """Completes a prompt with ``script(token_ids, params)``, after ``latency`` seconds.

    A reply longer than ``params.max_tokens`` is cut and reported as such, and so is one that goes on behind a stop
    string. Plain tokens have log-probs of −1.
    """

    def __init__(self, script: Script, latency: float = 0.0, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        """Remember the script; ``prompts`` will hold every prompt that was asked for, in order.

        Args:
            script: what to say.
            latency: seconds to think.
            tokenizer: the policy's, where formats have stop strings.
        """
        self.script = script
        self.latency = latency
        self.tokenizer = tokenizer
        self.prompts: list[list[int]] = []
        self.params: list[SamplingParams] = []
        self.versions: list[int] = []
        self._started = False

    def start(self, setup: EngineSetup) -> None:
        """Nothing to build."""
        if self.tokenizer is None:
            self.tokenizer = setup.tokenizer
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
        reply = self.script(list(token_ids), params)
        if not isinstance(reply, Reply):
            reply = Reply(reply)
        kept = tuple(reply.token_ids[: params.max_tokens])
        end = self._end(kept, params)
        stopped = end is not None or (bool(kept) and kept[-1] in params.stop_token_ids)
        kept = kept[:end]
        return Completion(
            kept,
            (-1.0,) * len(kept) if reply.logprobs is None else tuple(reply.logprobs[: len(kept)]),
            "stop" if stopped else "length",
            tuple(reply.entropies[: len(kept)]) if reply.entropies is not None and params.top_logprobs else None,
            reply.cached_tokens,
        )

    def close(self) -> None:
        """Nothing to free."""
        self._started = False

    def _end(self, token_ids: Sequence[int], params: SamplingParams) -> int | None:
        """How many tokens it takes to complete a stop string; None where there is none."""
        check_stop_strings(params, self.tokenizer)
        if not params.stop_strings or self.tokenizer is None:
            return None
        strings = StopStrings(params.stop_strings, self.tokenizer)
        return next((n for n in range(1, len(token_ids) + 1) if strings.end(token_ids[:n])), None)
