"""Rollouts with a plain Hugging Face model: no vLLM, exact entropies, slower. The reference for the other engines."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from lightning_agentrl.engines.base import Completion, EngineSetup, RolloutEngine, SamplingParams
from lightning_agentrl.engines.checks import check_request, check_temperature
from lightning_agentrl.engines.engine_thread import EngineThread
from lightning_agentrl.engines.host_guard import random_state_kept
from lightning_agentrl.engines.stop_strings import StopStrings, check_stop_strings
from lightning_agentrl.precision import use_float32_head
from lightning_agentrl.types import Weights


class TransformersEngine(RolloutEngine):
    """A Hugging Face causal LM with a key-value cache and continuous batching, on a thread of its own.

    Keys and values are kept while a request is generated, not from turn to turn: ``cached_tokens`` is always 0.
    """

    def __init__(self, max_batch_size: int = 64) -> None:
        """Cheap: builds no model.

        Args:
            max_batch_size: Most requests that are decoded together; the others wait.
        """
        if max_batch_size < 1:
            raise ValueError(f"max_batch_size must be at least 1, got {max_batch_size}.")
        self._max_batch_size = max_batch_size
        self._thread: EngineThread[_TransformersBackend] | None = None
        self._setup: EngineSetup | None = None

    def start(self, setup: EngineSetup) -> None:
        """Build the network with random weights. Each rank builds its own; nothing is collective."""
        if self.started:
            raise RuntimeError("The Transformers engine runs already; close it before starting it again.")
        check_temperature(setup.temperature)
        self._thread = EngineThread(lambda: _TransformersBackend(setup, self._max_batch_size), "Transformers")
        self._setup = setup

    @property
    def started(self) -> bool:
        """Between `start` and `close`."""
        return self._thread is not None

    def update_weights(self, weights: Weights, version: int) -> None:
        """Replace all weights; a tied output head may be left out.

        Raises:
            RuntimeError: If requests are in flight.
            ValueError: If a weight is unknown or missing.
        """
        self._running().feed(weights, _TransformersBackend.load)

    async def generate(self, token_ids: list[int], params: SamplingParams) -> Completion:
        """Continue a prompt. Entropies, if ``top_logprobs`` asks for them, are exact and over the full vocabulary.

        Raises:
            ValueError: If the prompt leaves no room, the temperature is not the engine's, or a stop string meets no
                tokenizer.
        """
        thread, setup = self._running(), self._setup
        assert setup is not None
        check_request(token_ids, params, setup)
        check_stop_strings(params, setup.tokenizer)
        return await thread.submit(token_ids, params)

    def close(self) -> None:
        """End the thread and free the model."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.close()

    def _running(self) -> EngineThread[_TransformersBackend]:
        if self._thread is None:
            raise RuntimeError("The Transformers engine is not running; call start first.")
        return self._thread


@dataclass
class _Request:
    """A prompt and what has been sampled for it so far."""

    id: int
    prompt: list[int]
    params: SamplingParams
    generator: torch.Generator
    limit: int
    """Tokens to sample at most."""
    stop_strings: StopStrings | None = None
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)

    @property
    def cached(self) -> int:
        """Tokens with keys and values: all but the newest."""
        return len(self.prompt) + len(self.token_ids) - 1

    def completion(self) -> Completion | None:
        """The result if the last token ended it."""
        stopped = self.token_ids[-1] in self.params.stop_token_ids
        stopped = stopped or (self.stop_strings is not None and self.stop_strings.end(self.token_ids))
        if not stopped and len(self.token_ids) < self.limit:
            return None
        return Completion(
            token_ids=tuple(self.token_ids),
            logprobs=tuple(self.logprobs),
            finish_reason="stop" if stopped else "length",
            entropies=tuple(self.entropies) if self.params.top_logprobs > 0 else None,
        )


