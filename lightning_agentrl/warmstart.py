"""The cold start that the papers begin with: a tiny policy, fine-tuned on demonstrations, built once and cached."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from filelock import FileLock
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from lightning_agentrl.data.demonstrations import Demonstration, read_demonstrations
from lightning_agentrl.data.tiny_tokenizer import train_tokenizer
from lightning_agentrl.formats.respelling import respelled
from lightning_agentrl.policy import TinyPolicy
from lightning_agentrl.scoring import forward

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRScheduler
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from lightning_agentrl.formats.base import ChatFormat

say = rank_zero_only(logging.getLogger(__name__).info)

FORM = 1
"""Part of the cache key: raised when a change here makes other policies from the same settings."""


@dataclass(frozen=True)
class WarmStart:
    """Supervised fine-tuning of a tiny policy, used when ``model.policy`` is ``tiny``."""

    shape: TinyPolicy = field(default_factory=TinyPolicy)
    """Size of the network."""
    steps: int = 1600
    """Optimizer steps."""
    batch_size: int = 16
    """Demonstrations per step."""
    learning_rate: float = 3e-3
    """Peak learning rate; 50 steps of warm-up, then linear decay to a twentieth."""
    observations: bool = False
    """Whether the loss also covers prompts and tool results: reading them helps a tiny network to copy from them."""
    seed: int = 0
    """Of initialization and of the order of the demonstrations."""
    cache: str = "runs/policies"
    """Folder below which warm-started policies are kept, one per setting."""

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size) < 1 or self.learning_rate <= 0:
            raise ValueError(
                f"warmstart needs steps and batch_size of at least 1 and a positive learning_rate, got {self.steps}, "
                f"{self.batch_size} and {self.learning_rate}."
            )


def warm_start(settings: WarmStart, demonstrations: Path, chat_format: ChatFormat) -> Path:
    """Folder of the policy for these settings and demonstrations; trained now unless it is cached.

    Raises:
        ValueError: when the demonstrations are missing or bad, or longer than the network's context.
    """
    if not demonstrations.is_file():
        raise ValueError(f"No demonstrations at {demonstrations}: a tiny policy needs them for its cold start.")
    folder = Path(settings.cache) / _key(settings, demonstrations, chat_format)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Ranks of a multi-process run come here at once: one trains, the others wait.
    with FileLock(f"{folder}.lock"):
        if (folder / "warmstart.json").is_file():
            say(f"Warm-started policy found in {folder}.")
        else:
            start = time.perf_counter()
            _train(settings, read_demonstrations(demonstrations), chat_format, folder)
            say(f"Warm start took {time.perf_counter() - start:.0f} s; the policy is kept in {folder}.")
    return folder


class SFTModule(LightningModule):
    """Next-token likelihood on demonstrations."""

    def __init__(self, policy: PreTrainedModel, settings: WarmStart, tokens_per_row: float) -> None:
        super().__init__()
        self.policy = policy
        self.settings = settings
        self.tokens_per_row = tokens_per_row

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Negative log-likelihood of the learnt tokens (nats), over the number that a batch has on average.

        Rows of a batch are of similar length. Divided by its own count of tokens, a batch of short rows would give
        each of its tokens more weight, and the policy would learn to stop early more often than it was shown.
        """
        ids, mask = batch
        logprobs, _ = forward(self.policy, ids, mask)
        loss = -logprobs.sum() / (len(ids) * self.tokens_per_row)
        if (batch_idx + 1) % 100 == 0:
            say(f"warm start: step {batch_idx + 1}/{self.settings.steps}, loss {loss.item():.3f}")
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with warm-up and linear decay."""
        steps = self.settings.steps
        optimizer = torch.optim.AdamW(
            self.policy.parameters(), lr=self.settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1.0, (step + 1) / 50) * max(0.05, 1 - step / steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class DemonstrationBatches(IterableDataset[tuple[Tensor, Tensor]]):
    """Right-padded ids and learnt-token masks, rows of similar length together; endless passes in random order."""

    def __init__(self, rows: Sequence[tuple[list[int], list[bool]]], settings: WarmStart, pad_id: int) -> None:
        self.rows = rows
        self.settings = settings
        self.pad_id = pad_id

    def __len__(self) -> int:
        return self.settings.steps

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        rng = random.Random(self.settings.seed)
        size = self.settings.batch_size
        queue: list[list[int]] = []
        for _ in range(self.settings.steps):
            if not queue:
                order = rng.sample(range(len(self.rows)), len(self.rows))
                # Sorting inside pools of 32 batches keeps padding low and the order random enough.
                pools = [order[i : i + 32 * size] for i in range(0, len(order), 32 * size)]
                order = [row for pool in pools for row in sorted(pool, key=lambda r: len(self.rows[r][0]))]
                queue = [order[i : i + size] for i in range(0, len(order), size)]
                rng.shuffle(queue)
            yield self._batch(queue.pop())

    def _batch(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        rows = [self.rows[number] for number in numbers]
        width = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([ids + [self.pad_id] * (width - len(ids)) for ids, _ in rows])
        mask = torch.tensor([learnt + [False] * (width - len(learnt)) for _, learnt in rows])
        return ids, mask


def encode(
    demonstration: Demonstration, chat_format: ChatFormat, tokenizer: PreTrainedTokenizerBase, observations: bool
) -> tuple[list[int], list[bool]]:
    """The tokens that a rollout saying the same would have, and which of them are learnt (never the first)."""
    ids = chat_format.prompt(tokenizer, demonstration.prompt, ())
    learnt = [observations] * len(ids)
    for action, answer in demonstration.turns:
        said = chat_format.action(tokenizer, action)
        if isinstance(answer, str):
            seen = chat_format.message(tokenizer, answer)
        else:
            seen = chat_format.observation(tokenizer, answer) if answer is not None else []
        ids = [*ids, *said, *seen]
        learnt += [True] * len(said) + [observations] * len(seen)
    return ids, [False, *learnt[1:]]


def _train(settings: WarmStart, demonstrations: Sequence[Demonstration], chat_format: ChatFormat, folder: Path) -> None:
    say(f"Warm start: {settings.steps} steps on {len(demonstrations)} demonstrations; once, then cached.")
    state = torch.random.get_rng_state(), random.getstate()
    seed_everything(settings.seed, verbose=False)
    demonstrations = [
        replace(d, turns=tuple((respelled(said, chat_format), answer) for said, answer in d.turns))
        for d in demonstrations
    ]
    texts = (text for d in demonstrations for text in d.texts)
    tokenizer = train_tokenizer(texts, settings.shape.vocab_size, chat_format.markers)
    rows = [encode(d, chat_format, tokenizer, settings.observations) for d in demonstrations]
    longest = max(len(ids) for ids, _ in rows)
    if longest > settings.shape.context:
        raise ValueError(
            f"The longest demonstration has {longest} tokens, the policy a context of {settings.shape.context}; "
            f"raise warmstart.shape.context."
        )
    policy = settings.shape.build(tokenizer)
    trainer = Trainer(
        max_steps=settings.steps,
        devices=1,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches = DemonstrationBatches(rows, settings, int(tokenizer.pad_token_id or 0))
    learnt = sum(sum(mask) for _, mask in rows) / len(rows)
    trainer.fit(SFTModule(policy, settings, learnt), DataLoader(batches, batch_size=None))
    policy.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # Written last: a folder without it is not whole and is made again.
    (folder / "warmstart.json").write_text(json.dumps(asdict(settings), indent=2), encoding="utf-8")
    torch.random.set_rng_state(state[0])
    random.setstate(state[1])


def _key(settings: WarmStart, demonstrations: Path, chat_format: ChatFormat) -> str:
    parts = {**asdict(settings), "cache": None, "form": FORM, "format": repr(chat_format)}
    digest = hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=6)
    digest.update(demonstrations.read_bytes())
    return f"{demonstrations.parent.name}-{digest.hexdigest()}"