class _TransformersBackend:
    """The model and the requests it works on. Rows of the cache are right-aligned, padding is on the left."""

    def __init__(self, setup: EngineSetup, max_batch_size: int) -> None:
        from transformers import AutoModelForCausalLM

        self._setup = setup
        self._max_batch_size = max_batch_size
        build: Any = AutoModelForCausalLM.from_config
        with random_state_kept():
            model = build(copy.deepcopy(setup.config), dtype=setup.dtype, attn_implementation="sdpa")
        if setup.float32_head:
            use_float32_head(model)
        self._model: Any = model.to(setup.device).eval().requires_grad_(False)
        self._waiting: list[_Request] = []
        self._rows: list[_Request] = []
        self._keys_values: list[tuple[Tensor, Tensor]] = []  # per layer, each [rows, heads, columns, head_dim]
        self._seeds = random.Random()  # for requests without a seed: never the trainer's generator

    def add(self, request_id: int, token_ids: list[int], params: SamplingParams) -> None:
        """Take a request."""
        generator = torch.Generator(self._setup.device)
        generator.manual_seed(self._seeds.getrandbits(63) if params.seed is None else params.seed)
        limit = min(params.max_tokens, self._setup.max_model_len - len(token_ids))
        stops = None
        if params.stop_strings and self._setup.tokenizer is not None:
            stops = StopStrings(params.stop_strings, self._setup.tokenizer)
        self._waiting.append(_Request(request_id, token_ids, params, generator, limit, stops))

    def abort(self, request_id: int) -> None:
        """Forget a request."""
        self._waiting = [request for request in self._waiting if request.id != request_id]
        self._keep([row for row, request in enumerate(self._rows) if request.id != request_id])

    @torch.inference_mode()
    def step(self) -> list[tuple[int, Completion]]:
        """Sample the first token of requests that wait, or else the next token of those that run."""
        room = self._max_batch_size - len(self._rows)
        arrivals, self._waiting = self._waiting[:room], self._waiting[room:]
        if arrivals:
            self._sample(arrivals, self._prefill(arrivals))
        else:
            self._sample(self._rows, self._decode())
        done = {row: result for row, request in enumerate(self._rows) if (result := request.completion())}
        finished = [(self._rows[row].id, result) for row, result in done.items()]
        self._keep([row for row in range(len(self._rows)) if row not in done])
        return finished

    @torch.no_grad()
    def load(self, weights: Iterator[tuple[str, Tensor]]) -> None:
        """Copy every weight into the model."""
        own: dict[str, Tensor] = self._model.state_dict()
        loaded: set[int] = set()
        for name, tensor in weights:
            if name not in own:
                raise ValueError(f"The engine's model has no weight {name}; its weights are {', '.join(own)}.")
            own[name].copy_(tensor)
            loaded.add(own[name].data_ptr())
        if missing := [name for name, tensor in own.items() if tensor.data_ptr() not in loaded]:
            raise ValueError(f"The weights lack {', '.join(missing)}; pass all of them, as state_dict() does.")

    def close(self) -> None:
        """Free the model."""
        self._keep([])
        self._waiting.clear()
        self._model = None

    def _prefill(self, requests: list[_Request]) -> Float[Tensor, "B V"]:
        """Logits after the prompts, which join the running rows."""
        width = max(len(request.prompt) for request in requests)
        ids = [[0] * (width - len(request.prompt)) + request.prompt for request in requests]
        lengths = self._tensor([len(request.prompt) for request in requests])
        logits, keys_values = self._forward(self._tensor(ids), lengths, [])
        self._keys_values = [
            (_stack(old[0], new[0]), _stack(old[1], new[1]))
            for old, new in zip_longest(self._keys_values, keys_values, fillvalue=(None, None))
        ]
        self._rows = self._rows + requests
        return logits

    def _decode(self) -> Float[Tensor, "B V"]:
        """Logits after the newest token of every row."""
        ids = self._tensor([[request.token_ids[-1]] for request in self._rows])
        lengths = self._tensor([request.cached + 1 for request in self._rows])
        logits, self._keys_values = self._forward(ids, lengths, self._keys_values)
        return logits

    def _forward(
        self, ids: Tensor, lengths: Tensor, past: Sequence[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Logits [B, V] of the last column, and keys and values of all columns; lengths [B] count the new tokens."""
        from transformers import DynamicCache

        cache: Any = DynamicCache()
        for layer, (keys, values) in enumerate(past):
            cache.update(keys, values, layer)
        columns = (past[0][0].shape[2] if past else 0) + ids.shape[1]
        padding = columns - lengths[:, None]
        positions = torch.arange(columns, device=ids.device) - padding  # [B, columns], negative in the padding
        output = self._model(
            input_ids=ids,
            attention_mask=(positions >= 0).long(),
            position_ids=positions.clamp(min=0)[:, -ids.shape[1] :],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float(), [(layer.keys, layer.values) for layer in cache.layers]

    def _sample(self, requests: list[_Request], logits: Float[Tensor, "B V"]) -> None:
        temperatures = logits.new_tensor([request.params.temperature or 1.0 for request in requests])
        logprobs = torch.log_softmax(logits / temperatures[:, None], dim=-1)
        noise = torch.stack([_exponential(request, logprobs.shape[1]) for request in requests])
        tokens = (logprobs - noise.log()).argmax(-1)  # exponential races: token i wins with probability p_i
        chosen = logprobs.gather(1, tokens[:, None])[:, 0]
        entropies = -(logprobs.exp() * logprobs).sum(-1)
        rows = zip(requests, tokens.tolist(), chosen.tolist(), entropies.tolist(), strict=True)
        for request, token, logprob, entropy in rows:
            request.token_ids.append(token)
            request.logprobs.append(logprob)
            request.entropies.append(entropy)

    def _keep(self, rows: list[int]) -> None:
        """Drop the other rows, and the columns that are then padding everywhere."""
        if len(rows) == len(self._rows):
            return
        self._rows = [self._rows[row] for row in rows]
        if not rows:
            self._keys_values = []
            return
        index, columns = self._tensor(rows), max(request.cached for request in self._rows)
        self._keys_values = [(k[index, :, -columns:], v[index, :, -columns:]) for k, v in self._keys_values]

    def _tensor(self, values: Any) -> Tensor:
        return torch.tensor(values, device=self._setup.device)


def _stack(*parts: Tensor | None) -> Tensor:
    """Rows of all parts, padded on the left to the same number of columns."""
    tensors = [part for part in parts if part is not None]
    columns = max(tensor.shape[2] for tensor in tensors)
    return torch.cat([pad(tensor, (0, 0, columns - tensor.shape[2], 0)) for tensor in tensors])


def _exponential(request: _Request, size: int) -> Tensor:
    """One row's noise from its own generator, so that batch mates change nothing; ones if it is greedy."""
    noise = torch.ones(size, device=request.generator.device)
    return noise if request.params.temperature == 0 else noise.exponential_(generator=request.generator)
